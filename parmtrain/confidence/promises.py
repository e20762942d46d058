"""What may be promised of the reconstructions that a threshold accepts, from a finite number of validation queries.

A reconstruction is *accepted* if its confidence is at least the threshold. Reconstructions of one group share outputs,
so groups are the unit of sampling: each gives one reconstruction at a random position, or the mean over its positions.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import ceil, exp, inf, log
from typing import Any

import numpy as np
from scipy.special import bdtr

CERTAINTY = 0.9
LADDER = (0.9, 0.95, 0.97, 0.98, 0.99, 0.995, 0.999)
STEPS = 200  # thresholds to choose from


@dataclass(frozen=True)
class Promises:
    """Thresholds, and what is promised of the reconstructions that each accepts.

    Args:
        certainty: Probability, over validation queries, that what is promised of agreement holds.
        agreement: Thresholds of each number of late workers, by the least agreement of those accepted; infinite where
            that cannot be promised.
        risk: The same by the largest share of all reconstructions that are accepted and disagree, on average.

    Example:
        >>> promises = Promises(0.9, {0.98: [0.7]})
        >>> Promises.from_json(promises.to_json()) == promises
        True
    """

    certainty: float
    agreement: dict[float, list[float]] = field(default_factory=dict)
    risk: dict[float, list[float]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return plain values; a threshold that is not there is null."""
        return {
            "certainty": self.certainty,
            "agreement": _plain(self.agreement),
            "risk": _plain(self.risk),
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Promises":
        """Return the promises that ``to_json`` wrote."""
        return cls(content["certainty"], _read(content["agreement"]), _read(content["risk"]))


def _plain(thresholds: dict[float, list[float]]) -> dict[str, list[float | None]]:
    return {str(promised): [None if one == inf else one for one in some] for promised, some in thresholds.items()}


def _read(content: dict[str, list[float | None]]) -> dict[float, list[float]]:
    return {float(promised): [inf if one is None else one for one in some] for promised, some in content.items()}


def promised_agreement(
    least: float,
    confidence: np.ndarray,
    agreement: np.ndarray,
    before: np.ndarray,
    certainty: float = CERTAINTY,
) -> float:
    """Return the smallest threshold above which reconstructions agree with F as promised, with some certainty.

    Thresholds are tested one after the other, from one where the promise is likeliest to hold to ever smaller ones,
    until one cannot be told from a broken promise. So all tests together fail with a probability of 1 − ``certainty``
    at most.

    Args:
        least: Least mean agreement of those accepted, 0 to 1.
        confidence: Confidences of independent reconstructions ``[m]``, one of each group.
        agreement: Their agreement ``[m]``, from 0 to 1.
        before: Confidences of other reconstructions, on which the confidence was fitted: they say which thresholds are
            tested, and from which on.
        certainty: Probability that the promise holds, over reconstructions like these.

    Returns:
        The threshold; infinite if there is none.

    Source: Angelopoulos et al., Learn then Test (arXiv 2110.01052), fixed-sequence testing (section 3), for the risk
    among those accepted; exact binomial p-values for agreement of 0 or 1, and Hoeffding's and Bentkus' for others.

    Example:
        >>> random = np.random.default_rng(0)
        >>> confidence = random.random(4000)
        >>> agreement = (random.random(4000) < confidence).astype(float)  # perfectly calibrated
        >>> 0.8 < promised_agreement(0.9, confidence, agreement, before=random.random(1000)) < 0.86
        True
        >>> promised_agreement(0.9, confidence[:10], agreement[:10], before=random.random(1000))
        inf
    """
    found = inf
    for threshold in _sequence(1 - least, before, len(confidence)):
        accepted = agreement[confidence >= threshold]
        if p_value(1 - accepted, 1 - least) > 1 - certainty:
            break
        found = threshold
    return found


def p_value(losses: np.ndarray, risk: float) -> float:
    """Return the probability of losses as small as these, if their expectation were ``risk`` or more.

    Args:
        losses: Independent losses ``[m]``, from 0 to 1.
        risk: The risk.

    Example:
        >>> round(p_value(np.zeros(100), 0.02), 3), p_value(np.zeros(0), 0.02)
        (0.133, 1.0)
    """
    count = len(losses)
    if not count:
        return 1.0
    if np.isin(losses, (0.0, 1.0)).all():
        return float(bdtr(losses.sum(), count, risk))
    mean = min(float(losses.mean()), risk)
    return float(min(exp(-count * _divergence(mean, risk)), exp(1) * bdtr(ceil(count * mean), count, risk)))


def _divergence(one: float, other: float) -> float:
    first = one * log(one / other) if one else 0.0
    return first + (1 - one) * log((1 - one) / (1 - other))


def _sequence(risk: float, before: np.ndarray, count: int) -> Iterable[float]:
    """Return falling thresholds to test, from the one at which the expected margin is largest, in deviations."""
    if not count or not len(before):
        return []
    falling = np.unique(np.quantile(before, np.linspace(1, 0, STEPS + 1)[1:]))[::-1]
    accepted = np.array([(before >= threshold).mean() * count for threshold in falling])
    expected = np.array([1 - before[before >= threshold].mean() for threshold in falling])
    margin = (risk - expected) * np.sqrt(accepted) / np.sqrt(np.maximum(expected * (1 - expected), 1e-9) + 1 / accepted)
    return falling[int(margin.argmax()) :].tolist() if len(falling) else []


def promised_risk(most: float, confidence: np.ndarray, agreement: np.ndarray) -> float:
    """Return the smallest threshold with which few of all reconstructions are accepted and disagree, on average.

    Args:
        most: Largest expected share of reconstructions that are accepted and disagree, 0 to 1.
        confidence: Confidences ``[g, q]`` of the q reconstructions of each group.
        agreement: Their agreement ``[g, q]``, from 0 to 1.

    Returns:
        The threshold; infinite if nothing may be accepted.

    Source: Angelopoulos et al., Conformal Risk Control (arXiv 2208.02814), equation 4, with groups as examples.

    Example:
        >>> random = np.random.default_rng(0)
        >>> confidence = random.random((2000, 2))
        >>> agreement = (random.random((2000, 2)) < confidence).astype(float)
        >>> round(promised_risk(0.02, confidence, agreement), 1), promised_risk(0.0, confidence, agreement)
        (0.8, inf)
    """
    groups, positions = confidence.shape
    order = np.argsort(-confidence, axis=None, kind="stable")
    falling, losses = confidence.flat[order], (1 - agreement).flat[order].cumsum() / positions
    allowed = (losses + 1) / (groups + 1) <= most
    last = np.append(falling[1:] < falling[:-1], True)  # all of one confidence are accepted together
    first_wrong = int((~allowed).argmax()) if not allowed.all() else len(allowed)
    ends = np.flatnonzero(last[:first_wrong])
    return float(falling[ends[-1]]) if len(ends) else inf
