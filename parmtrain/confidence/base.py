"""Base class of confidences."""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn


class Confidence(nn.Module, ABC):
    """Say how well each reconstructed prediction agrees with the deployed model's own, from 0 to 1.

    A confidence is fitted on reconstructed validation queries and exported with the code. To add one, subclass this
    class and put its YAML file into the group ``confidence``.

    Shapes: g groups of k queries, n workers per group, c outputs in a prediction.

    Args:
        kind: Kind of prediction, as ``Measures`` has it.
        numbers: Largest number of late workers with which predictions are reconstructed.
        outputs: Length of one prediction.

    Attributes:
        fitted_on: Share of the validation groups that it is fitted on; the others are for its promises.
    """

    fitted_on: ClassVar[float] = 0.25

    def __init__(self, kind: str, numbers: int, outputs: int) -> None:
        super().__init__()
        self.kind, self.numbers, self.outputs = kind, max(1, numbers), outputs

    @abstractmethod
    def fit(self, predictions: Tensor, late: Tensor, agreement: Tensor) -> None:
        """Fit this to some reconstructed predictions.

        Args:
            predictions: Predictions ``[m, c]``, all of them finite.
            late: How many workers were late at each of them ``[m]``, from 1.
            agreement: Their agreement with the deployed model's own ``[m]``, from 0 to 1.
        """

    def forward(self, predictions: Tensor, arrived: Tensor) -> Tensor:
        """Map predictions ``[g, k, c]`` and the workers that ``arrived`` ``[g, n]`` (bool) to confidences ``[g, k]``.

        Predictions that are not finite, since they could not be reconstructed, have confidence 0.
        """
        late = (~arrived).sum(dim=1).clamp(1, self.numbers)
        finite = predictions.isfinite().all(dim=2)
        known = torch.where(finite.unsqueeze(2), predictions, torch.zeros_like(predictions))
        given = self.of(known, late).nan_to_num(0.0).clamp(0, 1)
        return torch.where(finite, given, torch.zeros_like(given))

    def of(self, predictions: Tensor, late: Tensor) -> Tensor:
        """Map finite predictions ``[g, k, c]`` and the number of late workers ``[g]`` to confidences ``[g, k]``."""
        raise NotImplementedError
