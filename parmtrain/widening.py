"""Wider networks out of given ones: more outputs or more channels, found by running them, not by their architecture.

A network may be a module, a TorchScript archive or an exported program; any of them takes a larger weight.
"""

from collections.abc import Iterator
from itertools import islice

import torch
from torch import Tensor, nn

from parmtrain.errors import UnsupportedError

FIRST = 4  # layers among which the first that reads the query is looked for
ALIKE = 1e-3  # difference of two outputs ÷ the largest number in them


def widen_outputs(network: nn.Module, factor: int, queries: Tensor) -> nn.Module:
    """Give a network ``factor`` times its outputs, each a copy of what it had; return the network itself.

    The layer that makes the prediction must be linear or a 1×1 convolution, with whatever follows acting on each output
    alone, such as pooling.

    Args:
        network: Maps queries ``[b, *query]`` to predictions ``[b, c]``; its weights are replaced.
        factor: Times of its outputs.
        queries: Two queries or more, to try it ``[b, *query]``.

    Raises:
        UnsupportedError: If no weight is that of such a layer.

    Example:
        >>> network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
        >>> widen_outputs(network, 2, torch.rand(5, 4))(torch.rand(5, 4)).shape
        torch.Size([5, 6])
    """
    wanted = _run(network, queries)
    if factor == 1:
        return network
    outputs = wanted.size(1)
    for owner, weight in reversed(list(_weights(network))):
        if weight.size(0) == outputs and weight[0, 0].numel() == 1:
            before = _replace(owner, *(None if one is None else torch.cat([one] * factor) for one in _both(owner)))
            if _gives(network, queries, wanted.repeat(1, factor)):
                return network
            _replace(owner, *before)
    raise UnsupportedError(
        f"{factor} predictions in one output need a last layer that is linear or a 1×1 convolution with {outputs} "
        f"outputs, found none in {_named(network)} that can be widened (not before a softmax, or with tied or "
        "normalised weights); code=lowres and code=backup take any deployed model, and parity.model=… names an "
        "architecture of your own"
    )


def widen_inputs(network: nn.Module, factor: int, queries: Tensor) -> nn.Module:
    """Have a network read ``factor`` queries stacked by channels, with a copy of its weights for each; return itself.

    If that layer is its first, it then maps stacked queries to what it gave for their sum. It must be linear or a
    convolution without channel groups, and what is before it must act on each channel alone.

    Args:
        network: Maps queries ``[b, *query]`` to predictions ``[b, c]``; its weights are replaced.
        factor: Times of its channels, the first axis of a query.
        queries: Two queries or more, to try it ``[b, *query]``.

    Raises:
        UnsupportedError: If no weight is that of such a layer.

    Example:
        >>> network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten())
        >>> widen_inputs(network, 2, torch.rand(5, 3, 8, 8))(torch.rand(5, 6, 8, 8)).shape
        torch.Size([5, 288])
    """
    stacked = torch.cat([queries] * factor, dim=1)
    for owner, weight in islice(_weights(network), FIRST):
        before = _replace(owner, factor * weight, None)  # what k equal queries should give
        wanted = _run(network, queries)
        _replace(owner, torch.cat([weight] * factor, dim=1), None)
        if _gives(network, stacked, wanted):
            return network
        _replace(owner, *before)
    raise UnsupportedError(
        f"code=stack needs a first layer that is linear or a convolution without channel groups, and reads "
        f"{queries.size(1)} channels, found none in {_named(network)} that can be widened; code=sum takes any "
        "model"
    )


def _named(network: nn.Module) -> str:
    """Return the class of a network, without wrappers."""
    while isinstance(inner := getattr(network, "network", None), nn.Module):
        network = inner
    named = {torch.jit.ScriptModule: "a TorchScript archive", torch.fx.GraphModule: "a .pt2 program"}
    return next((words for kind, words in named.items() if isinstance(network, kind)), type(network).__name__)


def _weights(network: nn.Module) -> Iterator[tuple[nn.Module, Tensor]]:
    """Yield layers with a ``weight`` of two dimensions or more, and that weight."""
    for owner in network.modules():
        weight = dict(owner.named_parameters(recurse=False)).get("weight")
        if weight is not None and weight.dim() > 1:
            yield owner, weight.detach()


def _both(owner: nn.Module) -> tuple[Tensor | None, Tensor | None]:
    """Return the weight and the bias of a layer."""
    own = dict(owner.named_parameters(recurse=False))
    return own.get("weight"), own.get("bias")


def _replace(owner: nn.Module, weight: Tensor | None, bias: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """Replace the weight and the bias of a layer, and return what they were."""
    before = _both(owner)
    for name, value in (("weight", weight), ("bias", bias)):
        if value is not None:
            setattr(owner, name, nn.Parameter(value.detach().clone()))
    if weight is not None and isinstance(owner, nn.Linear):
        owner.out_features, owner.in_features = weight.shape
    elif weight is not None and isinstance(owner, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        owner.out_channels, owner.in_channels = weight.size(0), owner.groups * weight.size(1)
    return before


@torch.no_grad()
def _run(network: nn.Module, queries: Tensor) -> Tensor:
    """Return a network's predictions in evaluation mode; its mode stays as it is."""
    modes = {layer: layer.training for layer in network.modules()}
    if not isinstance(network, torch.fx.GraphModule):  # an exported graph has no modes
        network.eval()
    try:
        predictions: Tensor = network(queries)
        return predictions
    finally:
        for layer, training in modes.items():
            layer.training = training


def _gives(network: nn.Module, queries: Tensor, wanted: Tensor) -> bool:
    """Return whether a network answers queries as wanted; with a wrong weight it raises, or answers otherwise."""
    try:
        given = _run(network, queries)
    except Exception:  # a network can raise anything
        return False
    return given.shape == wanted.shape and torch.allclose(given, wanted, ALIKE, ALIKE * wanted.abs().max().item())
