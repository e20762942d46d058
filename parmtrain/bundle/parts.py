"""Write one part of a bundle, and compare the program with the module that it was."""

from pathlib import Path

import torch
from torch import Tensor, nn

from parmtrain.bundle.formats import ExportFormat, Program, name_of
from parmtrain.errors import ExportError, reason_of
from parmtrain.files import require_space

TOLERANCE = 1e-5
BATCHES = (1, 2, 5)


def written(part: nn.Module, example: tuple[Tensor, ...], path: Path, format: ExportFormat) -> Program:
    """Write a part and read it back."""
    try:
        format.save(part, example, path)
        return format.load(path)
    except (ExportError, OSError):
        raise
    except Exception as fault:  # a format can raise anything
        require_space(fault, {path.name: path.parent})
        raise ExportError(
            f"{type(part).__name__} cannot be exported as {name_of(format)}: {reason_of(fault)}"
        ) from fault


def compare(part: nn.Module, program: Program, example: tuple[Tensor, ...], format: ExportFormat) -> None:
    """Raise an ``ExportError`` if a program differs from its module by more than 1e-5 for some batch size.

    A batch has the rows of the example, which begin again where they are fewer.
    """
    for batch in BATCHES:
        require_same_numbers(part, program, tuple(value[torch.arange(batch) % len(value)] for value in example), format)


def alike(wanted: Tensor, given: Tensor) -> bool:
    """Return whether two tensors ``[b, …]`` of one shape differ by 1e-5 at most, or 1e-5 of a row's largest number.

    Rows are those of the batch. NaN and infinity must be where they are in the other one.

    Example:
        >>> alike(torch.tensor([[1000.0, 0.0]]), torch.tensor([[1000.0, 0.005]]))
        True
        >>> alike(torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.005]]))
        False
    """
    odd = ~wanted.isfinite()
    if not torch.equal(odd, ~given.isfinite()) or not torch.equal(wanted[odd].nan_to_num(), given[odd].nan_to_num()):
        return False
    if not wanted.numel():
        return True
    wanted, given = (one.masked_fill(odd, 0.0).flatten(1) for one in (wanted, given))
    scale = wanted.abs().amax(1, keepdim=True).clamp(min=1.0)
    return bool(((wanted - given).abs() <= TOLERANCE * scale).all())


@torch.no_grad()
def require_same_numbers(part: nn.Module, program: Program, inputs: tuple[Tensor, ...], format: ExportFormat) -> None:
    """Raise an ``ExportError`` if a program differs from its module by more than 1e-5 on some inputs, or fails.

    Programs of formats that round numbers must have the same shapes alone.
    """
    rounds = getattr(format, "rounds", False)
    must = "its own shapes" if rounds else "its own numbers to 1e-5"
    name, batch = f"{type(part).__name__} must give {must} when exported as {name_of(format)}", len(inputs[0])
    wanted = part(*inputs)
    try:
        given = program(*inputs)
    except Exception as fault:  # a program can raise anything
        raise ExportError(f"{name}, but raised for a batch of {batch}: {reason_of(fault)}") from fault
    if wanted.shape != given.shape or not (rounds or alike(wanted, given)):
        raise ExportError(f"{name}, got others for a batch of {batch}")
