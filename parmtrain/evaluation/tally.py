"""Scoring predictions of coding groups over every case of who arrives."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from parmtrain.codes import decode_each
from parmtrain.metrics.functional import confidence95
from parmtrain.metrics.measures import Measures
from parmtrain.training.groups import GroupBatch

MOST_NUMBERS = 2**24


class Tally:
    """Count the predictions of groups that are decoded in several cases of who arrives.

    Args:
        cases: Who arrives ``[p, n]`` (bool).
        counted: Which of the k predictions count in each case ``[p, k]`` (bool), at least one.
        measures: What predictions are scored by.
        more: Whether to take the measures beside the main one too, at each position.

    Example:
        >>> from parmtrain.codes import Sum, arrivals
        >>> from parmtrain.metrics.measures import of_classes
        >>> predictions = torch.tensor([[[2.0, 0.0], [0.0, 1.0]]])
        >>> batch = GroupBatch(torch.zeros(1, 2, 1), torch.tensor([[0, 1]]), predictions)
        >>> tally = Tally(arrivals(workers=3, late=1), torch.ones(3, 2, dtype=torch.bool), of_classes(2))
        >>> tally.add(Sum(k=2).decode, torch.cat([predictions, torch.tensor([[[3.0, 0.0]]])], 1), batch)
        >>> tally.by_case(), tally.figures()["worst"]
        ([1.0, 0.5, 1.0], {'accuracy': 0.5, 'late': [1]})
    """

    def __init__(self, cases: Tensor, counted: Tensor, measures: Measures, more: bool = False) -> None:
        self.cases, self.counted, self.measures = cases, counted, measures
        self.taken = measures.every if more else {measures.name: measures.main}
        self.sums = {name: torch.zeros(counted.shape, dtype=torch.float64) for name in self.taken}
        self.groups: list[Tensor] = []  # main measure of each group [g]
        self.agreeing = self.unrecoverable = 0.0

    def add(self, decode: Callable[[Tensor, Tensor], Tensor], outputs: Tensor, batch: GroupBatch) -> None:
        """Decode a batch of groups in every case.

        Args:
            decode: Maps worker outputs ``[g, n, c]`` and who arrived ``[g, n]`` to predictions ``[g, k, c]``.
            outputs: Worker outputs ``[g, n, c]``, all of them.
            batch: The groups, with the deployed model's predictions.
        """
        assert batch.predictions is not None
        of_groups = torch.zeros(len(outputs), dtype=torch.float64)
        at_once = max(1, MOST_NUMBERS // max(1, outputs.numel()))
        for begin in range(0, len(self.cases), at_once):
            part = slice(begin, begin + at_once)
            counted = self.counted[part].to(outputs.device)
            decoded = decode_each(decode, outputs, self.cases[part])
            labels, own = (
                wanted.unsqueeze(1).expand(*decoded.shape[:3], *wanted.shape[2:])
                for wanted in (batch.labels, batch.predictions)
            )
            for name, measure in self.taken.items():
                values = (measure(decoded, labels) * counted).double().cpu()
                self.sums[name][part] += values.sum(dim=0)
                if name == self.measures.name:
                    of_groups += values.sum(dim=(1, 2))
            self.agreeing += (self.measures.agreement(decoded, own) * counted).sum().item()
            self.unrecoverable += (~decoded.isfinite().all(dim=-1) & counted).sum().item()
        self.groups.append(of_groups / self.counted.sum())

    def by_case(self) -> list[float]:
        """Return the main measure in each case."""
        worth = self.sums[self.measures.name].sum(dim=1) / self.counted.sum(dim=1) / self._seen
        counted: list[float] = worth.tolist()
        return counted

    def by_position(self, name: str) -> list[float]:
        """Return a measure at each of the k positions."""
        worth: list[float] = (self.sums[name].sum(dim=0) / self.counted.sum(dim=0) / self._seen).tolist()
        return worth

    def figures(self) -> dict[str, Any]:
        """Return what was counted as plain values; ``worst`` is the case with the lowest main measure."""
        groups, total = torch.cat(self.groups), self._seen * self.counted.sum().item()
        by_case = self.by_case()
        lowest = min(range(len(by_case)), key=lambda case: by_case[case])
        name = self.measures.name
        return {
            **{taken: worth.sum().item() / total for taken, worth in self.sums.items()},
            f"{name}_ci95": list(confidence95(groups.unsqueeze(1))),
            "by_position": self.by_position(name),
            **{f"{other}_by_position": self.by_position(other) for other in self.sums if other != name},
            "worst": {name: by_case[lowest], "late": (~self.cases[lowest]).nonzero().flatten().tolist()},
            "agreement": self.agreeing / total,
            "unrecoverable": self.unrecoverable / total,
            "cases": len(self.cases),
        }

    @property
    def _seen(self) -> int:
        return sum(map(len, self.groups))
