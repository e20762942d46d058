"""The deployed model's own network as a parity model: a trainable copy of any program, with one head for each query."""

from typing import Any

import torch
from torch import Tensor, nn

from parmtrain.deployed import DeployedModel, private_copy
from parmtrain.errors import UnsupportedError
from parmtrain.probes import ALIKE, probes
from parmtrain.programs import Around, weights
from parmtrain.widening import widen_outputs


def is_of(deployed: DeployedModel, architecture: nn.Module, query_shape: tuple[int, ...]) -> bool:
    """Return whether a deployed model is of an architecture: with its weights, that gives its answers to fixed queries.

    Args:
        deployed: The deployed model.
        architecture: A network with any weights; it takes the deployed model's if they fit.
        query_shape: Shape of one query.

    Example:
        >>> deployed = DeployedModel(nn.Linear(4, 3))
        >>> is_of(deployed, nn.Linear(4, 3), (4,)), is_of(deployed, nn.Sequential(nn.Linear(4, 3)), (4,))
        (True, False)
    """
    theirs, ours = weights(deployed.network), weights(architecture)
    if {name: value.shape for name, value in theirs.items()} != {name: value.shape for name, value in ours.items()}:
        return False
    architecture.load_state_dict(theirs)
    queries = probes(query_shape)
    with torch.no_grad():
        wanted = deployed(queries.to(deployed.device)).cpu()
        given = architecture.eval()(deployed.preprocess(queries.to(deployed.device)).cpu().float())
    if not isinstance(given, Tensor):  # of several outputs, of which F is one
        return False
    return wanted.shape == given.shape and torch.allclose(wanted, given, ALIKE, ALIKE * wanted.abs().max().item())


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
