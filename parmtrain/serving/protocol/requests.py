"""Parse queries from the network and format answers, as JSON or raw numbers.

A malformed query would corrupt all k answers of its group, so everything but a valid query is refused here.
"""

import json
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from parmtrain.errors import ParmtrainError
from parmtrain.serving.service.predictions import Prediction

JSON, RAW = "application/json", "application/octet-stream"
HEADER_BYTES = 64 * 1024  # names, parameters and shapes of a message
MOST_QUERIES = 256  # in one message
MOST_AT_ONCE = 8  # as JSON
BYTES_AT_ONCE = 64 * 2**20  # of the numbers of a message
FLOAT = 4  # bytes
TEXT_OF_A_NUMBER = 32  # bytes that a number and its punctuation may take in JSON


class Refused(ParmtrainError):
    """A request was refused because it is not a valid query.

    Args:
        status: HTTP status of the response.
        sentence: What the request must be, and what was given.
    """

    def __init__(self, status: int, sentence: str) -> None:
        self.status, self.sentence = status, sentence
        super().__init__(status, sentence)  # unpickling calls the class with these

    def __str__(self) -> str:
        return self.sentence


def most_bytes(shape: tuple[int, ...]) -> int:
    """Return the size in bytes of the largest body that can hold a query of ``shape``.

    Example:
        >>> most_bytes((3, 32, 32))
        99328
    """
    return TEXT_OF_A_NUMBER * (prod(shape) + 32)


def most_bytes_at_once(shape: tuple[int, ...]) -> int:
    """Return the size in bytes of the largest message: some queries as JSON, or many as numbers.

    Example:
        >>> most_bytes_at_once((3, 32, 32)), most_bytes_at_once((3, 224, 224))
        (3211264, 67174400)
    """
    binary = min(MOST_QUERIES * FLOAT * prod(shape), BYTES_AT_ONCE)
    return HEADER_BYTES + max(binary, min(MOST_AT_ONCE * most_bytes(shape), BYTES_AT_ONCE), most_bytes(shape))


def most_queries(shape: tuple[int, ...]) -> int:
    """Return how many queries of ``shape``, as float32 numbers, a message may hold.

    Example:
        >>> most_queries((3, 32, 32)), most_queries((3, 224, 224))
        (256, 111)
    """
    return max(1, min(MOST_QUERIES, BYTES_AT_ONCE // (FLOAT * prod(shape))))


def parse(body: bytes, content_type: str, shape: tuple[int, ...]) -> Tensor:
    """Parse a query of ``shape``, the deployed model's input.

    Args:
        body: ``{"query": nested lists of numbers}``, or the numbers as little-endian float32.
        content_type: ``application/json`` or ``application/octet-stream``.
        shape: Shape of a query.

    Raises:
        Refused: If the body is anything else.

    Example:
        >>> parse(b'{"query": [[1, 2.5]]}', "application/json", (1, 2))
        tensor([[1.0000, 2.5000]])
        >>> parse(b'{"query": [[1]]}', "application/json", (1, 2))
        Traceback (most recent call last):
        ...
        parmtrain.serving.protocol.requests.Refused: the query must have shape [1, 2], got [1, 1]
    """
    if len(body) > most_bytes(shape):
        raise Refused(
            413, f"the body must have at most {most_bytes(shape)} bytes for shape {list(shape)}, got {len(body)}"
        )
    kind = content_type.partition(";")[0].strip().lower()
    if kind == RAW:
        numbers = _raw(body, shape)
    elif kind in (JSON, ""):
        numbers = _json(body, shape)
    else:
        raise Refused(415, f"Content-Type must be {JSON} or {RAW}, got {kind}")
    if not np.isfinite(numbers).all():
        raise Refused(422, "the query must hold finite numbers, got NaN or infinity")
    return torch.from_numpy(numbers)


def _raw(body: bytes, shape: tuple[int, ...]) -> np.ndarray:
    if len(body) != 4 * prod(shape):
        raise Refused(422, f"the body must have {4 * prod(shape)} bytes, {list(shape)} as float32, got {len(body)}")
    return np.frombuffer(body, dtype="<f4").reshape(shape).astype(np.float32)


def _json(body: bytes, shape: tuple[int, ...]) -> np.ndarray:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as fault:
        raise Refused(400, f"the body must be valid JSON: {fault}") from fault
    if not isinstance(content, dict) or "query" not in content:
        raise Refused(422, 'the body must be a JSON object {"query": [...]}')
    try:
        numbers = np.asarray(content["query"])
    except ValueError as fault:
        raise Refused(422, f"the query must have shape {list(shape)}, got lists of different lengths") from fault
    if numbers.dtype.kind not in "iuf" or has_booleans(content["query"], body):
        raise Refused(422, "the query must hold only numbers")
    if numbers.shape != shape:
        raise Refused(422, f"the query must have shape {list(shape)}, got {list(numbers.shape)}")
    with np.errstate(over="ignore"):
        return numbers.astype(np.float32)


def has_booleans(content: Any, body: bytes) -> bool:
    """Return whether lists that were read from JSON hold true or false, which NumPy takes for numbers among others.

    Args:
        content: The lists.
        body: The JSON.

    Example:
        >>> has_booleans([[1, True]], b"[[1, true]]"), has_booleans([1], b"[1]")
        (True, False)
    """
    if b"true" not in body and b"false" not in body:  # quicker than to look at each number
        return False
    every = [content]
    while every:
        one = every.pop()
        if isinstance(one, bool):
            return True
        if isinstance(one, list):
            every += one
    return False


def as_query(query: Any, shape: tuple[int, ...]) -> Tensor:
    """Return a query sent through a Python handle, a tensor or an array, as a float32 tensor.

    Raises:
        Refused: If it is not a query of ``shape``.
    """
    try:
        tensor = torch.as_tensor(query)
    except (TypeError, ValueError, RuntimeError) as fault:
        raise Refused(422, f"the query must be a tensor or an array, got {type(query).__name__}") from fault
    if tensor.dtype is torch.bool or tensor.is_complex() or tuple(tensor.shape) != shape:
        raise Refused(
            422, f"the query must hold numbers of shape {list(shape)}, got {tensor.dtype} {list(tensor.shape)}"
        )
    tensor = tensor.detach().to("cpu", torch.float32)
    if not tensor.isfinite().all():
        raise Refused(422, "the query must hold finite numbers, got NaN or infinity")
    return tensor


def as_json(prediction: Prediction) -> dict[str, Any]:
    """Return an answer as plain values.

    Example:
        >>> from parmtrain.serving import Kind
        >>> as_json(Prediction(Kind.deployed, torch.tensor([0.5, -1.0]), 0.012))
        {'prediction': [0.5, -1.0], 'kind': 'deployed', 'milliseconds': 12.0}
    """
    output = None if prediction.output is None else prediction.output.tolist()
    about = {"prediction": output, "kind": prediction.kind.value, "milliseconds": round(prediction.seconds * 1e3, 3)}
    if prediction.confidence is not None:
        about["confidence"] = round(prediction.confidence, 4)
    return about if prediction.reason is None else about | {"reason": prediction.reason.value}
