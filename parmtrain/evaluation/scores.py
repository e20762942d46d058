"""Scores of a code on one split: a typed record, and its part of ``metrics.json``."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from parmtrain.evaluation.certainty import Certainty
from parmtrain.metrics.figures import Figures
from parmtrain.metrics.functional import overall_accuracy
from parmtrain.metrics.measures import AGREEMENT


@dataclass(frozen=True)
class Late:
    """Scores with some late workers, over every set of that many.

    Args:
        degraded: Scores of reconstructed predictions only, A_d.
        all_k: Scores of all predictions of a group.
    """

    degraded: Figures
    all_k: Figures


@dataclass(frozen=True)
class Scores:
    """Scores of a code on one split.

    Args:
        measure: Name of the main measure.
        available: Scores of the deployed model alone, by every measure; the main one is A_a.
        nobody_late: Score of the code with all workers on time, by the main measure.
        late: Scores with one, two, … late workers.
        groups: Number of groups that were scored.
        unavailable: Fractions f_u to report A_o for.
        default: Scores of a fixed answer, by every measure.
        partial: Scores of reconstructed predictions in groups of fewer queries than k, by their number.
        certainty: How far reconstructions can be trusted, with one, two, … late workers, if that was measured.
        promised: The agreement that was asked to be promised of those accepted, if any.
    """

    measure: str
    available: dict[str, float]
    nobody_late: float
    late: list[Late]
    groups: int
    unavailable: Sequence[float]
    default: dict[str, float]
    partial: dict[int, Figures] = field(default_factory=dict)
    certainty: list[Certainty] = field(default_factory=list)
    promised: float | None = None

    @property
    def labelled(self) -> bool:
        """Whether predictions are scored by labels, and not by agreement with the deployed model."""
        return self.measure != AGREEMENT

    @property
    def degraded(self) -> Figures:
        """A_d with one straggler at every position."""
        return self.late[0].degraded

    @property
    def all_k(self) -> Figures:
        """All predictions of a group with one straggler at every position."""
        return self.late[0].all_k

    def overall(self, unavailable: float) -> float:
        """Return A_o for a fraction f_u of unavailable predictions."""
        return overall_accuracy(self.available[self.measure], self.degraded.main, unavailable)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "measure": self.measure,
            "available": self.available,
            "nobody_late": {self.measure: self.nobody_late},
            "degraded": self.degraded.to_json() | {"groups": self.groups},
            "all_k": self.all_k.to_json() | {"by_worker": self.all_k.by_case},
            "stragglers": {
                str(number): {"degraded": more.degraded.to_json(), "all_k": more.all_k.to_json()}
                for number, more in enumerate(self.late[1:], 2)
            },
            "overall": {str(share): self.overall(share) for share in self.unavailable},
            "default": self.default,
            "partial": {str(size): figures.to_json() for size, figures in self.partial.items()},
            "confidence": {str(number): one.to_json() for number, one in enumerate(self.certainty, 1)},
        }
