"""Tensors of the Open Inference Protocol: their types, and how their numbers are written."""

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np

from parmtrain.serving.protocol.requests import Refused, has_booleans

TYPES = {
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
    "INT8": "<i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "UINT8": "<u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
}
"""Datatypes of numbers, and NumPy's names of them."""
SIZE = "binary_data_size"
MOST_AXES, MOST_SIZE = 16, 2**31


def datatype(tensor: np.ndarray) -> str:
    """Return the protocol's name of the type of a tensor.

    Raises:
        ValueError: If it has none.

    Example:
        >>> datatype(np.zeros(3, dtype=np.uint8))
        'UINT8'
    """
    for name, known in TYPES.items():
        if tensor.dtype == np.dtype(known):
            return name
    raise ValueError(f"the protocol has no name for {tensor.dtype}")


def _shape(given: Mapping[str, Any]) -> tuple[int, ...]:
    shape = given.get("shape")
    if (
        not isinstance(shape, list)
        or len(shape) > MOST_AXES
        or any(type(size) is not int or not 0 <= size <= MOST_SIZE for size in shape)
    ):
        raise Refused(400, f"{given['name']}: shape must be a list of whole numbers, got {str(shape)[:100]}")
    return tuple(shape)


def _type(given: Mapping[str, Any]) -> np.dtype[Any]:
    name = given.get("datatype")
    if not isinstance(name, str) or name not in TYPES:
        raise Refused(400, f"{given['name']}: datatype must be one of {', '.join(TYPES)}, got {str(name)[:100]}")
    return np.dtype(TYPES[name])


def from_bytes(given: Mapping[str, Any], content: bytes) -> np.ndarray:
    """Return a tensor from its little-endian bytes.

    Args:
        given: Its ``name``, ``shape`` and ``datatype``.
        content: The bytes.

    Raises:
        Refused: If these do not fit together.
    """
    shape, kind = _shape(given), _type(given)
    if len(content) != prod(shape) * kind.itemsize:
        raise Refused(
            400, f"{given['name']}: {list(shape)} as {given['datatype']} has {prod(shape) * kind.itemsize} bytes, got "
            f"{len(content)}"
        )  # fmt: skip
    return np.frombuffer(content, dtype=kind).reshape(shape)


def from_json(given: Mapping[str, Any], body: bytes) -> np.ndarray:
    """Return a tensor from its ``data``, a list of numbers.

    Args:
        given: Its ``name``, ``shape``, ``datatype`` and ``data``.
        body: The JSON that it was read from.

    Raises:
        Refused: If these do not fit together.
    """
    shape, kind, data = _shape(given), _type(given), given.get("data")
    if not isinstance(data, list):
        raise Refused(400, f"{given['name']}: data must be a list of numbers, or {SIZE} the number of its bytes")
    try:
        numbers = np.asarray(data)
        if kind.kind != "f" and numbers.dtype.kind == "f" and all(type(one) is int for one in data):
            numbers = np.asarray(
                data, dtype=kind
            )  # NumPy takes large numbers beside small ones for floating-point ones
    except OverflowError as fault:
        raise Refused(400, f"{given['name']}: {given['datatype']} must hold its numbers, got larger ones") from fault
    except ValueError as fault:
        raise Refused(400, f"{given['name']}: data must be {list(shape)} numbers, got uneven lists") from fault
    if numbers.size != prod(shape):
        raise Refused(400, f"{given['name']}: {list(shape)} has {prod(shape)} numbers, got {numbers.size}")
    if numbers.size and (numbers.dtype.kind not in "iuf" or has_booleans(data, body)):
        raise Refused(400, f"{given['name']}: data must hold only numbers")
    if numbers.dtype.kind == "f" and kind.kind != "f" and numbers.size:
        raise Refused(400, f"{given['name']}: {given['datatype']} must hold whole numbers, got others")
    if kind.kind != "f" and numbers.size:
        least, most = np.iinfo(kind).min, np.iinfo(kind).max
        if numbers.min() < least or numbers.max() > most:
            raise Refused(400, f"{given['name']}: {given['datatype']} must be from {least} to {most}, got others")
    with np.errstate(over="ignore"):
        return numbers.reshape(shape).astype(kind)
