"""ONNX models as networks: run by onnxruntime, on the CPU, without gradients."""

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from parmtrain.errors import DeployedModelError, reason_of
from parmtrain.flops import count
from parmtrain.onnx_flops import SILENT, onnx_flops

if TYPE_CHECKING:
    import onnxruntime

SUFFIX = ".onnx"
INSTALL = "pip install 'parmtrain[onnx]'"
LARGEST = 2**31  # bytes, of a model as ONNX writes it


class OnnxProgram(nn.Module):
    """An ONNX model with one input, the queries.

    Its bytes are a buffer, and so identify it; it has no parameters, and passes no gradients back. A model whose batch
    size is fixed at one runs queries one by one.

    Args:
        content: The bytes of the model, with all its weights.

    Raises:
        DeployedModelError: If onnxruntime is not installed or does not take the model, or it has several inputs.
    """

    content: Tensor

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.register_buffer("content", torch.frombuffer(bytearray(content), dtype=torch.uint8))
        inputs = self._session.get_inputs()
        if len(inputs) != 1:
            named = ", ".join(one.name for one in inputs) or "none"
            raise DeployedModelError(f"an ONNX model must have one input, the queries, got {named}")
        batch = inputs[0].shape[0] if inputs[0].shape else None
        if isinstance(batch, int) and batch != 1:
            raise DeployedModelError(
                f"an ONNX model must take any number of queries, or one, got a batch of {batch}; export it with a "
                "dynamic first axis"
            )

    @cached_property
    def _session(self) -> "onnxruntime.InferenceSession":
        try:
            import onnxruntime
        except ImportError as fault:
            raise DeployedModelError(f"a deployed model in ONNX needs onnxruntime: {INSTALL}") from fault
        options = onnxruntime.SessionOptions()
        options.log_severity_level = SILENT
        options.intra_op_num_threads = torch.get_num_threads()
        content = self.content.cpu().numpy().tobytes()
        try:
            return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as fault:  # onnxruntime has a class for each kind
            raise DeployedModelError(f"an ONNX model must be one that onnxruntime takes: {reason_of(fault)}") from fault

    @cached_property
    def _arithmetic(self) -> dict[tuple[int, ...], int]:
        return {}

    def forward(self, queries: Tensor) -> Any:
        """Map queries ``[b, *query]`` to the model's output, or to a dictionary if it has several."""
        (taken,) = self._session.get_inputs()
        given = _as_taken(queries.detach().cpu(), _dtype(taken.type))
        single = taken.shape and taken.shape[0] == 1
        parts = [given[i : i + 1] for i in range(len(given))] if single else [given]
        answers = [self._session.run(None, {taken.name: part}) for part in parts]
        whole = [torch.from_numpy(_joined(some)).to(queries.device) for some in zip(*answers, strict=True)]
        count(lambda: self.flops(tuple(queries.shape)))
        if len(whole) == 1:
            return whole[0]
        return {output.name: one for output, one in zip(self._session.get_outputs(), whole, strict=True)}

    def flops(self, shape: tuple[int, ...]) -> int:
        """Return the FLOPs of matrix products, convolutions and recurrent layers for queries of ``shape``.

        It is 0 if not all of them can be counted.
        """
        if shape not in self._arithmetic:
            (taken,) = self._session.get_inputs()
            one = (1, *shape[1:])
            example = np.zeros(one, _dtype(taken.type))
            self._arithmetic[shape] = shape[0] * onnx_flops(self.content.cpu().numpy().tobytes(), {taken.name: example})
        return self._arithmetic[shape]

    def __getstate__(self) -> dict[str, Any]:
        """Return a state that can be pickled: without the session, which is made again."""
        return {name: value for name, value in self.__dict__.items() if name not in ("_session", "_arithmetic")}


def _joined(parts: "tuple[np.ndarray[Any, Any], ...]") -> "np.ndarray[Any, Any]":
    """Return an output of several runs as one; of one that is a single number, the first."""
    return np.concatenate(parts) if parts[0].ndim else parts[0]


def read_onnx(path: Path) -> OnnxProgram:
    """Read an ONNX model, and its weights if they are in files beside it.

    Raises:
        DeployedModelError: If onnx or onnxruntime is not installed, or the model has several inputs.
        Exception: If the file is damaged; the type depends on the damage.
    """
    try:
        import onnx
    except ImportError as fault:
        raise DeployedModelError(f"{path} is an ONNX model: {INSTALL}") from fault
    model = onnx.load(path)
    if model.ByteSize() >= LARGEST:
        raise DeployedModelError(f"{path} must be smaller than 2 GiB with its weights, got {model.ByteSize():,} bytes")
    return OnnxProgram(model.SerializeToString())


def _as_taken(queries: Tensor, wanted: "np.dtype[Any]") -> "np.ndarray[Any, Any]":
    """Return queries as an ONNX model takes them; floating-point numbers are converted to its precision."""
    given = queries.float().numpy() if queries.dtype == torch.bfloat16 else queries.numpy()
    if given.dtype.kind != wanted.kind:
        takes = f"set deployed.takes={wanted.name}" if wanted.name == "uint8" else "put a conversion into the model"
        raise DeployedModelError(
            f"an ONNX model must be given queries in the type of its input, {wanted.name}, got {given.dtype.name}; "
            f"{takes}"
        )
    return given.astype(wanted)


def _dtype(name: str) -> Any:
    """Return the NumPy type of an input, such as ``tensor(float16)``."""
    inner = name.removeprefix("tensor(").removesuffix(")")
    try:
        return np.dtype({"float": "float32", "double": "float64"}.get(inner, inner))
    except TypeError as fault:
        raise DeployedModelError(f"an ONNX model must take numbers, got {name} ({reason_of(fault)})") from fault
