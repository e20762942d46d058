"""Caching: keys derived from content, and arrays stored in files."""

import errno
import hashlib
import json
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from parmtrain.files import replacing, write_text

log = logging.getLogger(__name__)


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

    Its SHA-256 is written beside it, to ``….sha256``.

    Args:
        path: The file; an existing one is replaced.
        shape: ``[n, …]``.
        dtype: NumPy data type.
        parts: The content in order, ``[m, …]`` at a time, so it is never in memory as a whole.

    Raises:
        StorageError: If the disk is full.
    """
    digest = hashlib.sha256()
    with replacing(path) as temporary, temporary.open("wb") as file:
        header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for part in parts:
            content = np.ascontiguousarray(part.numpy(), dtype).data
            digest.update(content)
            file.write(content)  # a memory-mapped file would end the process when the disk is full
    write_text(_digest_file(path), digest.hexdigest())
    return read_array(path)


def cached_array(path: Path, shape: tuple[int, ...], dtype: Any, parts: Iterable[Tensor]) -> Tensor:
    """Return the tensor in a file, writing the file first if it does not exist; a damaged one is set aside.

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
    kept = intact_array(path)
    return kept if kept is not None and kept.shape == shape else write_array(path, shape, dtype, parts)


def intact_array(path: Path) -> Tensor | None:
    """Return the tensor in a cached file; None if there is none, or if it is damaged and was set aside."""
    if not path.is_file():
        return None
    try:
        kept = read_array(path)
        if _stated_digest(path) in (None, hashlib.sha256(kept.numpy().data).hexdigest()):
            return kept
    except Exception as fault:  # NumPy on a damaged header can raise anything
        require_damage(fault)
    set_aside(path)
    return None


def require_damage(fault: Exception) -> None:
    """Raise an error again that says nothing about a file's content: no permission, no memory, a broken disk."""
    if isinstance(fault, PermissionError | MemoryError) or getattr(fault, "errno", None) == errno.EIO:
        raise fault


def set_aside(path: Path) -> None:
    """Rename a damaged file of the cache, and say so; what it held is made anew."""
    aside = path.with_name(f"{path.name}.damaged")
    path.replace(aside)
    log.warning("%s is damaged; it is now %s, and its content is made anew", path, aside.name)


def _digest_file(path: Path) -> Path:
    return path.with_suffix(".sha256")


def _stated_digest(path: Path) -> str | None:
    """Return the digest that was written beside an array; None for those of older versions."""
    try:
        return _digest_file(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
