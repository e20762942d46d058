"""The Open Inference Protocol, version 2, over HTTP: tensors as JSON, or as bytes behind it.

Clients and servers of Triton, KServe, MLServer and others speak it. A message is a JSON object; with the binary tensor
extension, the content of its tensors follows it, and a header states the length of the object.

Source: https://github.com/kserve/open-inference-protocol and Triton's binary tensor data extension.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from parmtrain.serving.protocol.requests import JSON, RAW, Refused
from parmtrain.serving.protocol.tensors import SIZE, datatype, from_bytes, from_json

LENGTH = "Inference-Header-Content-Length"
BINARY = "binary_data"
MOST_DIGITS = 19


@dataclass(frozen=True)
class Message:
    """A request or a response.

    Args:
        tensors: Its inputs or outputs by name.
        parameters: Its own parameters.
        id: Its id, which a response repeats.
        asked: Names of the outputs that a request asks for, and whether it wants each as bytes, None where it does not
            say; None for all outputs.
        binary: Whether a request wants outputs as bytes of which it does not say it.
    """

    tensors: dict[str, np.ndarray]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    id: str | None = None
    asked: dict[str, bool | None] | None = None
    binary: bool = False

    def as_bytes(self, output: str) -> bool:
        """Return whether a request wants an output as bytes."""
        stated = (self.asked or {}).get(output)
        return self.binary if stated is None else stated


def read(body: bytes, length: str | None, part: str) -> Message:
    """Read a message.

    Args:
        body: The body of a request or a response.
        length: The header that states the length of the JSON object; None if it is the whole body.
        part: ``inputs`` for a request, ``outputs`` for a response.

    Raises:
        Refused: If it is none.

    Example:
        >>> body = b'{"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2.5]}]}'
        >>> read(body, None, "inputs").tensors
        {'x': array([[1. , 2.5]], dtype=float32)}
        >>> read(b"{}", None, "inputs")
        Traceback (most recent call last):
        ...
        parmtrain.serving.protocol.requests.Refused: the body must be a JSON object with a list of inputs
    """
    end = len(body) if length is None else _length(length, len(body))
    try:
        content = json.loads(body[:end])
    except (ValueError, RecursionError) as fault:
        raise Refused(400, f"the body must be valid JSON: {fault}") from fault
    if not isinstance(content, dict) or not isinstance(content.get(part), list):
        raise Refused(400, f"the body must be a JSON object with a list of {part}")
    tensors: dict[str, np.ndarray] = {}
    at = end
    for given in content[part]:
        if not isinstance(given, dict) or not _is_name(given.get("name")):
            raise Refused(400, f"each of {part} must be an object with a name, a printable one")
        size = _parameters(given).get(SIZE)
        if size is None:
            tensors[given["name"]] = from_json(given, body[:end])
        else:
            if type(size) is not int or not 0 <= size <= len(body) - at:
                raise Refused(400, f"{given['name']}: {SIZE} must be the number of its bytes, got {str(size)[:100]}")
            tensors[given["name"]] = from_bytes(given, body[at : at + size])
            at += size
    if at != len(body):
        raise Refused(400, f"the body must end with its last tensor, got {len(body) - at} bytes more")
    name, parameters = content.get("id"), _parameters(content)
    return Message(
        tensors,
        parameters,
        name if isinstance(name, str) else None,
        _asked(content.get("outputs")) if part == "inputs" else None,
        parameters.get("binary_data_output") is True,
    )


def write(
    part: str,
    tensors: Mapping[str, tuple[np.ndarray, bool]],
    about: Mapping[str, Any] | None = None,
    wanted: str | None = None,
) -> tuple[bytes, dict[str, str]]:
    """Write a message; return its body and its headers.

    Args:
        part: ``inputs`` for a request, ``outputs`` for a response.
        tensors: By name, each with whether it is written as bytes.
        about: Other members of the JSON object.
        wanted: The output that a request asks for as bytes.

    Example:
        >>> body, headers = write("outputs", {"y": (np.array([[1.0, 2.0]], dtype="<f4"), True)}, {"model_name": "m"})
        >>> body[: int(headers[LENGTH])].decode()  # doctest: +ELLIPSIS
        '{"model_name":"m","outputs":[{"name":"y","shape":[1,2],"datatype":"FP32","parameters":{"binary_data_size":8}}]}'
        >>> read(body, headers[LENGTH], "outputs").tensors
        {'y': array([[1., 2.]], dtype=float32)}
    """
    written, behind = [], []
    for name, (tensor, as_bytes) in tensors.items():
        one: dict[str, Any] = {"name": name, "shape": list(tensor.shape), "datatype": datatype(tensor)}
        if as_bytes:
            content = np.ascontiguousarray(tensor, dtype=tensor.dtype.newbyteorder("<")).tobytes()
            one["parameters"] = {SIZE: len(content)}
            behind.append(content)
        else:
            one["data"] = tensor.ravel().tolist()
        written.append(one)
    whole: dict[str, Any] = {**(about or {}), part: written}
    if wanted is not None:
        whole["outputs"] = [{"name": wanted, "parameters": {BINARY: True}}]
    header = json.dumps(whole, separators=(",", ":")).encode()
    if not behind:
        return header, {"Content-Type": JSON}
    return b"".join([header, *behind]), {"Content-Type": RAW, LENGTH: str(len(header))}


def _length(text: str, most: int) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > MOST_DIGITS or int(text) > most:
        shown = text[:MOST_DIGITS]
        raise Refused(400, f"{LENGTH} must be the length of the JSON object in the body of {most} bytes, got {shown}")
    return int(text)


def _parameters(content: Mapping[str, Any]) -> Mapping[str, Any]:
    given = content.get("parameters")
    return given if isinstance(given, dict) else {}


def _is_name(name: Any) -> bool:
    return (
        isinstance(name, str) and name.isprintable() and name.encode(errors="replace") == name.encode(errors="ignore")
    )


def _asked(outputs: Any) -> dict[str, bool | None] | None:
    if outputs is None or outputs == []:
        return None
    if not isinstance(outputs, list) or any(
        not isinstance(one, dict) or not _is_name(one.get("name")) for one in outputs
    ):
        raise Refused(400, "outputs must be a list of objects with a name, a printable one")
    wanted = {one["name"]: _parameters(one).get(BINARY) for one in outputs}
    return {name: None if stated is None else stated is True for name, stated in wanted.items()}
