"""Stateless metrics: degraded-mode and overall accuracy, and agreement with the deployed model.

Shapes: g groups of k queries, p arrival patterns, c outputs (classes) in a prediction. A prediction that could not be
reconstructed is NaN and counts as wrong. The terms are those of Kosaian et al., ParM (SOSP'19), section 4.1.
"""

from math import sqrt

import torch
from torch import Tensor

from parmtrain.bounds import Count


def correct(predictions: Tensor, labels: Tensor, top: Count = 1) -> Tensor:
    """Return whether each label is among the ``top`` largest outputs of its prediction.

    Args:
        predictions: Class scores ``[..., c]``.
        labels: True classes ``[...]``.
        top: How many of the largest outputs count.

    Returns:
        1.0 or 0.0 per prediction, ``[...]``.

    Example:
        >>> scores = torch.tensor([[0.1, 0.7, 0.2], [0.6, 0.3, 0.1], [torch.nan, 0.0, 0.0]])
        >>> correct(scores, torch.tensor([1, 2, 0])), correct(scores, torch.tensor([1, 1, 0]), top=2)
        (tensor([1., 0., 0.]), tensor([1., 1., 0.]))
    """
    best = predictions.topk(top, dim=-1).indices
    hit = (best == labels.unsqueeze(-1)).any(dim=-1) & predictions.isfinite().all(dim=-1)
    return hit.to(torch.float32)


def agree(reconstructed: Tensor, predictions: Tensor) -> Tensor:
    """Return whether each reconstructed prediction ``[..., c]`` has the arg-max of the deployed model's own.

    Example:
        >>> agree(torch.tensor([[1.0, 2.0], [2.0, 1.0]]), torch.tensor([[0.0, 9.0], [0.0, 9.0]]))
        tensor([1., 0.])
    """
    return correct(reconstructed, predictions.argmax(dim=-1).expand(reconstructed.shape[:-1]))


def degraded_update(values: Tensor, counted: Tensor) -> tuple[Tensor, int]:
    """Return what a batch adds to A_d: sums over its groups ``[p, k]`` (float64), and the number of groups.

    Args:
        values: A measure of each reconstructed prediction, per arrival pattern and position ``[g, p, k]``.
        counted: Positions that count in each arrival pattern ``[p, k]`` (bool): those with a missing prediction.
    """
    return (values * counted.to(values.device)).double().sum(dim=0), len(values)


def degraded_compute(sums: Tensor, counted: Tensor, groups: int | Tensor) -> Tensor:
    """Return A_d from sums over groups ``[p, k]``, as accumulated by ``degraded_update``.

    Args:
        sums: Sums over all groups.
        counted: Positions that count in each arrival pattern ``[p, k]`` (bool).
        groups: Number of groups.
    """
    return sums.sum() / (groups * counted.sum().item())


def degraded(values: Tensor, counted: Tensor) -> Tensor:
    """Return A_d: the mean of a measure over reconstructed predictions only, in all positions and arrival patterns.

    Args:
        values: The measure of each reconstruction ``[g, p, k]`` in p arrival patterns.
        counted: Positions that count in each arrival pattern ``[p, k]`` (bool): those with a missing prediction.

    Source: Kosaian et al., ParM (SOSP'19), section 4.1 (degraded-mode accuracy).

    Example:
        >>> values = torch.tensor([[[1.0, 1.0], [1.0, 0.0]], [[1.0, 1.0], [1.0, 1.0]]])
        >>> degraded(values, counted=torch.tensor([[True, False], [False, True]]))
        tensor(0.7500, dtype=torch.float64)
    """
    sums, groups = degraded_update(values, counted)
    return degraded_compute(sums, counted, groups)


def degraded_by_position(sums: Tensor, counted: Tensor, groups: int | Tensor) -> Tensor:
    """Return A_d at each of the k positions ``[k]`` from sums over groups ``[p, k]``.

    Example:
        >>> degraded_by_position(torch.tensor([[3.0, 0.0], [0.0, 1.0]]), torch.eye(2).bool(), groups=4)
        tensor([0.7500, 0.2500])
    """
    return sums.sum(dim=0) / counted.sum(dim=0).to(sums.device) / groups


def degraded_by_case(sums: Tensor, counted: Tensor, groups: int | Tensor) -> Tensor:
    """Return A_d in each arrival pattern ``[p]`` from sums over groups ``[p, k]``.

    Example:
        >>> degraded_by_case(torch.tensor([[3.0, 0.0], [0.0, 1.0]]), torch.eye(2).bool(), groups=4)
        tensor([0.7500, 0.2500])
    """
    return sums.sum(dim=1) / counted.sum(dim=1).to(sums.device) / groups


def overall_accuracy(available: float, degraded: float, unavailable: float) -> float:
    """Return A_o = (1 − f_u)·A_a + f_u·A_d.

    Args:
        available: A_a.
        degraded: A_d.
        unavailable: f_u, the fraction of predictions that are late or lost, from 0 to 1.

    Raises:
        ValueError: If f_u is outside 0 to 1.

    Source: Kosaian et al., ParM (SOSP'19), section 4.1.

    Example:
        >>> overall_accuracy(0.75, 0.25, unavailable=0.5)
        0.5
    """
    if not 0 <= unavailable <= 1:
        raise ValueError(f"unavailable must be from 0 to 1, got {unavailable}")
    return (1 - unavailable) * available + unavailable * degraded


def accuracy_with_one_straggler(available: float, degraded: float, k: int) -> float:
    """Return the accuracy over all k queries of a group with k + 1 workers and one straggler: (k·A_a + A_d) / (k + 1).

    If the straggler is the worker of the parity model, all k predictions arrive. Codes that are not systematic are
    scored over all k queries, so compare this value with theirs.

    Example:
        >>> accuracy_with_one_straggler(0.75, 0.0, k=2)
        0.5
    """
    return (k * available + degraded) / (k + 1)


def confidence95(scores: Tensor) -> tuple[float, float]:
    """Return the 95 % confidence interval of the mean score, by the normal approximation over groups.

    The reconstructions of one group share a parity output, so the group is the unit of sampling. Where all scores are
    0, or all are 1, it is Wilson's interval, which does not take that for certain.

    Args:
        scores: Score of each reconstruction ``[g, k]``, between 0 and 1.

    Returns:
        Lower and upper bound; 0 and 1 for a single group.

    Example:
        >>> low, high = confidence95(torch.tensor([[1.0, 0.0], [1.0, 1.0], [1.0, 1.0], [0.0, 1.0]]))
        >>> round(low, 3), round(high, 3)
        (0.467, 1.0)
    """
    means = scores.double().mean(dim=1)
    if means.numel() < 2:
        return 0.0, 1.0
    mean, margin = means.mean().item(), 1.96 * means.std().item() / sqrt(means.numel())
    if mean in (0.0, 1.0):
        apart = 1.96**2 / (means.numel() + 1.96**2)
        return (0.0, apart) if mean == 0.0 else (1 - apart, 1.0)
    return max(mean - margin, 0.0), min(mean + margin, 1.0)
