"""How far reconstructions can be trusted: fit a confidence and its promises on one split, and score them on another."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

import torch
from torch import Tensor

from parmtrain.confidence import Confidence, Promises, promised_agreement, promised_risk
from parmtrain.confidence.promises import CERTAINTY, LADDER
from parmtrain.evaluation.reconstructions import Keep, Reconstructions, parted
from parmtrain.metrics.reliability import Reliability, reliability

AT_ONCE = 4096


@dataclass(frozen=True)
class Calibrated:
    """A confidence that was fitted, a module or a program, and what it promises."""

    confidence: Keep
    promises: Promises


def calibrated(
    some: Sequence[Reconstructions],
    confidence: Confidence,
    agreements: Iterable[float] = LADDER,
    risks: Iterable[float] = (),
    certainty: float = CERTAINTY,
    seed: int = 0,
    isolated: bool = False,
) -> Calibrated:
    """Fit a confidence on some groups of a split, and find the thresholds of its promises on the others.

    Args:
        some: Reconstructions with one, two, … late workers, each with its prediction.
        confidence: What is fitted.
        agreements: Promised agreement of those accepted.
        risks: Promised shares that are accepted and disagree.
        certainty: Probability that promises of agreement hold.
        seed: Seed of the two parts.
        isolated: Whether the reconstructions of one group do not depend on each other; all of them count then.
    """
    parts = [[one[part] for part in parted(len(one), confidence.fitted_on, seed)] for one in some]
    known = [_finite(first) for first, _ in parts]
    late = torch.cat([torch.full((len(one[1]),), number) for number, one in enumerate(known, 1)])
    if len(late):
        confidence.fit(torch.cat([one[0] for one in known]), late, torch.cat([one[1] for one in known]))
    confidence.eval()
    by_agreement: dict[float, list[float]] = {one: [] for one in sorted(set(agreements))}
    by_risk: dict[float, list[float]] = {one: [] for one in sorted(set(risks))}
    for first, second in parts:
        before = confidences(confidence, first).flatten()
        given = confidences(confidence, second)
        chosen, agreement = given.flatten(), second.agreement.flatten()
        if not isolated:
            chosen, agreement = _replaced(second, given).one_of_each(seed)
        for least, thresholds in by_agreement.items():
            numbers = (chosen.numpy(), agreement.numpy(), before.numpy())
            thresholds.append(promised_agreement(least, *numbers, certainty))
        for most, thresholds in by_risk.items():
            thresholds.append(promised_risk(most, given.numpy(), second.agreement.numpy()))
    return Calibrated(confidence, Promises(certainty, by_agreement, by_risk))


@torch.no_grad()
def confidences(confidence: Keep, given: Reconstructions) -> Tensor:
    """Return the confidences of kept predictions ``[G, q]``."""
    arrived = torch.arange(given.late + 1) >= given.late  # as many late workers as there were
    return torch.cat([confidence(part, arrived.expand(len(part), -1)) for part in given.kept.split(AT_ONCE)])


def _replaced(given: Reconstructions, kept: Tensor) -> Reconstructions:
    return Reconstructions(given.late, kept, given.agreement, given.value, given.own, given.own_value)


def _finite(given: Reconstructions) -> tuple[Tensor, Tensor]:
    predictions, agreement = given.kept.flatten(0, 1), given.agreement.flatten()
    known = predictions.isfinite().all(dim=1)
    return predictions[known], agreement[known]


@dataclass(frozen=True)
class Accepted:
    """The reconstructions that a threshold accepts.

    Args:
        threshold: The least confidence.
        share: Their share of all reconstructions.
        agreement: Their mean agreement with the deployed model; None if there are none.
        value: Their score by the main measure.
        own_value: The score of the deployed model's own predictions on the same queries.
    """

    threshold: float | None
    share: float
    agreement: float | None
    value: float | None
    own_value: float | None


@dataclass(frozen=True)
class Certainty:
    """How far the reconstructions of one split can be trusted, with one number of late workers.

    Args:
        agreement: How well their confidence predicts agreement with the deployed model.
        value: How well it predicts the main measure.
        own: How well the deployed model's largest probability predicts its own score on the same queries; None where it
            has none.
        promised: What is accepted under each promise of agreement.
        risk: What is accepted under each promise of risk.
    """

    agreement: Reliability
    value: Reliability
    own: Reliability | None
    promised: dict[float, Accepted]
    risk: dict[float, Accepted]

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "agreement": self.agreement.to_json(),
            "main": self.value.to_json(),
            "deployed": None if self.own is None else self.own.to_json(),
            "promised_agreement": {str(one): vars(given) for one, given in self.promised.items()},
            "promised_risk": {str(one): vars(given) for one, given in self.risk.items()},
        }


def certainty_of(given: Reconstructions, promises: Promises) -> Certainty:
    """Return how far reconstructions can be trusted, of each of which its confidence was kept."""
    confidence, agreement, value, own_value = (
        part.flatten() for part in (given.kept, given.agreement, given.value, given.own_value)
    )

    def accepted(thresholds: list[float]) -> Accepted:
        threshold = thresholds[min(given.late, len(thresholds)) - 1]
        taken = confidence >= threshold
        means = (_mean(part[taken]) for part in (agreement, value, own_value))
        return Accepted(None if threshold == inf else threshold, taken.float().mean().item(), *means)

    return Certainty(
        reliability(confidence, agreement),
        reliability(confidence, value),
        None if given.own is None else reliability(given.own.flatten(), own_value),
        {least: accepted(thresholds) for least, thresholds in promises.agreement.items()},
        {most: accepted(thresholds) for most, thresholds in promises.risk.items()},
    )


def _mean(values: Tensor) -> float | None:
    return values.double().mean().item() if len(values) else None
