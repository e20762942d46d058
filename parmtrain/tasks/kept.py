"""Queries that are made once and kept in a file that memory is mapped to."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from parmtrain.files import replacing


def kept(path: Path, shape: tuple[int, ...], dtype: type, parts: Iterable[Tensor]) -> Tensor:
    """Return the tensor in a file, which is made if it is not there; only what is read of it takes up memory.

    Args:
        path: The file, ``….npy``. Its name must tell its content from any other.
        shape: ``[n, …]``.
        dtype: NumPy's type of the numbers.
        parts: The content in order, ``[m, …]`` at a time; nothing is taken of it where the file is there.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "numbers.npy"
        >>> kept(path, (3, 2), np.float32, [torch.ones(2, 2), torch.zeros(1, 2)]).sum()
        tensor(4.)
        >>> kept(path, (3, 2), np.float32, []).sum()
        tensor(4.)
    """
    if not path.is_file():
        with replacing(path) as temporary:
            made = np.lib.format.open_memmap(temporary, mode="w+", dtype=dtype, shape=shape)
            at = 0
            for part in parts:
                made[at : at + len(part)] = part.numpy()
                at += len(part)
            made.flush()
    return torch.from_numpy(np.load(path, mmap_mode="c"))
