"""Losses that a parity model is trained with, as functions of one batch of coded groups."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax, mse_loss, softmax

from parmtrain.codes import Code, reconstruct_each


@dataclass(frozen=True)
class CodedGroups:
    """What is known of a batch of coding groups once its parity models have run.

    Args:
        code: The code of the groups.
        predictions: The deployed model's own predictions ``[g, k, c]``.
        parity: Outputs of the parity models ``[g, r, c]``.
        labels: True labels ``[g, k]``.
    """

    code: Code
    predictions: Tensor
    parity: Tensor
    labels: Tensor

    @cached_property
    def target(self) -> Tensor:
        """What the parity models ought to output ``[g, r, c]``."""
        return self.code.target(self.predictions)

    @cached_property
    def reconstructed(self) -> Tensor:
        """Every prediction as it is reconstructed when it alone is missing ``[g, k, c]``."""
        outputs = torch.cat([self.predictions, self.parity], dim=1)
        return reconstruct_each(self.code.decode, outputs, self.code.k)


def mse(groups: CodedGroups) -> Tensor:
    """Return the mean squared error between parity outputs and their target.

    Source: Kosaian et al., ParM (SOSP'19), section 3.3.

    Example:
        >>> from parmtrain.codes import Sum
        >>> predictions = torch.tensor([[[1.0, 0.0], [0.0, 2.0]]])
        >>> groups = CodedGroups(Sum(k=2), predictions, torch.tensor([[[1.0, 4.0]]]), torch.tensor([[0, 1]]))
        >>> mse(groups)
        tensor(2.)
    """
    return mse_loss(groups.parity, groups.target)


def kl(groups: CodedGroups) -> Tensor:
    """Return the divergence of each reconstructed prediction's softmax from the deployed model's: KL(F ‖ F̂).

    It is the mean over all reconstructions, in nats. Unlike the squared error it does not spend the parity model's
    capacity on outputs that no arg-max depends on.

    Example:
        >>> from parmtrain.codes import Sum
        >>> predictions = torch.tensor([[[1.0, 0.0], [0.0, 2.0]]])
        >>> perfect = CodedGroups(Sum(k=2), predictions, predictions.sum(1, keepdim=True), torch.tensor([[0, 1]]))
        >>> kl(perfect).abs() < 1e-6
        tensor(True)
    """
    reconstructed = log_softmax(groups.reconstructed.flatten(0, 1), dim=-1)
    return kl_div(reconstructed, softmax(groups.predictions.flatten(0, 1), dim=-1), reduction="batchmean")
