"""A confidence of one's own: the longer a vector, the surer."""

import torch
from torch import Tensor

from parmtrain.confidence import Confidence


class Lengths(Confidence):
    """How long a vector is, beside the longest."""

    longest: Tensor

    def __init__(self, kind: str, numbers: int, outputs: int) -> None:
        super().__init__(kind, numbers, outputs)
        self.register_buffer("longest", torch.ones(()))

    def fit(self, predictions: Tensor, late: Tensor, agreement: Tensor) -> None:
        """Remember the longest."""
        self.longest.copy_(predictions.norm(dim=1).max())

    def of(self, predictions: Tensor, late: Tensor) -> Tensor:
        """Map predictions ``[g, k, c]`` to confidences ``[g, k]``."""
        length: Tensor = predictions.norm(dim=2) / self.longest
        return length.clamp(0, 1)
