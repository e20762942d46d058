"""How well confidences tell good predictions from bad ones: their calibration, and what is gained by taking the best.

Shapes: m predictions, each with a confidence and a value from 0 to 1, such as whether it agrees with the deployed
model's. The *risk* of some predictions is 1 minus their mean value, and their *coverage* is their share of all.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

BINS = 15
SHARES = tuple(percent / 100 for percent in range(100, 0, -5))


@dataclass(frozen=True)
class Reliability:
    """How well confidences predict a value.

    Args:
        calibration_error: Expected calibration error, from 0 to 1; 0 is best.
        brier: Mean squared difference of confidence and value; 0 is best.
        aurc: Area under the curve of risk against coverage; 0 is best.
        most_confident: Mean value of the most confident predictions, by their share of all.
    """

    calibration_error: float
    brier: float
    aurc: float
    most_confident: dict[float, float]

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        shares = {f"{share:g}": value for share, value in self.most_confident.items()}
        return {
            "calibration_error": self.calibration_error,
            "brier": self.brier,
            "aurc": self.aurc,
            "most_confident": shares,
        }


def reliability(confidence: Tensor, values: Tensor) -> Reliability:
    """Return how well confidences ``[m]`` predict values ``[m]``.

    Example:
        >>> found = reliability(torch.tensor([0.9, 0.8, 0.1, 0.2]), torch.tensor([1.0, 1.0, 0.0, 0.0]))
        >>> round(found.calibration_error, 3), round(found.brier, 3), found.most_confident[0.5]
        (0.15, 0.025, 1.0)
    """
    _, means = selective(confidence, values)
    taken = {share: means[max(1, round(share * len(means))) - 1].item() for share in SHARES}
    return Reliability(
        calibration_error(confidence, values), brier(confidence, values), (1 - means).mean().item(), taken
    )


def calibration_error(confidence: Tensor, values: Tensor, bins: int = BINS) -> float:
    """Return the expected calibration error: how far the means of confidence and value are apart, over equal bins.

    Source: Guo et al., On Calibration of Modern Neural Networks (arXiv 1706.04599), equation 5, for any value.

    Example:
        >>> calibration_error(torch.full((4,), 0.75), torch.tensor([1.0, 1.0, 1.0, 0.0]))
        0.0
    """
    of = (confidence.double() * bins).long().clamp(0, bins - 1)
    apart = torch.zeros(bins, dtype=torch.float64).index_add(0, of, confidence.double() - values.double())
    return (apart.abs().sum() / len(of)).item()


def brier(confidence: Tensor, values: Tensor) -> float:
    """Return the mean squared difference of confidences ``[m]`` and values ``[m]``."""
    return (confidence.double() - values.double()).square().mean().item()


def selective(confidence: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Return confidences in falling order ``[m]``, and the mean value of all predictions up to each ``[m]`` (float64).

    Predictions of one confidence count alike, as if each had their mean value: their order would be chance.

    Source: Geifman and El-Yaniv, Selective Classification for Deep Neural Networks (arXiv 1705.08500), section 2.

    Example:
        >>> selective(torch.tensor([0.2, 0.9, 0.2]), torch.tensor([1.0, 1.0, 0.0]))[1]
        tensor([1.0000, 0.7500, 0.6667], dtype=torch.float64)
    """
    distinct, which, counts = torch.unique(confidence, return_inverse=True, return_counts=True)
    sums = torch.zeros(len(distinct), dtype=torch.float64).index_add(0, which, values.double())
    order = confidence.argsort(descending=True)
    alike = (sums / counts)[which[order]]
    return confidence[order], alike.cumsum(0) / torch.arange(1, len(alike) + 1)
