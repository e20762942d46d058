"""The deployed model F: wrapped, guaranteed to stay frozen, and identified by a fingerprint."""

import copy
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from parmtrain.errors import DeployedModelError, InputError, reason_of
from parmtrain.flops import flops
from parmtrain.programs import Network, pack, weights


class DeployedModel(nn.Module):
    """The frozen deployed model F.

    The network is not registered as a child module, so a parent's ``train()``, ``requires_grad_()``, ``half()``,
    optimizer, checkpoint or process group never reaches its parameters and buffers. Only a move to another device
    applies to it. Gradients flow back to queries that require them, never to the weights.

    Args:
        network: Any module (eager, TorchScript or exported) or callable that maps queries ``[b, *query]`` to
            predictions ``[b, c]``. A module is put into evaluation mode.
        preprocess: Module without weights that is applied to queries first, such as ``nn.Flatten()``.

    Attributes:
        stated_flops: FLOPs of one query, as its user states them; None: they are counted.
        timed_flops: FLOPs that a student takes in the time of one query; None: not estimated.

    Raises:
        DeployedModelError: If the network cannot be called.

    Example:
        >>> deployed = DeployedModel(nn.Linear(4, 2))
        >>> _ = deployed.train()
        >>> list(deployed.parameters()), deployed(torch.ones(3, 4)).requires_grad
        ([], False)
    """

    def __init__(self, network: Network, preprocess: nn.Module | None = None) -> None:
        super().__init__()
        self.stated_flops: float | None = None
        self.timed_flops: float | None = None
        if not callable(network):
            raise DeployedModelError(f"the deployed model must be a module or a function, got {type(network).__name__}")
        self.preprocess = preprocess or nn.Identity()
        if isinstance(network, nn.Module):
            freeze(network)
        self._held = (network,)
        self.fingerprint = fingerprint(network)

    @property
    def network(self) -> Network:
        """The wrapped model."""
        return self._held[0]

    @property
    def has_weights(self) -> bool:
        """Whether the model has weights, and so a fingerprint that identifies it."""
        return bool(weights(self.network))

    @property
    def device(self) -> torch.device:
        """Device of the weights; the CPU if there are none."""
        return next((value.device for value in weights(self.network).values()), torch.device("cpu"))

    def counted_flops(self, query_shape: Sequence[int]) -> float:
        """Return the FLOPs of one query, stated or counted; 0 if they cannot be counted.

        Example:
            >>> DeployedModel(nn.Linear(4, 2)).counted_flops([4])
            16
        """
        return self.stated_flops or flops(self, torch.zeros(1, *query_shape, device=self.device))

    def flops(self, query_shape: Sequence[int]) -> float:
        """Return the FLOPs of one query, stated, counted, or estimated from its time; 0 if there is no estimate."""
        return self.counted_flops(query_shape) or self.timed_flops or 0

    def forward(self, queries: Tensor) -> Tensor:
        """Map queries ``[b, *query]`` to predictions ``[b, c]``."""
        if not isinstance(queries, Tensor):
            raise InputError(f"queries must be a tensor, got {type(queries).__name__}")
        with torch.set_grad_enabled(torch.is_grad_enabled() and queries.requires_grad):
            predictions = self.network(self.preprocess(queries))
        if isinstance(predictions, Tensor) and predictions.is_floating_point() and queries.is_floating_point():
            return predictions.to(queries.dtype)  # as parity models answer
        return predictions

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "DeployedModel":
        """Move the network to the device that ``fn`` moves tensors to; leave its values and types unchanged."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if isinstance(self.network, nn.Module):
            self.network.to(fn(torch.empty(0)).device)
        return self

    def __getstate__(self) -> dict[str, Any]:
        """Return a state that can be pickled, for any kind of network."""
        return {**self.__dict__, "_held": (pack(self.network),)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the state that ``__getstate__`` returned."""
        (packed,) = state["_held"]
        super().__setstate__({**state, "_held": (packed.unpack(),)})  # type: ignore[no-untyped-call]

    def check_unchanged(self) -> None:
        """Raise a ``DeployedModelError`` if a weight has changed since the model was wrapped."""
        if fingerprint(self.network) != self.fingerprint:
            raise DeployedModelError(
                "the deployed model must stay frozen, but its weights changed; discard the results"
            )


def private_copy(network: Network) -> Network:
    """Return a copy of a module, so that the given one stays as it is; other callables are returned themselves.

    Of a module that ``torch.compile`` returned, the original is copied: it can be exported and sent to other processes.

    Raises:
        DeployedModelError: If the module cannot be copied.

    Example:
        >>> network = nn.Linear(2, 1)
        >>> private_copy(network) is network, private_copy(abs) is abs
        (False, True)
    """
    if not isinstance(network, nn.Module):
        return network
    if isinstance(original := getattr(network, "_orig_mod", None), nn.Module):
        network = original
    try:
        with torch.no_grad():  # a copy of a TorchScript module would have a history otherwise
            copied = copy.deepcopy(network)
    except Exception as fault:  # a module can raise anything
        raise DeployedModelError(
            f"the deployed model must be a module that can be copied, got one that cannot ({reason_of(fault)}); pass a "
            "function that calls it"
        ) from fault
    if isinstance(network, torch.fx.GraphModule) and isinstance(copied, torch.fx.GraphModule):
        copied.meta.update(network.meta)  # with its exported program
    return copied


def freeze(network: nn.Module) -> None:
    """Put a network into evaluation mode and disable gradients for all its parameters."""
    if not isinstance(network, torch.fx.GraphModule):  # an exported graph has no modes
        network.eval()
    for parameter in network.parameters():
        parameter.requires_grad_(False)
        parameter.grad = None


def fingerprint(network: Network) -> str:
    """Return the SHA-256 of a network's parameters and buffers: names, types, shapes and bytes.

    All callables without parameters and buffers share one fingerprint.

    Example:
        >>> a, b = nn.Linear(2, 2), nn.Linear(2, 2)
        >>> _ = b.load_state_dict(a.state_dict())
        >>> fingerprint(a) == fingerprint(b), fingerprint(a) == fingerprint(nn.Linear(2, 2))
        (True, False)
    """
    digest = hashlib.sha256()
    for name, value in sorted(weights(network).items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
