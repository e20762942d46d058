"""Tensors in messages of the Open Inference Protocol over gRPC: as bytes, or as numbers in typed fields."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from parmtrain.serving.protocol.requests import Refused
from parmtrain.serving.protocol.tensors import TYPES, from_bytes

CONTENTS = {
    "fp32_contents": ("FP32",),
    "fp64_contents": ("FP64",),
    "int_contents": ("INT8", "INT16", "INT32"),
    "int64_contents": ("INT64",),
    "uint_contents": ("UINT8", "UINT16", "UINT32"),
    "uint64_contents": ("UINT64",),
}
"""Datatypes that each field of numbers holds."""


def tensors_of(message: Any, part: Literal["input", "output"]) -> dict[str, np.ndarray]:
    """Return the tensors of a request or a response by name.

    Args:
        message: A ``ModelInferRequest`` or a ``ModelInferResponse``.
        part: ``input`` for a request, ``output`` for a response.

    Raises:
        Refused: If it holds tensors that are none.

    Example:
        >>> from parmtrain.serving.protocol.grpc_messages import MESSAGE
        >>> one = {"name": "y", "datatype": "FP64", "shape": [1, 2], "contents": {"fp64_contents": [1, 2.5]}}
        >>> tensors_of(MESSAGE["ModelInferResponse"](outputs=[one]), "output")
        {'y': array([[1. , 2.5]])}
    """
    described, raw = getattr(message, f"{part}s"), list(getattr(message, f"raw_{part}_contents"))
    if raw and len(raw) != len(described):
        raise Refused(400, f"raw_{part}_contents must have one entry for each {part}, {len(described)}, got {len(raw)}")
    tensors = {}
    for position, one in enumerate(described):
        about = {"name": one.name, "datatype": one.datatype, "shape": list(one.shape)}
        tensors[one.name] = from_bytes(about, raw[position] if raw else _contents(one))
    return tensors


def parameters_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters as plain values."""
    return {name: getattr(one, one.WhichOneof("parameter_choice") or "string_param") for name, one in given.items()}


def _contents(one: Any) -> bytes:
    """Return the numbers of a typed tensor as bytes of its datatype."""
    for field, names in CONTENTS.items():
        if one.datatype in names:
            given = np.asarray(getattr(one.contents, field))
            numbers = given.astype(TYPES[one.datatype])
            if numbers.dtype.kind in "iu" and not np.array_equal(numbers, given):
                raise Refused(422, f"{one.name}: data must fit {one.datatype}")
            return numbers.tobytes()
    return b""
