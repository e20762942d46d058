"""Check the arguments of calls from Python, each with one sentence."""

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from parmtrain.errors import InputError

LONGEST = 255  # of most file systems


def require_tensor(name: str, given: Any, shape: tuple[int | str, ...], dtype: torch.dtype, advice: str = "") -> None:
    """Raise an ``InputError`` unless a value is a tensor of a shape and a type on the CPU.

    Args:
        name: Name of the value in the error message.
        given: The value.
        shape: Its shape; a letter stands for any size.
        dtype: Its type.
        advice: What to do about another type.

    Example:
        >>> require_tensor("queries", torch.zeros(5, 2, 8), ("g", 3, 8), torch.float32)
        Traceback (most recent call last):
        ...
        parmtrain.errors.InputError: queries must have shape [g, 3, 8], got [5, 2, 8]
    """
    if not isinstance(given, Tensor):
        raise InputError(f"{name} must be a tensor, got {type(given).__name__}")
    stated = f"[{', '.join(map(str, shape))}]"
    fits = len(shape) == given.dim() and all(
        isinstance(wanted, str) or wanted == size for wanted, size in zip(shape, given.shape, strict=True)
    )
    if not fits:
        raise InputError(f"{name} must have shape {stated}, got {list(given.shape)}")
    if given.dtype is not dtype:
        wanted, theirs = (str(one).removeprefix("torch.") for one in (dtype, given.dtype))
        raise InputError(f"{name} must be of type {wanted}, got {theirs}{advice}")
    if given.layout is not torch.strided:
        raise InputError(f"{name} must be dense, got {str(given.layout).removeprefix('torch.')}")
    if given.device.type != "cpu":
        raise InputError(f"{name} must be on the CPU, got {given.device}; move it there with .cpu()")


def as_folder(name: str, given: Any) -> Path:
    """Return a path.

    Raises:
        InputError: If it is empty or no path.
    """
    if not isinstance(given, str | os.PathLike) or not os.fspath(given) or "\0" in str(given):
        raise InputError(f"{name} must be the path of a folder, got {given!r}")
    if any(len(os.fsencode(part)) > LONGEST for part in Path(given).parts):
        raise InputError(f"{name} must have names of {LONGEST} bytes or fewer, got a longer one")
    return Path(os.fspath(given))
