"""Queries as they come over the network, and answers as they go: JSON, or the bare numbers.

One bad query would spoil the k answers of its group, so whatever is not exactly a query is refused here.
"""

import json
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from parmtrain.errors import ParmtrainError
from parmtrain.serving.service import Prediction

JSON, RAW = "application/json", "application/octet-stream"
TEXT_OF_A_NUMBER = 32  # bytes that a number and what is around it may take in JSON


class Refused(ParmtrainError):
    """A request that is none.

    Args:
        status: Of the HTTP answer.
        sentence: What is wrong, and what would be right.
    """

    def __init__(self, status: int, sentence: str) -> None:
        self.status, self.sentence = status, sentence
        super().__init__(status, sentence)  # as it is made anew where it comes out of another process

    def __str__(self) -> str:
        return self.sentence


def most_bytes(shape: tuple[int, ...]) -> int:
    """Return the size of the largest body that can be a query of ``shape``.

    Example:
        >>> most_bytes((3, 32, 32))
        99328
    """
    return TEXT_OF_A_NUMBER * (prod(shape) + 32)


def parse(body: bytes, content_type: str, shape: tuple[int, ...]) -> Tensor:
    """Read a query of ``shape`` as the deployed model takes it.

    Args:
        body: ``{"query": nested lists of numbers}``, or the numbers as little-endian float32.
        content_type: ``application/json`` or ``application/octet-stream``.
        shape: Shape of a query.

    Raises:
        Refused: If it is anything else.

    Example:
        >>> parse(b'{"query": [[1, 2.5]]}', "application/json", (1, 2))
        tensor([[1.0000, 2.5000]])
        >>> parse(b'{"query": [[1]]}', "application/json", (1, 2))
        Traceback (most recent call last):
        ...
        parmtrain.serving.requests.Refused: the query has shape [1, 1]; [1, 2] is right
    """
    if len(body) > most_bytes(shape):
        raise Refused(413, f"the body has {len(body)} bytes, more than a query of shape {list(shape)} can have")
    kind = content_type.partition(";")[0].strip().lower()
    if kind == RAW:
        numbers = _raw(body, shape)
    elif kind in (JSON, ""):
        numbers = _json(body, shape)
    else:
        raise Refused(415, f"Content-Type is {kind}; {JSON} or {RAW} is right")
    if not np.isfinite(numbers).all():
        raise Refused(422, "the query holds NaN or an infinite number; finite numbers are right")
    return torch.from_numpy(numbers)


def _raw(body: bytes, shape: tuple[int, ...]) -> np.ndarray:
    if len(body) != 4 * prod(shape):
        raise Refused(422, f"the body has {len(body)} bytes; {4 * prod(shape)} are right, {list(shape)} as float32")
    return np.frombuffer(body, dtype="<f4").reshape(shape).astype(np.float32)


def _json(body: bytes, shape: tuple[int, ...]) -> np.ndarray:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as fault:
        raise Refused(400, f"the body is no JSON: {fault}") from fault
    if not isinstance(content, dict) or "query" not in content:
        raise Refused(422, 'the body is no query; {"query": [...]} is right')
    try:
        numbers = np.asarray(content["query"])
    except ValueError as fault:
        raise Refused(422, f"the query's lists differ in length; shape {list(shape)} is right") from fault
    if numbers.dtype.kind not in "iuf":
        raise Refused(422, "the query holds something else than numbers")
    if numbers.shape != shape:
        raise Refused(422, f"the query has shape {list(numbers.shape)}; {list(shape)} is right")
    with np.errstate(over="ignore"):
        return numbers.astype(np.float32)


def check(query: Any, shape: tuple[int, ...]) -> Tensor:
    """Return a query that came through a Python handle, a tensor or an array, as a float32 tensor.

    Raises:
        Refused: If it is none.
    """
    try:
        tensor = torch.as_tensor(query)
    except (TypeError, ValueError, RuntimeError) as fault:
        raise Refused(422, f"the query is of type {type(query).__name__}; a tensor or an array is right") from fault
    if tensor.dtype is torch.bool or tensor.is_complex() or tuple(tensor.shape) != shape:
        raise Refused(
            422, f"the query is {tensor.dtype} {list(tensor.shape)}; numbers of shape {list(shape)} are right"
        )
    tensor = tensor.detach().to("cpu", torch.float32)
    if not tensor.isfinite().all():
        raise Refused(422, "the query holds NaN or an infinite number; finite numbers are right")
    return tensor


def as_json(prediction: Prediction) -> dict[str, Any]:
    """Return an answer as plain values.

    Example:
        >>> from parmtrain.serving import Kind
        >>> as_json(Prediction(Kind.deployed, torch.tensor([0.5, -1.0]), 0.012))
        {'prediction': [0.5, -1.0], 'kind': 'deployed', 'milliseconds': 12.0}
    """
    output = None if prediction.output is None else prediction.output.tolist()
    return {"prediction": output, "kind": prediction.kind.value, "milliseconds": round(prediction.seconds * 1e3, 3)}
