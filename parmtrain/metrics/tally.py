"""The torchmetrics class that scores reconstructed predictions, accumulated over batches and processes."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from parmtrain.metrics.figures import Figures
from parmtrain.metrics.functional import (
    confidence95,
    degraded_by_case,
    degraded_by_position,
    degraded_compute,
    degraded_update,
)
from parmtrain.metrics.measures import AGREEMENT, Measure, Measures

UNRECOVERABLE = "unrecoverable"


class Tally(Metric):
    """Score the predictions of coding groups, decoded under several arrival patterns.

    Both validation and test use it. A_d is ``degraded`` of ``parmtrain.metrics.functional``, accumulated over batches.

    Args:
        cases: Arrival patterns ``[p, n]`` (bool): which workers arrived.
        counted: Predictions that count in each arrival pattern ``[p, k]`` (bool), at least one.
        measures: Measures to score predictions by.
        more: Whether to compute the additional measures, too.

    Example:
        >>> from parmtrain.metrics import of_classes
        >>> cases = torch.tensor([[False, True, True], [True, False, True]])
        >>> tally = Tally(cases, ~cases[:, :2], of_classes(2))
        >>> decoded = torch.tensor([[[[2.0, 0.0], [0.0, 1.0]], [[2.0, 0.0], [3.0, 0.0]]]])
        >>> tally.update(decoded, predictions=decoded[:, 0], labels=torch.tensor([[0, 1]]))
        >>> tally.figures().by_case, tally.figures().worst, tally.figures().worst_late
        ([1.0, 0.0], 0.0, [1])
    """

    full_state_update = False
    groups: Tensor
    means: list[Tensor]

    def __init__(self, cases: Tensor, counted: Tensor, measures: Measures, more: bool = False, **settings: Any) -> None:
        super().__init__(**settings)
        self.cases, self.counted, self.measures = cases, counted, measures
        self.taken: dict[str, Measure] = measures.every if more else {measures.name: measures.main}
        for name in (*self.taken, AGREEMENT, UNRECOVERABLE):
            self.add_state(_sums(name), torch.zeros(counted.shape, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("groups", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("means", [], dist_reduce_fx="cat")  # main measure of each group [g]

    def update(self, decoded: Tensor, predictions: Tensor, labels: Tensor) -> None:
        """Add a batch of groups.

        Args:
            decoded: Decoded predictions per arrival pattern ``[g, p, k, c]``; NaN where one cannot be reconstructed.
            predictions: The deployed model's own predictions ``[g, k, c]``.
            labels: True labels ``[g, k]`` or ``[g, k, l]``.
        """
        true, own = (
            wanted.unsqueeze(1).expand(*decoded.shape[:3], *wanted.shape[2:]) for wanted in (labels, predictions)
        )
        for name, measure in self.taken.items():
            values = measure(decoded, true)
            self._add(name, values)
            if name == self.measures.name:
                self.means.append(
                    (values * self.counted.to(values.device)).double().sum(dim=(1, 2)) / self.counted.sum().item()
                )
        if AGREEMENT not in self.taken:
            self._add(AGREEMENT, self.measures.agreement(decoded, own))
        self._add(UNRECOVERABLE, (~decoded.isfinite().all(dim=-1)).float())
        self.groups = self.groups + len(decoded)  # not in place: spawned processes share the tensor

    def compute(self) -> dict[str, Tensor]:
        """Return A_d by the main measure as ``degraded_…``, and the agreement with the deployed model."""
        return {
            f"degraded_{self.measures.name}": self._mean(self.measures.name).float(),
            AGREEMENT: self._mean(AGREEMENT).float(),
        }

    def figures(self) -> Figures:
        """Return all results."""
        name = self.measures.name
        by_case = self._figures(degraded_by_case, name)
        lowest = min(range(len(by_case)), key=lambda case: by_case[case])
        return Figures(
            measure=name,
            values={taken: self._mean(taken).item() for taken in self.taken},
            ci95=confidence95(torch.cat(self.means).unsqueeze(1)),
            by_position={taken: self._figures(degraded_by_position, taken) for taken in self.taken},
            worst=by_case[lowest],
            worst_late=(~self.cases[lowest]).nonzero().flatten().tolist(),
            agreement=self._mean(AGREEMENT).item(),
            unrecoverable=self._mean(UNRECOVERABLE).item(),
            by_case=by_case,
        )

    def _add(self, name: str, values: Tensor) -> None:
        sums, _ = degraded_update(values, self.counted)
        setattr(self, _sums(name), getattr(self, _sums(name)) + sums)

    def _mean(self, name: str) -> Tensor:
        return degraded_compute(getattr(self, _sums(name)), self.counted, self.groups)

    def _figures(self, formula: Callable[[Tensor, Tensor, Tensor], Tensor], name: str) -> list[float]:
        figures: list[float] = formula(getattr(self, _sums(name)), self.counted, self.groups).tolist()
        return figures


def _sums(name: str) -> str:
    return f"{name}_sums"
