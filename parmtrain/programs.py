"""Networks as programs: read from files, and sent from one process to another.

TorchScript archives and ``.pt2`` files can run arbitrary code: open only those you trust. State dicts are plain data.
"""

import io
import logging
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from parmtrain.errors import DeployedModelError, ParmtrainError, reason_of
from parmtrain.hugging_face import is_of_hugging_face, read_hugging_face
from parmtrain.onnx_programs import SUFFIX, read_onnx
from parmtrain.state_dicts import load_weights, read_state_dict

OF_NO_HELP = ("weights_only", "PytorchStreamReader")  # PyTorch advises to run the file, or tells of its own insides
Network = Callable[[Tensor], Tensor]
EXPORTED = "exported_program"  # key under which a graph module stores its exported program


def weights(network: Network) -> dict[str, Tensor]:
    """Return all parameters and buffers of a network by name; an empty dict for a plain callable.

    Wrappers (``Around``) do not change the names.
    """
    while isinstance(network, Around):
        network = network.network
    if not isinstance(network, nn.Module):
        return {}
    return {name: value for name, value in network.state_dict().items() if isinstance(value, Tensor)}


def read_network(path: Path, build: Callable[[], nn.Module], name: str | None = None) -> nn.Module:
    """Read a deployed model from a file.

    State dicts are loaded as plain data. TorchScript archives and ``.pt2`` files can run arbitrary code: open only
    those you trust.

    Args:
        path: A state dict (bare or in a checkpoint, as ``read_state_dict`` and ``load_weights`` take it), a TorchScript
            archive, a torch.export ``.pt2``, an ONNX model, whose name ends in ``.onnx``, or a folder of Hugging
            Face's transformers.
        build: Builds the architecture to load a state dict into.
        name: Name of the file in error messages; ``deployed.path=…`` by default.

    Raises:
        DeployedModelError: If the file is missing, damaged or of another architecture, or holds NaN or infinity.
    """
    name = name or f"deployed.path={path}"
    if is_of_hugging_face(path):
        return _finite(read_hugging_face(path), name)
    if path.is_dir():
        raise DeployedModelError(f"{name}: must be a file, or a folder of transformers with config.json, got a folder")
    if not path.is_file():
        raise DeployedModelError(f"{name}: file not found")
    try:
        entries = entries_of(path)
        if path.suffix.lower() == SUFFIX:
            network: nn.Module = read_onnx(path)
        elif any("/code/" in entry for entry in entries):
            network = read_torchscript(path)
        elif any(entry.endswith("archive_format") or entry.endswith("exported_program.json") for entry in entries):
            network = read_exported(path)
        else:
            network = load_weights(build(), read_state_dict(path), name)
    except ParmtrainError:  # also what the architecture raised
        raise
    except PermissionError as fault:
        raise DeployedModelError(f"{name}: cannot be read: {fault.strerror}") from fault
    except Exception as fault:  # damaged files raise all kinds of errors
        raise DeployedModelError(
            f"{name}: must be a state dict of tensors, a TorchScript archive, a .pt2 program or an ONNX model, got "
            f"{_kind(path, fault)}"
        ) from fault
    return _finite(network, name)


def _finite(network: nn.Module, name: str) -> nn.Module:
    """Return a network; raise a ``DeployedModelError`` if a weight is NaN or infinite."""
    parameters = {key for key, _ in network.named_parameters()}
    for key, value in weights(network).items():
        if value.isnan().any() or (key in parameters and not value.isfinite().all()):  # buffers may mask with -inf
            raise DeployedModelError(f"{name}: {key} must be finite, got NaN or infinite values")
    return network


def entries_of(path: Path) -> list[str]:
    """Return the names in a zip archive, after comparing each file with its checksum; none for other files.

    PyTorch itself does not compare all of them.
    """
    if not zipfile.is_zipfile(path):
        return []
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if entry.CRC:  # PyTorch can leave checksums out
                with archive.open(entry) as file:
                    while file.read(2**20):
                        pass
        return archive.namelist()


def _kind(path: Path, fault: Exception) -> str:
    """Return what a file holds that cannot be read as a network."""
    if not path.stat().st_size:
        return "an empty file"
    if isinstance(fault, UnpicklingError) and "GLOBAL" in str(fault):
        return "a pickled module, which is a program; save its state_dict() instead"
    vague = isinstance(fault, UnpicklingError) or any(word in str(fault) for word in OF_NO_HELP)
    return f"a file of another kind or a damaged one{'' if vague else f' ({reason_of(fault)})'}"


def read_torchscript(source: Path | io.BytesIO) -> torch.jit.ScriptModule:
    """Read a TorchScript archive onto the CPU. It can run arbitrary code: read only what you trust."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # many services still deploy TorchScript
        program: torch.jit.ScriptModule = torch.jit.load(source, map_location="cpu")
    return program


def write_torchscript(program: torch.jit.ScriptModule, target: Path | io.BytesIO) -> None:
    """Write a TorchScript archive."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        torch.jit.save(program, target)


def read_exported(source: Path | io.BytesIO) -> nn.Module:
    """Read a torch.export program as a network that ``pack`` can send to another process.

    It can run arbitrary code: read only what you trust.

    Raises:
        Exception: If the file is damaged; the type depends on the damage.
    """
    logger = logging.getLogger("torch.export")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it logs the traceback of a damaged file
    try:
        program = torch.export.load(source)
    finally:
        logger.setLevel(level)
    network = program.module()
    network.meta[EXPORTED] = program  # a graph module cannot be pickled, but its program can be saved
    return network


@dataclass(frozen=True)
class Packed:
    """A network in a form that can be sent to another process: bytes for a program, otherwise the network itself.

    Args:
        read: Rebuilds the network from the content.
        content: The bytes or the network.

    Example:
        >>> network = nn.Linear(2, 1)
        >>> pack(network).unpack() is network
        True
    """

    read: Callable[[Any], Network]
    content: Any

    def unpack(self) -> Network:
        """Return the network."""
        return self.read(self.content)


def pack(network: Network) -> Packed:
    """Pack a TorchScript archive, a ``.pt2`` program, a module or a callable for another process.

    Modules and callables are packed unchanged and must be picklable themselves.
    """
    archive = io.BytesIO()
    if isinstance(network, torch.jit.ScriptModule):
        write_torchscript(network, archive)
        return Packed(_unpacked_torchscript, archive.getvalue())
    if isinstance(network, torch.fx.GraphModule) and EXPORTED in network.meta:
        torch.export.save(network.meta[EXPORTED], archive)
        return Packed(_unpacked_exported, archive.getvalue())
    return Packed(_itself, network)


class Around(nn.Module):
    """A module around a network of any kind, which it carries to other processes, and has modes if the network has.

    Args:
        network: A module, a TorchScript archive or a program of ``read_exported``.

    Example:
        >>> Around(nn.Linear(4, 2)).train()(torch.rand(5, 4)).shape
        torch.Size([5, 2])
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, queries: Tensor) -> Tensor:
        """Map queries ``[b, *query]`` to what the network returns."""
        predictions: Tensor = self.network(queries)
        return predictions

    def train(self, mode: bool = True) -> "Around":
        """Set the mode of this module, and of the network, unless that is an exported graph, which has none."""
        if isinstance(self.network, torch.fx.GraphModule):
            self.training = mode
            return self
        return super().train(mode)

    def __getstate__(self) -> dict[str, Any]:
        """Return a state that can be pickled: the program, and its parameters, which training may have replaced."""
        others = {name: part for name, part in self._modules.items() if name != "network"}
        parameters = dict(self.network.named_parameters())
        return {**self.__dict__, "_modules": others, "_packed": pack(self.network), "_parameters_now": parameters}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the state that ``__getstate__`` returned."""
        packed, parameters = state.pop("_packed"), state.pop("_parameters_now")
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        network: Any = packed.unpack()
        layers = dict(network.named_modules())
        for name, value in parameters.items():
            above, _, own = name.rpartition(".")
            setattr(layers[above], own, nn.Parameter(value.detach(), requires_grad=value.requires_grad))
        self.network = network


def _unpacked_torchscript(content: bytes) -> Network:
    return read_torchscript(io.BytesIO(content))


def _unpacked_exported(content: bytes) -> Network:
    return read_exported(io.BytesIO(content))


def _itself(network: Network) -> Network:
    return network
