"""Caching: keys derived from content, and arrays stored in files."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from parmtrain.files import replacing


def key_of(content: Any, length: int = 24) -> str:
    """Return a cache key for plain values: the first ``length`` hexadecimal digits of the SHA-256 of their JSON.

    The order of dictionary keys does not matter. Values that JSON does not support are converted with ``str``.

    Example:
        >>> key_of({"a": 1, "b": [2]}, 8) == key_of({"b": [2], "a": 1}, 8) != key_of({"a": 2, "b": [2]}, 8)
        True
    """
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:length]


def read_array(path: Path) -> Tensor:
    """Memory-map the tensor in a ``.npy`` file; only the parts that are read take up memory.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is damaged or holds Python objects.
    """
    return torch.from_numpy(np.load(path, mmap_mode="c", allow_pickle=False))  # c: PyTorch expects writable memory


def write_array(path: Path, shape: tuple[int, ...], dtype: Any, parts: Iterable[Tensor]) -> Tensor:
    """Write a ``.npy`` file atomically, part by part, and return the tensor in it.

    Args:
        path: The file; an existing one is replaced.
        shape: ``[n, …]``.
        dtype: NumPy data type.
        parts: The content in order, ``[m, …]`` at a time, so it is never in memory as a whole.
    """
    with replacing(path) as temporary:
        rows = np.lib.format.open_memmap(temporary, mode="w+", dtype=dtype, shape=shape)
        written = 0
        for part in parts:
            rows[written : written + len(part)] = part.numpy()
            written += len(part)
        rows.flush()
    return read_array(path)


def cached_array(path: Path, shape: tuple[int, ...], dtype: Any, parts: Iterable[Tensor]) -> Tensor:
    """Return the tensor in a file, writing the file first if it does not exist.

    Args:
        path: The file, ``….npy``. Its name must identify its content.
        shape: ``[n, …]``.
        dtype: NumPy data type.
        parts: The content in order, ``[m, …]`` at a time; not consumed if the file exists.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "numbers.npy"
        >>> cached_array(path, (3, 2), np.float32, [torch.ones(2, 2), torch.zeros(1, 2)]).sum()
        tensor(4.)
        >>> cached_array(path, (3, 2), np.float32, []).sum()
        tensor(4.)
    """
    return read_array(path) if path.is_file() else write_array(path, shape, dtype, parts)
