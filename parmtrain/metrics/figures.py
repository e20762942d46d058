"""The results of a tally: a typed record, and its form in ``metrics.json``."""

from dataclasses import dataclass
from typing import Any

RESERVED = ("agreement", "unrecoverable", "worst", "late", "cases", "groups", "by_position", "by_worker")
"""Keys next to the measures in ``metrics.json``: no measure may have such a name."""


@dataclass(frozen=True)
class Figures:
    """Scores of the counted predictions, averaged over all groups and arrival patterns.

    Args:
        measure: Name of the main measure.
        values: All measures by name, the main one first.
        ci95: 95 % confidence interval of the main measure, with the group as the unit of sampling.
        by_position: All measures at each of the k positions.
        worst: The main measure in the arrival pattern where it is lowest.
        worst_late: Late workers in that pattern, numbered from 0.
        agreement: Agreement with the deployed model's own predictions, from 0 to 1.
        unrecoverable: Fraction of predictions that could not be reconstructed.
        by_case: The main measure in each arrival pattern.
    """

    measure: str
    values: dict[str, float]
    ci95: tuple[float, float]
    by_position: dict[str, list[float]]
    worst: float
    worst_late: list[int]
    agreement: float
    unrecoverable: float
    by_case: list[float]

    @property
    def main(self) -> float:
        """The main measure."""
        return self.values[self.measure]

    def to_json(self) -> dict[str, Any]:
        """Return plain values, with ``by_position`` for the main measure and ``…_by_position`` for the others."""
        others = [name for name in self.values if name != self.measure]
        return {
            **self.values,
            f"{self.measure}_ci95": list(self.ci95),
            "by_position": self.by_position[self.measure],
            **{f"{name}_by_position": self.by_position[name] for name in others},
            "worst": {self.measure: self.worst, "late": self.worst_late},
            "agreement": self.agreement,
            "unrecoverable": self.unrecoverable,
            "cases": len(self.by_case),
        }
