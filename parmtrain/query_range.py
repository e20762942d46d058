"""The range of ordinary queries: what a query may look like that is encoded together with those of others."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

FIGURES = ("minimum", "maximum", "mean", "standard deviation")
SLACK, MOST_SLACK = 0.1, 12.8  # of the range of all values of a channel
MOST_CHANNELS = 8  # of a waveform
INSIDE = 0.999  # share of held-out queries that must be inside


@dataclass(frozen=True)
class QueryRange:
    """Bounds of the minimum, maximum, mean and standard deviation of each channel of a query.

    A query that is finite but out of scale, such as pixels from 0 to 255 for pixels from 0 to 1, drowns the others of
    its coding group: their reconstructions are wrong, and nothing else tells.

    Args:
        low: Least values of the four figures, ``[4, c]``.
        high: Largest values ``[4, c]``.

    Example:
        >>> pixels = np.random.default_rng(0).random((100, 1, 4, 4), dtype=np.float32)
        >>> ordinary = QueryRange.of([pixels[:80]], [pixels[80:]])
        >>> ordinary.wrong(pixels[0]), ordinary.wrong(255 * pixels[0])
        (None, 'the minimum of channel 0 is 4.215, and ordinary queries have -0.09962 to 0.3572')
    """

    low: np.ndarray
    high: np.ndarray

    @classmethod
    def of(cls, training: Iterable[np.ndarray], held_out: Iterable[np.ndarray]) -> "QueryRange":
        """Return the range of training queries, with the slack that held-out ones need.

        Args:
            training: Batches of queries ``[b, *query]``.
            held_out: Batches of others, all but a thousandth of which must be inside.
        """
        seen = np.concatenate([_figures(batch) for batch in training])
        others = [_figures(batch) for batch in held_out]
        low, high = seen.min(axis=0), seen.max(axis=0)
        whole = np.maximum(high[1] - low[0], 1e-6)
        slack = SLACK
        while True:
            found = cls(low - slack * whole, high + slack * whole)
            if not others or slack >= MOST_SLACK or found._share(np.concatenate(others)) >= INSIDE:
                return found
            slack *= 2

    def _share(self, figures: np.ndarray) -> float:
        inside = (figures >= self.low) & (figures <= self.high)
        return float(inside.all(axis=(1, 2)).mean())

    def wrong(self, query: np.ndarray) -> str | None:
        """Return what is not ordinary about a query ``[*query]``; None if it is ordinary."""
        (figures,) = _figures(query[None])
        outside = (figures < self.low) | (figures > self.high)
        if not outside.any():
            return None
        figure, channel = (int(index[0]) for index in np.nonzero(outside))
        low, high = self.low[figure, channel], self.high[figure, channel]
        value = figures[figure, channel]
        return (
            f"the {FIGURES[figure]} of channel {channel} is {value:.4g}, and ordinary queries have {low:.4g} to "
            f"{high:.4g}"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the bounds of each figure by channel, as plain values."""
        return {
            name: [[float(low), float(high)] for low, high in zip(self.low[i], self.high[i], strict=True)]
            for i, name in enumerate(FIGURES)
        }

    @classmethod
    def from_json(cls, stated: Mapping[str, Sequence[Sequence[float]]]) -> "QueryRange":
        """Return the bounds that ``to_json`` gave."""
        bounds = np.array([stated[name] for name in FIGURES], dtype=np.float64)
        return cls(bounds[..., 0], bounds[..., 1])


def channels_of(query_shape: Sequence[int]) -> int:
    """Return how many channels a query has whose range counts: its first axis, unless that is long or the only one.

    Example:
        >>> channels_of([3, 32, 32]), channels_of([2, 16000]), channels_of([100, 40]), channels_of([64])
        (3, 2, 1, 1)
    """
    few = len(query_shape) > 2 or (len(query_shape) == 2 and query_shape[0] <= MOST_CHANNELS)
    return query_shape[0] if few else 1


def _figures(queries: np.ndarray) -> np.ndarray:
    """Return the figures of each channel of queries ``[b, *query]``: ``[b, 4, c]``."""
    channels = queries.reshape(len(queries), channels_of(queries.shape[1:]), -1)
    found = np.empty((len(queries), len(FIGURES), channels.shape[1]))
    found[:, 0], found[:, 1] = channels.min(axis=2), channels.max(axis=2)
    with np.errstate(over="ignore", invalid="ignore"):
        mean = channels.mean(axis=2)
        square = np.einsum("bcn,bcn->bc", channels, channels) / channels.shape[2]
        found[:, 2], found[:, 3] = mean, np.sqrt(np.maximum(square - mean * mean, 0.0))
    return found
