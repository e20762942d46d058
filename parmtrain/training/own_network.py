"""The deployed model's own network as a parity model: a trainable copy of any program, with one head for each query."""

from typing import Any

import torch
from torch import Tensor, nn

from parmtrain.deployed import DeployedModel, private_copy
from parmtrain.errors import UnsupportedError
from parmtrain.programs import Around
from parmtrain.widening import widen_outputs


def own_network(deployed: DeployedModel, heads: int, queries: Tensor) -> nn.Module:
    """Return a copy of the deployed model's network to train, all of it, with its weights.

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
    for name, parameter in copied.named_parameters():
        if parameter.is_floating_point() and parameter.dtype != torch.float32:
            held = str(parameter.dtype).removeprefix("torch.")
            raise UnsupportedError(
                "a parity model with the deployed model's own network needs weights of type float32, got "
                f"{held} in {name}; convert it with .float(), or use code=lowres or code=backup"
            )
        parameter.requires_grad_(parameter.is_floating_point())
    widen_outputs(copied, heads, queries)
    is_program = isinstance(copied, torch.jit.ScriptModule | torch.fx.GraphModule)
    trained: nn.Module = (Around(copied) if is_program else copied).train()
    return trained
