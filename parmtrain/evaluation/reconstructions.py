"""Reconstructed predictions of a split, kept one by one: what is known of each, and how right it is."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softmax

from parmtrain.metrics.measures import CLASS_SCORES, PROBABILITIES, Measures

FEW = 50  # groups
Keep = Callable[[Tensor, Tensor], Tensor]
"""Maps decoded predictions ``[g, k, c]`` and the workers that arrived ``[g, n]`` to what is kept ``[g, k, …]``."""


@dataclass(frozen=True)
class Reconstructions:
    """The reconstructions of G groups, q of each, under every set of some number of late workers.

    Args:
        late: The number of late workers.
        kept: What was kept of each ``[G, q, …]``.
        agreement: Its agreement with the deployed model's own prediction ``[G, q]``.
        value: Its score by the main measure ``[G, q]``.
        own: Confidence of the deployed model's own prediction ``[G, q]``, its largest probability; None for other kinds
            of predictions than classes.
        own_value: Score of the deployed model's own prediction ``[G, q]``.
    """

    late: int
    kept: Tensor
    agreement: Tensor
    value: Tensor
    own: Tensor | None
    own_value: Tensor

    def __len__(self) -> int:
        return len(self.agreement)

    def __getitem__(self, groups: Tensor) -> "Reconstructions":
        """Return those of some groups."""
        own = None if self.own is None else self.own[groups]
        kept, agreement, value = self.kept[groups], self.agreement[groups], self.value[groups]
        return Reconstructions(self.late, kept, agreement, value, own, self.own_value[groups])

    def one_of_each(self, seed: int) -> tuple[Tensor, Tensor]:
        """Return what was kept of a random one of each group ``[G, …]``, and its agreement ``[G]``."""
        chosen = torch.randint(self.agreement.size(1), (len(self),), generator=torch.Generator().manual_seed(seed))
        groups = torch.arange(len(self))
        return self.kept[groups, chosen], self.agreement[groups, chosen]


class Collector:
    """Keep the reconstructions of groups that are decoded under several arrival patterns.

    Args:
        late: Number of late workers.
        cases: Arrival patterns ``[p, n]`` (bool).
        counted: Predictions that count in each arrival pattern ``[p, k]`` (bool).
        measures: Measures to score predictions by.
        keep: What is kept of each.
    """

    def __init__(self, late: int, cases: Tensor, counted: Tensor, measures: Measures, keep: Keep) -> None:
        self.late, self.cases, self.counted, self.measures, self.keep = late, cases, counted, measures, keep
        self._parts: list[tuple[Tensor, ...]] = []

    def update(self, decoded: Tensor, predictions: Tensor, labels: Tensor) -> None:
        """Add a batch of groups: decoded predictions ``[g, p, k, c]``, F's own ``[g, k, c]``, and labels."""
        groups, patterns = decoded.shape[:2]
        arrived = self.cases.cpu().repeat(groups, 1)
        kept = self.keep(decoded.flatten(0, 1).cpu(), arrived).unflatten(0, (groups, patterns))
        true, own = (
            wanted.unsqueeze(1).expand(*decoded.shape[:3], *wanted.shape[2:]) for wanted in (labels, predictions)
        )
        scored = kept, self.measures.agreement(decoded, own), self.measures.main(decoded, true)
        of_own = own_confidence(own, self.measures.kind), self.measures.main(own, true)
        counted = self.counted.cpu()
        self._parts.append(tuple(part.cpu()[:, counted] for part in (*scored, *of_own)))

    def collected(self) -> Reconstructions:
        """Return all of them."""
        kept, agreement, value, own, own_value = (torch.cat(parts) for parts in zip(*self._parts, strict=True))
        known = own if self.measures.kind in (CLASS_SCORES, PROBABILITIES) else None
        return Reconstructions(self.late, kept, agreement, value, known, own_value)


def own_confidence(predictions: Tensor, kind: str) -> Tensor:
    """Return the largest probability of the deployed model's own predictions ``[..., c]``: ``[...]``."""
    if kind == CLASS_SCORES:
        return softmax(predictions, dim=-1).amax(dim=-1)
    return predictions.amax(dim=-1)


def parted(groups: int, share: float, seed: int) -> Iterator[Tensor]:
    """Yield the numbers of a random ``share`` of some groups, and those of the others, a few at least.

    Example:
        >>> [len(part) for part in parted(10, 0.3, seed=0)]
        [3, 7]
    """
    order = torch.randperm(groups, generator=torch.Generator().manual_seed(seed))
    first = max(1, round(share * groups), min(FEW, groups // 4))
    yield from (order[:first], order[first:])
