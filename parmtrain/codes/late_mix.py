"""The late-mix code: layers of the parity model run on each query, and those after them on a mixture of features."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from parmtrain.codes.base import FreshModel, require_k, require_r
from parmtrain.codes.batches import BatchEncoder
from parmtrain.codes.heads import HeadsDecoder, SeparatePredictions
from parmtrain.deployed import DeployedModel
from parmtrain.errors import UnsupportedError

NOISE = 0.1  # of the initial maps, relative to the identity


class Mix(nn.Module):
    """Mix the features of k queries: the mean of one learned linear map of channels per position.

    Args:
        k: Queries in a coding group.
        channels: Size of the first axis of one query's features.

    Example:
        >>> Mix(k=2, channels=8)(torch.rand(6, 8, 4, 4)).shape
        torch.Size([3, 8, 4, 4])
    """

    def __init__(self, k: int, channels: int) -> None:
        super().__init__()
        self.k = k
        noise = torch.randn(k, channels, channels) * NOISE / channels**0.5
        self.maps = nn.Parameter((torch.eye(channels) + noise) / k)

    def forward(self, features: Tensor) -> Tensor:
        """Map features ``[b·k, channels, …]`` to ``[b, channels, …]``."""
        per_query = features.flatten(2) if features.dim() > 2 else features.unsqueeze(2)
        groups = per_query.unflatten(0, (-1, self.k))
        mixed = torch.einsum("bkcs,kdc->bds", groups, self.maps)
        return mixed.unflatten(2, features.shape[2:]) if features.dim() > 2 else mixed.squeeze(2)


class MixedNetwork(nn.Module):
    """A network with a ``Mix`` in it, on batches of k queries.

    Args:
        network: Maps ``[b·k, *query]`` to ``[b, k·c]``.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, batches: Tensor) -> Tensor:
        """Map batches ``[b, k, *query]`` to the predictions of their queries ``[b, k·c]``."""
        predictions: Tensor = self.network(batches.flatten(0, 1))
        return predictions


class LateMix(SeparatePredictions):
    """The late-mix code: features of k queries are mixed inside the parity model, whose last layer has k heads.

    The parity query is the k queries themselves. With l of L FLOPs before the mixture, a group takes k·l/L + 1 − l/L of
    the FLOPs of F.

    Args:
        k: Queries in a coding group, 2 or more.
        after: Dotted name of the layer of the parity model after which features are mixed; None for its first layer
            with weights. Nothing may lead around that layer, such as the shortcut of a residual block.
        r: Parity queries, 1.

    Raises:
        UnsupportedError: If r is not 1.

    Source: multiplexing of hidden features in Xu et al., RevMUX (arXiv 2410.04519), section 3, without its reversible
    adapters. Heads are data multiplexing: Murahari et al., DataMUX (arXiv 2202.09318).

    Example:
        >>> LateMix(k=3).parity_shape((1, 28, 28))
        (3, 1, 28, 28)
    """

    def __init__(self, k: int, after: str | None = None, r: int | None = None) -> None:
        right = require_r("late_mix", r, 1, "makes one parity query per group")
        super().__init__(require_k(k), right, BatchEncoder(right), HeadsDecoder(k))
        self.after, self.heads = after, k

    def parity_shape(self, query_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of k queries."""
        return (self.k, *query_shape)

    def parity_models(
        self, query_shape: tuple[int, ...], deployed: DeployedModel, fresh: FreshModel
    ) -> list[nn.Module]:
        """Return the parity model with a mixture of features in it."""
        network = fresh(query_shape, heads=self.k)
        if any(isinstance(part, torch.jit.ScriptModule | torch.fx.GraphModule) for part in network.modules()):
            raise UnsupportedError(
                "code=late_mix needs a parity model whose layers can be changed, got a TorchScript archive or a .pt2 "
                "program; name its architecture with parity.model=…, or use a code that takes any, such as lowres"
            )
        named = dict(network.named_modules())
        name = _first(network) if self.after is None else self.after
        if not name or name not in named:
            some = ", ".join(name for name, _ in _layers(network)) or "none"
            raise UnsupportedError(
                f"code=late_mix mixes after a layer of {type(network).__name__}: code.after must be one of its layers, "
                f"such as {some}, got {self.after}"
            )
        layer = named[name]
        all_of_it = len(list(layer.parameters())) == len(list(network.parameters()))
        if all_of_it and next(layer.children(), None) is not None:
            raise UnsupportedError(
                f"code=late_mix mixes between layers: some with weights must come after code.after, got {name}, which "
                f"has all weights of {type(network).__name__}"
            )
        features = _output_of(layer, network, query_shape)
        if not isinstance(features, Tensor) or features.dim() < 2:
            raise UnsupportedError(f"code=late_mix needs features [b, channels, …] after code.after={name}, got others")
        network.set_submodule(name, nn.Sequential(layer, Mix(self.k, features.size(1))))
        mixed = MixedNetwork(network)
        try:
            with torch.no_grad():
                fits = mixed.eval()(torch.zeros(2, self.k, *query_shape)).size(0) == 2
        except RuntimeError:
            fits = False
        if not fits:
            raise UnsupportedError(
                f"code=late_mix must mix where nothing leads around the layer, got code.after={name} in "
                f"{type(network).__name__}; name a whole stage or block"
            )
        return [mixed.train()]


def _layers(network: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Yield the layers of a network in the order in which it states them, those of sequences one by one."""
    for name, layer in network.named_children():
        if isinstance(layer, nn.Sequential):
            yield from _layers(layer, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", layer


def _first(network: nn.Module, prefix: str = "") -> str:
    """Return the dotted name of the first layer with weights, within sequences and modules that wrap one other."""
    layers = [(name, layer) for name, layer in network.named_children() if _has_weights(layer)]
    if not layers:
        return ""
    name, layer = layers[0]
    wraps = isinstance(layer, nn.Sequential) or len(layers) == 1
    return (_first(layer, f"{prefix}{name}.") if wraps else "") or f"{prefix}{name}"


def _has_weights(layer: nn.Module) -> bool:
    return next(layer.parameters(), None) is not None


def _output_of(layer: nn.Module, network: nn.Module, query_shape: tuple[int, ...]) -> object:
    """Return what a layer of a network returns for one query."""
    seen: list[object] = []
    handle = layer.register_forward_hook(lambda *arguments: seen.append(arguments[-1]))
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, *query_shape))
    finally:
        handle.remove()
    return seen[0] if seen else None
