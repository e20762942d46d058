"""Programs of torch.export, which load in PyTorch without parmtrain."""

from pathlib import Path

import torch
from torch import Tensor, nn

from parmtrain.programs import Around, read_exported


class TorchExport:
    """Write parts of a bundle as ``.pt2`` files, which PyTorch recommends in place of TorchScript.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "double.pt2"
        >>> TorchExport().save(nn.Upsample(scale_factor=2), (torch.ones(3, 1, 2),), path)
        >>> TorchExport().load(path)(torch.ones(1, 1, 2)).shape
        torch.Size([1, 1, 4])
    """

    suffix = ".pt2"

    def save(self, part: nn.Module, example: tuple[Tensor, ...], path: Path) -> None:
        """Trace a module for batches of any size, and write it."""
        with torch.no_grad():
            torch.export.save(traced(part, example), path)

    def load(self, path: Path) -> nn.Module:
        """Load a program. It can run arbitrary code: load only what you would run."""
        return Contiguous(read_exported(path))


class Contiguous(Around):
    """A program of torch.export, which takes inputs of any layout in memory; by itself it takes that of its example."""

    def forward(self, queries: Tensor, *others: Tensor) -> Tensor:
        """Map the inputs of the program to its output."""
        output: Tensor = self.network(*(one.contiguous() for one in (queries, *others)))
        return output


def traced(part: nn.Module, example: tuple[Tensor, ...]) -> torch.export.ExportedProgram:
    """Return the program of a module in evaluation mode, whose inputs ``example`` have any batch size."""
    example = tuple(one.contiguous() for one in example)
    sizes = tuple({0: torch.export.Dim.DYNAMIC} for _ in example)
    return torch.export.export(part, example, dynamic_shapes=sizes, strict=False)
