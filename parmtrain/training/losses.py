"""Losses for training a code, as functions of one batch of coded groups."""

from collections.abc import Callable, Sequence
from math import log

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.functional import kl_div, log_softmax, mse_loss, softmax

from parmtrain.bounds import NotNegative
from parmtrain.errors import ConfigError
from parmtrain.metrics.measures import CLASS_SCORES, PROBABILITIES
from parmtrain.training.coded_groups import CodedGroups

Loss = Callable[[CodedGroups], Tensor]
OTHERS = "loss=mse or loss=decoded_mse"
SMALLEST = 0.3  # probability below which the divergence is quadratic; chosen on validation


def mse(groups: CodedGroups) -> Tensor:
    """Return the mean squared error between parity outputs and their target.

    Source: Kosaian et al., ParM (SOSP'19), section 3.3.

    Example:
        >>> import torch
        >>> from parmtrain.codes import Sum
        >>> predictions = torch.tensor([[[1.0, 0.0], [0.0, 2.0]]])
        >>> groups = CodedGroups(Sum(k=2), predictions, torch.tensor([[[1.0, 4.0]]]), torch.tensor([[0, 1]]))
        >>> mse(groups)
        tensor(2.)
    """
    return mse_loss(groups.parity, groups.target)


def kl(groups: CodedGroups) -> Tensor:
    """Return the divergence of each reconstructed prediction's softmax from the deployed model's: KL(F ‖ F̂).

    It is the mean over all reconstructions, in nats. Unlike the squared error, it does not spend the parity model's
    capacity on outputs that do not affect the arg-max. Where the deployed model returns probabilities, no softmax is
    applied to them: reconstructed ones, which need not sum to 1, are compared by the divergence of measures,
    Σ p log(p/q) − p + q.

    Example:
        >>> import torch
        >>> from parmtrain.codes import Sum
        >>> predictions = torch.tensor([[[1.0, 0.0], [0.0, 2.0]]])
        >>> perfect = CodedGroups(Sum(k=2), predictions, predictions.sum(1, keepdim=True), torch.tensor([[0, 1]]))
        >>> kl(perfect).abs() < 1e-6
        tensor(True)
    """
    if groups.kind == PROBABILITIES:
        return _divergence(groups.own, groups.reconstructed)
    groups.require_kind("kl", CLASS_SCORES, OTHERS)
    reconstructed = log_softmax(groups.reconstructed.flatten(0, 1), dim=-1)
    return kl_div(reconstructed, softmax(groups.own.flatten(0, 1), dim=-1), reduction="batchmean")


def decoded_mse(groups: CodedGroups) -> Tensor:
    """Return the mean squared error between reconstructed predictions and the deployed model's own.

    Source: arXiv 1806.01259, section 3 (training).

    Example:
        >>> import torch
        >>> from parmtrain.codes import Sum
        >>> predictions = torch.tensor([[[1.0, 0.0], [0.0, 2.0]]])
        >>> decoded_mse(CodedGroups(Sum(k=2), predictions, torch.tensor([[[1.0, 4.0]]]), torch.tensor([[0, 1]])))
        tensor(2.)
    """
    return mse_loss(groups.reconstructed, groups.own)


def cosine(groups: CodedGroups) -> Tensor:
    """Return the mean of 1 − the cosine of each reconstructed prediction and the deployed model's own.

    Example:
        >>> import torch
        >>> from parmtrain.codes import Sum
        >>> predictions = torch.tensor([[[1.0, 0.0], [0.0, 2.0]]])
        >>> cosine(CodedGroups(Sum(k=2), predictions, torch.tensor([[[1.0, 4.0]]]), torch.tensor([[0, 1]])))
        tensor(0.2764)
    """
    return 1 - functional.cosine_similarity(groups.reconstructed, groups.own, dim=-1).mean()


def cross_entropy(groups: CodedGroups) -> Tensor:
    """Return the cross-entropy of reconstructed predictions against the true labels, in nats.

    Source: arXiv 1806.01259, section 3 (training).

    Example:
        >>> import torch
        >>> from parmtrain.codes import Sum
        >>> predictions, labels = torch.zeros(1, 2, 4), torch.tensor([[0, 1]])
        >>> cross_entropy(CodedGroups(Sum(k=2), predictions, torch.zeros(1, 1, 4), labels))
        tensor(1.3863)
    """
    if groups.kind == PROBABILITIES:
        labels = functional.one_hot(groups.own_labels, groups.own.size(-1))
        return _divergence(labels.to(groups.own.dtype), groups.reconstructed)
    groups.require_kind("cross_entropy", CLASS_SCORES, OTHERS)
    return functional.cross_entropy(groups.reconstructed.flatten(0, 1), groups.own_labels.flatten())


def _divergence(wanted: Tensor, given: Tensor) -> Tensor:
    """Return the mean divergence of reconstructed probabilities ``[g, m, c]`` from those wanted.

    It is the Bregman divergence of p log p, Σ p log(p/q) − p + q, where q is ``SMALLEST`` or more. Decoders may give
    numbers below 0: below ``SMALLEST``, p log p goes on as the parabola that touches it, so the divergence is zero for
    equal probabilities alone, and its gradients lead there from anywhere.
    """
    slope = given.clamp_min(SMALLEST).log() + 1 + (given - SMALLEST).clamp_max(0) / SMALLEST
    return (_entropy(wanted) - _entropy(given) - slope * (wanted - given)).sum(dim=-1).mean()


def _entropy(values: Tensor) -> Tensor:
    """Return v log v, and below ``SMALLEST`` the parabola with its value, slope and curvature there."""
    large, below = values.clamp_min(SMALLEST), (values - SMALLEST).clamp_max(0)
    return large * large.log() + (log(SMALLEST) + 1) * below + below.square() / (2 * SMALLEST)


def mixed(groups: CodedGroups, losses: Sequence[Loss], weights: Sequence[NotNegative]) -> Tensor:
    """Return the weighted sum of several losses.

    Args:
        groups: One batch.
        losses: Each a function of ``CodedGroups``.
        weights: One for each loss.

    Raises:
        ConfigError: If their numbers differ, or all weights are 0.

    Example:
        >>> import torch
        >>> from parmtrain.codes import Sum
        >>> predictions = torch.tensor([[[1.0, 0.0], [0.0, 2.0]]])
        >>> groups = CodedGroups(Sum(k=2), predictions, torch.tensor([[[1.0, 4.0]]]), torch.tensor([[0, 1]]))
        >>> mixed(groups, losses=[mse, decoded_mse], weights=[1.0, 0.5])
        tensor(3.)
    """
    if len(losses) != len(weights):
        raise ConfigError(
            [f"loss.weights must have one weight for each of the {len(losses)} loss.losses, got {len(weights)}"]
        )
    if not any(weights):
        raise ConfigError(["loss.weights must have one above 0, got none"])
    return torch.stack([weight * loss(groups) for loss, weight in zip(losses, weights, strict=True)]).sum()
