"""The largest probability of a reconstructed prediction, calibrated by temperatures."""

from math import exp, log
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy

from parmtrain.confidence.base import Confidence
from parmtrain.metrics.measures import PROBABILITIES

COLDEST, HOTTEST = 0.01, 100.0
LEAST = 1e-12  # probability


class Softmax(Confidence):
    """The largest softmax value of class scores, at a temperature for each number of late workers.

    Predictions that are probabilities already count by their logarithms.

    Source: Guo et al., On Calibration of Modern Neural Networks (arXiv 1706.04599), section 4.2; here a temperature is
    fitted to whether predictions agree with the deployed model's, which is what the confidence is of.

    Example:
        >>> confidence, arrived = Softmax("class scores", numbers=1, outputs=2), torch.tensor([[False, True, True]])
        >>> scores = torch.tensor([[[4.0, 0.0], [0.0, 0.0]]])
        >>> confidence(scores, arrived).round(decimals=3)
        tensor([[0.9820, 0.5000]])
        >>> confidence.fit(scores[0].repeat(99, 1), torch.ones(198), torch.ones(198))  # it was too cautious
        >>> bool(confidence.temperatures < 1)
        True
    """

    fitted_on: ClassVar[float] = 0.1  # a temperature takes few
    temperatures: Tensor

    def __init__(self, kind: str, numbers: int, outputs: int) -> None:
        super().__init__(kind, numbers, outputs)
        self.probabilities = kind == PROBABILITIES
        self.register_buffer("temperatures", torch.ones(self.numbers))

    def fit(self, predictions: Tensor, late: Tensor, agreement: Tensor) -> None:
        """Choose the temperature of each number of late workers that makes the agreement likeliest."""
        for number in range(1, self.numbers + 1):
            some = late == number
            if bool(some.any()):
                self.temperatures[number - 1] = self._best(predictions[some], agreement[some].float())

    def _best(self, predictions: Tensor, agreement: Tensor) -> float:
        right = agreement.sum()  # as if one more had agreed and one more had not: a few that all agree prove little
        most, least = (right + 1) / (right + 2), 1 / (len(agreement) - right + 2)
        wanted = least + agreement * (most - least)

        from scipy.optimize import minimize_scalar  # slow to import, and needed to fit alone

        def loss(temperature: float) -> float:
            return binary_cross_entropy(self._largest(predictions, exp(temperature)), wanted).item()

        return exp(minimize_scalar(loss, bounds=(log(COLDEST), log(HOTTEST)), method="bounded").x)

    def of(self, predictions: Tensor, late: Tensor) -> Tensor:
        """Map finite predictions ``[g, k, c]`` and the number of late workers ``[g]`` to confidences ``[g, k]``."""
        return self._largest(predictions, self.temperatures[late - 1][:, None, None])

    def _largest(self, predictions: Tensor, temperature: Tensor | float) -> Tensor:
        scores = predictions.clamp_min(LEAST).log() if self.probabilities else predictions
        return torch.softmax(scores / temperature, dim=-1).amax(dim=-1).clamp(0, 1)
