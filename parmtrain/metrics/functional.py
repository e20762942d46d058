"""Stateless metrics: available, degraded-mode and overall accuracy, and agreement with the deployed model.

Shapes: g groups of k queries, c outputs (classes) a prediction. A prediction that could not be rebuilt is NaN and
counts as wrong. The words are those of Kosaian et al., ParM (SOSP'19), section 4.1.
"""

from math import sqrt

import torch
from torch import Tensor


def correct(predictions: Tensor, labels: Tensor, top: int = 1) -> Tensor:
    """Say of each prediction whether its label is among its ``top`` largest outputs.

    Args:
        predictions: Class scores ``[..., c]``.
        labels: True classes ``[...]``.
        top: How many of the largest outputs count.

    Returns:
        1.0 or 0.0 for each prediction, ``[...]``.

    Example:
        >>> scores = torch.tensor([[0.1, 0.7, 0.2], [0.6, 0.3, 0.1], [torch.nan, 0.0, 0.0]])
        >>> correct(scores, torch.tensor([1, 2, 0])), correct(scores, torch.tensor([1, 1, 0]), top=2)
        (tensor([1., 0., 0.]), tensor([1., 1., 0.]))
    """
    best = predictions.topk(top, dim=-1).indices
    hit = (best == labels.unsqueeze(-1)).any(dim=-1) & predictions.isfinite().all(dim=-1)
    return hit.to(torch.float32)


def agree(reconstructed: Tensor, predictions: Tensor) -> Tensor:
    """Say of each reconstructed prediction ``[..., c]`` whether its arg-max is that of the deployed model's own.

    Example:
        >>> agree(torch.tensor([[1.0, 2.0], [2.0, 1.0]]), torch.tensor([[0.0, 9.0], [0.0, 9.0]]))
        tensor([1., 0.])
    """
    return correct(reconstructed, predictions.argmax(dim=-1).expand(reconstructed.shape[:-1]))


def available_accuracy(predictions: Tensor, labels: Tensor) -> Tensor:
    """Return A_a, the accuracy of the deployed model's predictions ``[..., c]`` against labels ``[...]``.

    Example:
        >>> available_accuracy(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.tensor([1, 1]))
        tensor(0.5000)
    """
    return correct(predictions, labels).mean()


def degraded_accuracy(reconstructed: Tensor, labels: Tensor) -> Tensor:
    """Return A_d, the accuracy of reconstructed predictions alone, averaged over every erasure position.

    Args:
        reconstructed: ``[g, k, c]``, entry i decoded without the deployed model's own prediction i.
        labels: True classes ``[g, k]``.

    Example:
        >>> degraded_accuracy(torch.tensor([[[0.0, 1.0], [1.0, 0.0]]]), torch.tensor([[1, 1]]))
        tensor(0.5000)
    """
    return correct(reconstructed, labels).mean()


def degraded_accuracy_by_position(reconstructed: Tensor, labels: Tensor) -> Tensor:
    """Return A_d for each erasure position ``[k]``, of reconstructed predictions ``[g, k, c]`` and labels ``[g, k]``.

    Example:
        >>> degraded_accuracy_by_position(torch.tensor([[[0.0, 1.0], [1.0, 0.0]]]), torch.tensor([[1, 1]]))
        tensor([1., 0.])
    """
    return correct(reconstructed, labels).mean(dim=0)


def reconstruction_agreement(reconstructed: Tensor, predictions: Tensor) -> Tensor:
    """Return the share of reconstructed predictions ``[g, k, c]`` whose arg-max equals the deployed model's own.

    Example:
        >>> reconstruction_agreement(torch.tensor([[[0.0, 1.0], [1.0, 0.0]]]), torch.tensor([[[0.0, 3.0], [0.0, 3.0]]]))
        tensor(0.5000)
    """
    return agree(reconstructed, predictions).mean()


def overall_accuracy(available: float, degraded: float, unavailable: float) -> float:
    """Return A_o = (1 − f_u)·A_a + f_u·A_d.

    Args:
        available: A_a.
        degraded: A_d.
        unavailable: f_u, the fraction of predictions that are late or lost, from 0 to 1.

    Raises:
        ValueError: If f_u is not a fraction.

    Source: Kosaian et al., ParM (SOSP'19), section 4.1.

    Example:
        >>> overall_accuracy(0.75, 0.25, unavailable=0.5)
        0.5
    """
    if not 0 <= unavailable <= 1:
        raise ValueError(f"the fraction unavailable is {unavailable}; it is right between 0 and 1")
    return (1 - unavailable) * available + unavailable * degraded


def accuracy_with_one_straggler(available: float, degraded: float, k: int) -> float:
    """Return the accuracy over all k queries of a group of k + 1 workers, one of them late: (k·A_a + A_d) / (k + 1).

    Of the k + 1 workers that can be late, one is the parity model's: then all k predictions arrive. This is what codes
    without systematic workers are measured by, so it is the figure to put beside theirs.

    Example:
        >>> accuracy_with_one_straggler(0.75, 0.0, k=2)
        0.5
    """
    return (k * available + degraded) / (k + 1)


def confidence95(scores: Tensor) -> tuple[float, float]:
    """Return the 95 % confidence interval of the mean score over groups, by the normal approximation.

    The reconstructions of one group share a parity output, so the group is the unit of sampling.

    Args:
        scores: Score of each reconstruction ``[g, k]``, between 0 and 1.

    Returns:
        Lower and upper end; with one group alone, 0 and 1.

    Example:
        >>> low, high = confidence95(torch.tensor([[1.0, 0.0], [1.0, 1.0], [1.0, 1.0], [0.0, 1.0]]))
        >>> round(low, 3), round(high, 3)
        (0.467, 1.0)
    """
    means = scores.double().mean(dim=1)
    if means.numel() < 2:
        return 0.0, 1.0
    mean, margin = means.mean().item(), 1.96 * means.std().item() / sqrt(means.numel())
    return max(mean - margin, 0.0), min(mean + margin, 1.0)
