"""The deployed model's own network as a parity model: a trainable copy of any program, with one head for each query."""

from typing import Any

import torch
from torch import Tensor, nn

from parmtrain.deployed import DeployedModel, private_copy
from parmtrain.errors import UnsupportedError
from parmtrain.programs import EXPORTED
from parmtrain.widening import widen_outputs


class ExportedNetwork(nn.Module):
    """An exported program, which has no training and evaluation modes.

    Args:
        network: The network.

    Example:
        >>> ExportedNetwork(nn.Linear(4, 2)).train()(torch.rand(5, 4)).shape
        torch.Size([5, 2])
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def train(self, mode: bool = True) -> "ExportedNetwork":
        """Set the mode of this module alone."""
        self.training = mode
        return self

    def forward(self, queries: Tensor) -> Tensor:
        """Map queries ``[b, *query]`` to predictions ``[b, c]``."""
        predictions: Tensor = self.network(queries)
        return predictions


def own_network(deployed: DeployedModel, heads: int, queries: Tensor) -> nn.Module:
    """Return a copy of the deployed model's network to train, with its weights.

    Args:
        deployed: The deployed model; it is not changed.
        heads: Number of predictions in one output of the copy, which all begin as the deployed model's.
        queries: Two queries or more that the network itself takes, to try it ``[b, *query]``.

    Raises:
        UnsupportedError: If it is a function, or no layer can be given more heads.

    Example:
        >>> deployed = DeployedModel(nn.Linear(4, 3))
        >>> own_network(deployed, heads=2, queries=torch.rand(2, 4))
        Linear(in_features=4, out_features=6, bias=True)
    """
    if not isinstance(deployed.network, nn.Module):
        raise UnsupportedError(
            "a parity model with the deployed model's own network needs a module or a program, got a function; name "
            "an architecture with parity.model=…, or use code=lowres or code=backup"
        )
    copied: Any = private_copy(deployed.network)
    for parameter in copied.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
    widen_outputs(copied, heads, queries)
    if isinstance(copied, torch.fx.GraphModule):
        copied.meta.pop(EXPORTED, None)  # the program of the deployed model itself
        return ExportedNetwork(copied)
    trained: nn.Module = copied.train()
    return trained
