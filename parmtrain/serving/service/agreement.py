"""How well reconstructions agree with the deployed model's own predictions of the same queries, which came later."""

import logging
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from parmtrain.metrics.measures import Measure
from parmtrain.serving.frontend.events import Compare
from parmtrain.serving.frontend.machine import Frontend

log = logging.getLogger(__name__)
BINS = 10  # of confidence
MOST_CLASSES = 1000  # that are counted apart
SOURCES = ("late", "audit")


@dataclass
class Mean:
    """A mean, and of how many.

    Args:
        count: How many.
        total: Their sum.
    """

    count: int = 0
    total: float = 0.0

    def add(self, value: float) -> None:
        """Add a value."""
        self.count += 1
        self.total += value

    @property
    def mean(self) -> float | None:
        """The mean; None of none."""
        return self.total / self.count if self.count else None

    def plain(self) -> dict[str, float | None]:
        """Return plain values."""
        return {"count": self.count, "agreement": self.mean}


@dataclass
class Means:
    """Agreement of some reconstructions: overall, and by what tells them apart.

    Args:
        overall: Of all.
        by_position: By the position in the group.
        by_class: By the class that the deployed model predicted; empty for other kinds of predictions.
        by_confidence: By tenths of confidence.
    """

    overall: Mean = field(default_factory=Mean)
    by_position: dict[int, Mean] = field(default_factory=dict)
    by_class: dict[int, Mean] = field(default_factory=dict)
    by_confidence: dict[int, Mean] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """Return plain values: ``overall``, ``by_position``, ``by_class`` and ``by_confidence``."""
        parts = {"position": self.by_position, "class": self.by_class, "confidence": self.by_confidence}
        return {
            "overall": self.overall.plain(),
            **{f"by_{name}": {str(key): part[key].plain() for key in sorted(part)} for name, part in parts.items()},
        }


class Agreement:
    """Count how well reconstructions agree, those of late queries and those of audits apart.

    Late queries are no fair sample of all: what makes an instance slow may make predictions wrong, and what is sent is
    compared less often than what waits. Audits are of groups in which nothing was late.

    Args:
        measure: Agreement of predictions ``[..., c]`` with the deployed model's own.
        classes: Whether predictions are scores of classes.

    Example:
        >>> import torch
        >>> from parmtrain.metrics.functional import agree
        >>> from parmtrain.serving.frontend.events import Group, Guess
        >>> agreement = Agreement(agree, classes=True)
        >>> guess = Guess(torch.tensor([0.1, 0.9]), confidence=0.95, late=1)
        >>> agreement.take(Compare(Group(0, 3), 0, guess, own=torch.tensor([0.0, 1.0])))
        1.0
        >>> agreement.of["late"].by_confidence
        {9: Mean(count=1, total=1.0)}
    """

    def __init__(self, measure: Measure, classes: bool) -> None:
        self.measure, self.classes = measure, classes
        self.of = {source: Means() for source in SOURCES}

    def tell(self, frontend: Frontend, now: float, compare: Compare) -> None:
        """Tell a frontend how well a reconstruction agrees, and the log once a promise is broken."""
        try:
            agreement = self.take(compare)
        except Exception:  # a bundle is of others
            log.exception("a reconstruction cannot be compared with F's own prediction")
            return
        alarm = frontend.trust.alarm
        silent = alarm is not None and alarm.raised is None
        frontend.compared(now, compare, agreement)
        if silent and alarm is not None and alarm.raised is not None:
            log.warning(
                "reconstructions agree less with the deployed model than the promised %g: known after %d of them",
                alarm.promised,
                alarm.raised,
            )

    def take(self, compare: Compare) -> float:
        """Take a reconstruction and the deployed model's own prediction; return their agreement, 0 to 1."""
        own: Tensor = compare.own
        value = float(self.measure(compare.guess.prediction, own))
        means = self.of["audit" if compare.audit else "late"]
        means.overall.add(value)
        means.by_position.setdefault(compare.position, Mean()).add(value)
        means.by_confidence.setdefault(min(int(compare.guess.confidence * BINS), BINS - 1), Mean()).add(value)
        if self.classes and len(own) <= MOST_CLASSES:
            means.by_class.setdefault(int(own.argmax()), Mean()).add(value)
        return value
