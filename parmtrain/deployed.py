"""The deployed model F: read from a file or wrapped, frozen for certain, known by a fingerprint."""

import hashlib
import io
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from parmtrain.errors import DeployedModelError

Network = Callable[[Tensor], Tensor]
STATE_DICT_KEYS = ("state_dict", "model_state_dict", "model")


class DeployedModel(nn.Module):
    """The frozen deployed model F.

    The network is held, not registered: it is no child, so a parent's ``train()``, ``requires_grad_()``, ``half()``,
    optimizer, checkpoint or process group never reaches its parameters and buffers. It follows its parent to another
    device, and nothing else. Predictions carry a gradient back to queries that ask for one, never to the weights.

    Args:
        network: Any module (eager, TorchScript or exported) or callable that maps queries ``[b, *query]`` to
            predictions ``[b, c]``. A module is put into evaluation mode.
        door: What queries pass on their way into the network, such as ``nn.Flatten()``; it has no weights.

    Example:
        >>> deployed = DeployedModel(nn.Linear(4, 2))
        >>> _ = deployed.train()
        >>> list(deployed.parameters()), deployed(torch.ones(3, 4)).requires_grad
        ([], False)
    """

    def __init__(self, network: Network, door: nn.Module | None = None) -> None:
        super().__init__()
        self.door = door or nn.Identity()
        if isinstance(network, nn.Module):
            freeze(network)
        self._held = (network,)
        self.fingerprint = fingerprint(network)

    @property
    def network(self) -> Network:
        """The model as it was given."""
        return self._held[0]

    @property
    def has_weights(self) -> bool:
        """Whether the fingerprint tells this model from others."""
        return bool(weights(self.network))

    def forward(self, queries: Tensor) -> Tensor:
        """Map queries ``[b, *query]`` to predictions ``[b, c]``."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and queries.requires_grad):
            return self.network(self.door(queries))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "DeployedModel":
        """Follow a parent to the device that ``fn`` moves to; leave every value and type as it is."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if isinstance(self.network, nn.Module):
            self.network.to(fn(torch.empty(0)).device)
        return self

    def __getstate__(self) -> dict[str, Any]:
        """Return what another process is sent: of TorchScript, which cannot be pickled, its archive."""
        state = self.__dict__.copy()
        if isinstance(self.network, torch.jit.ScriptModule):
            archive = io.BytesIO()
            torch.jit.save(self.network, archive)
            state["_held"] = (archive.getvalue(),)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take up what another process sent."""
        (held,) = state["_held"]
        if isinstance(held, bytes):
            state = {**state, "_held": (torch.jit.load(io.BytesIO(held)),)}
        super().__setstate__(state)  # type: ignore[no-untyped-call]

    def check_unchanged(self) -> None:
        """Raise a ``DeployedModelError`` if a weight differs from when the model was wrapped."""
        if fingerprint(self.network) != self.fingerprint:
            raise DeployedModelError("the deployed model's weights changed while it was in use; results are void")


def freeze(network: nn.Module) -> None:
    """Put a network into evaluation mode and let no parameter ask for a gradient."""
    if not isinstance(network, torch.fx.GraphModule):  # an exported graph has no modes
        network.eval()
    for parameter in network.parameters():
        parameter.requires_grad_(False)
        parameter.grad = None


def fingerprint(network: Network) -> str:
    """Return the SHA-256 of a network's parameters and buffers: names, types, shapes and bytes.

    A callable without any gives the digest of nothing.

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


def weights(network: Network) -> dict[str, Tensor]:
    """Return every parameter and buffer of a network by name; none for a mere callable."""
    if not isinstance(network, nn.Module):
        return {}
    return {name: value for name, value in network.state_dict().items() if isinstance(value, Tensor)}


def read_network(path: Path, build: Callable[[], nn.Module]) -> nn.Module:
    """Read a deployed model from a file.

    A state dict is data and is read as such. TorchScript archives and ``.pt2`` files are programs: open only those
    that you would run.

    Args:
        path: A state dict (bare, or under a key ``state_dict``, ``model_state_dict`` or ``model``, with or without a
            prefix that all its names share), a TorchScript archive, or a torch.export ``.pt2``.
        build: Builds the architecture that a state dict is for.

    Raises:
        DeployedModelError: If the file is missing, damaged, of another architecture, or holds a NaN.
    """
    if not path.is_file():
        raise DeployedModelError(f"deployed.path={path}: there is no such file")
    entries = zipfile.ZipFile(path).namelist() if zipfile.is_zipfile(path) else []
    try:
        if any("/code/" in entry for entry in entries):
            network: nn.Module = read_torchscript(path)
        elif any(entry.endswith("archive_format") or entry.endswith("exported_program.json") for entry in entries):
            network = torch.export.load(path).module()
        else:
            network = load_weights(build(), _state_dict(path), path)
    except DeployedModelError:
        raise
    except Exception as fault:  # damaged files fail in whatever way the reader of the moment fails
        raise DeployedModelError(
            f"deployed.path={path}: neither a state dict of tensors nor a TorchScript archive nor a .pt2 can be read "
            f"from it, or it is truncated ({_first_line(fault)})"
        ) from fault
    for name, value in weights(network).items():
        if not value.isfinite().all():
            raise DeployedModelError(f"deployed.path={path}: {name} holds NaN or infinite numbers")
    return network


def read_torchscript(path: Path) -> torch.jit.ScriptModule:
    """Read a TorchScript archive onto the CPU. It is a program: read only what you would run."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # TorchScript is what services have
        program: torch.jit.ScriptModule = torch.jit.load(path, map_location="cpu")
    return program


def load_weights(network: nn.Module, state: dict[str, Tensor], path: Path) -> nn.Module:
    """Load a state dict into the architecture it must fit.

    Raises:
        DeployedModelError: If names or shapes differ; it names the first of them.
    """
    expected = network.state_dict()
    state = _without_common_prefix(state, expected)
    faults = [f"{name} is missing" for name in expected.keys() - state.keys()]
    faults += [f"{name} is not part of it" for name in state.keys() - expected.keys()]
    faults += [
        f"{name} has shape {list(state[name].shape)} where {list(expected[name].shape)} is right"
        for name in expected.keys() & state.keys()
        if state[name].shape != expected[name].shape
    ]
    if faults:
        rest = f", and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise DeployedModelError(
            f"deployed.path={path}: these weights are not those of {type(network).__name__}: "
            f"{'; '.join(sorted(faults)[:3])}{rest}; deployed.model._target_=… names another architecture"
        )
    network.load_state_dict(state)
    return network


def check_predictions(network: Network, query_shape: tuple[int, ...], outputs: int, name: str) -> None:
    """Raise a ``DeployedModelError`` unless a network maps queries ``[b, *query]`` to finite predictions.

    Args:
        network: F, or a parity model in evaluation mode.
        query_shape: Shape of one query.
        outputs: Length of one prediction.
        name: What the error calls the network.
    """
    for batch in (2, 3):
        try:
            with torch.no_grad():
                predictions = network(torch.zeros(batch, *query_shape))
        except Exception as fault:
            raise DeployedModelError(
                f"{name} cannot take a batch of {batch} queries of shape {list(query_shape)}: {_first_line(fault)}; "
                "task.query_shape=… and task.input.flatten=… say what it expects, and an exported program "
                "must have a dynamic batch dimension"
            ) from fault
        if not isinstance(predictions, Tensor) or predictions.shape != (batch, outputs):
            given = list(predictions.shape) if isinstance(predictions, Tensor) else type(predictions).__name__
            raise DeployedModelError(
                f"{name} answers {batch} queries with {given}; [batch, outputs] = {[batch, outputs]} is right here"
            )
        if not predictions.isfinite().all():
            raise DeployedModelError(f"{name} answers a query of zeros with NaN or infinite numbers")


def _state_dict(path: Path) -> dict[str, Tensor]:
    content: Any = torch.load(path, map_location="cpu", weights_only=True)
    for key in STATE_DICT_KEYS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise TypeError("it holds something other than named tensors")
    return content


def _without_common_prefix(state: dict[str, Tensor], expected: dict[str, Any]) -> dict[str, Tensor]:
    """Drop what wrappers such as DistributedDataParallel put before every name (``module.``, ``model.``)."""
    for name in state:
        for wanted in expected:
            prefix = name.removesuffix(wanted)
            if prefix.endswith(".") and all(other.startswith(prefix) for other in state):
                return {other.removeprefix(prefix): value for other, value in state.items()}
    return state


def _first_line(fault: Exception) -> str:
    lines = [line.strip() for line in str(fault).splitlines() if line.strip()]
    return f"{type(fault).__name__}: {lines[0][:160]}" if lines else type(fault).__name__
