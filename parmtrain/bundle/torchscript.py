"""TorchScript archives, which load without parmtrain, from Python and from C++."""

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from parmtrain.programs import read_torchscript


class TorchScript:
    """Write parts of a bundle as TorchScript archives.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "double.ts"
        >>> TorchScript().save(nn.Upsample(scale_factor=2), (torch.ones(1, 1, 2),), path)
        >>> TorchScript().load(path)(torch.ones(1, 1, 3)).shape
        torch.Size([1, 1, 6])
    """

    suffix = ".ts"

    def save(self, part: nn.Module, example: tuple[Tensor, ...], path: Path) -> None:
        """Compile a module, or trace it where its code cannot be compiled, and write it."""
        to_torchscript(part, example).save(path)

    def load(self, path: Path) -> torch.jit.ScriptModule:
        """Load an archive. It is a program: load only what you would run."""
        return read_torchscript(path)


def to_torchscript(part: nn.Module, example: tuple[Tensor, ...]) -> torch.jit.ScriptModule:
    """Compile a module, or trace it with ``example`` where its code cannot be compiled.

    Args:
        part: Module in evaluation mode.
        example: Its inputs, batch first.
    """
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # PyTorch deprecates TorchScript; bundles need it
        try:
            compiled: torch.jit.ScriptModule = torch.jit.script(part)
        except Exception:  # not every module can be compiled
            compiled = torch.jit.trace(part, example)
    return compiled
