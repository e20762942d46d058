"""ONNX models as networks: run by onnxruntime, on the CPU, without gradients."""

from collections.abc import Iterator
from functools import cached_property
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from parmtrain.errors import DeployedModelError, reason_of
from parmtrain.flops import count

if TYPE_CHECKING:
    import onnx
    import onnxruntime

SUFFIX = ".onnx"
INSTALL = "pip install 'parmtrain[onnx]'"
SILENT = 4  # onnxruntime reports by itself what it also raises
WEIGHTS = {"Conv": 1, "ConvInteger": 1, "QLinearConv": 3, "ConvTranspose": 1}  # input with the weights of a convolution
PRODUCTS = {"Gemm": 1, "MatMul": 1, "MatMulInteger": 1, "QLinearMatMul": 3, "QGemm": 3, "FusedMatMul": 1}
RECURRENT = ("RNN", "GRU", "LSTM")


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
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    @cached_property
    def _arithmetic(self) -> dict[tuple[int, ...], int]:
        return {}

    def forward(self, queries: Tensor) -> Any:
        """Map queries ``[b, *query]`` to the model's output, or to a dictionary if it has several."""
        (taken,) = self._session.get_inputs()
        given = queries.detach().cpu().numpy().astype(_dtype(taken.type))
        single = taken.shape and taken.shape[0] == 1
        parts = [given[i : i + 1] for i in range(len(given))] if single else [given]
        answers = [self._session.run(None, {taken.name: part}) for part in parts]
        whole = [torch.from_numpy(np.concatenate(some)).to(queries.device) for some in zip(*answers, strict=True)]
        count(lambda: self.flops(tuple(queries.shape)))
        if len(whole) == 1:
            return whole[0]
        return {output.name: one for output, one in zip(self._session.get_outputs(), whole, strict=True)}

    def flops(self, shape: tuple[int, ...]) -> int:
        """Return the FLOPs of matrix products, convolutions and recurrent layers for queries of ``shape``."""
        if shape not in self._arithmetic:
            (taken,) = self._session.get_inputs()
            one = (1, *shape[1:])
            self._arithmetic[shape] = shape[0] * _flops(self.content.cpu().numpy().tobytes(), taken.name, one)
        return self._arithmetic[shape]

    def __getstate__(self) -> dict[str, Any]:
        """Return a state that can be pickled: without the session, which is made again."""
        return {name: value for name, value in self.__dict__.items() if name not in ("_session", "_arithmetic")}


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
    return OnnxProgram(onnx.load(path).SerializeToString())


def _dtype(name: str) -> Any:
    """Return the NumPy type of an input, such as ``tensor(float16)``."""
    inner = name.removeprefix("tensor(").removesuffix(")")
    try:
        return np.dtype({"float": "float32", "double": "float64"}.get(inner, inner))
    except TypeError as fault:
        raise DeployedModelError(f"an ONNX model must take numbers, got {name} ({reason_of(fault)})") from fault


def _flops(content: bytes, name: str, shape: tuple[int, ...]) -> int:
    """Return the FLOPs of a model, given the shape of its input."""
    import onnx

    model = onnx.load_from_string(content)
    for taken in model.graph.input:
        if taken.name == name:
            for axis, length in zip(taken.type.tensor_type.shape.dim, shape, strict=False):
                axis.dim_value = length
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    known = {one.name: _shape(one) for one in [*graph.input, *graph.value_info, *graph.output]}
    known |= {one.name: tuple(one.dims) for one in graph.initializer}
    return sum(_of_node(node, known) for node in graph.node)


def _of_node(node: "onnx.NodeProto", shapes: dict[str, tuple[int, ...]]) -> int:
    """Return the FLOPs of one node; 0 for one that is no product, or whose shapes are not known."""
    kind, inputs = node.op_type, [shapes.get(name, ()) for name in node.input]
    output = shapes.get(node.output[0], ()) if node.output else ()
    if kind in WEIGHTS and output:
        weight = inputs[WEIGHTS[kind]]
        places = prod(inputs[0]) if kind == "ConvTranspose" else prod(output)
        return 2 * places * prod(weight[1:])
    if kind in PRODUCTS and output and inputs[0]:
        transposed = any(one.name == "transA" and one.i for one in node.attribute)
        return 2 * prod(output) * inputs[0][-2 if transposed else -1]
    if kind in RECURRENT and inputs[0]:
        weight, again = inputs[1], inputs[2]  # [directions, gates·hidden, in] and [directions, gates·hidden, hidden]
        return 2 * prod(inputs[0][:2]) * (prod(weight) + prod(again))
    return 0


def _shape(value: "onnx.ValueInfoProto") -> tuple[int, ...]:
    """Return the shape of a value, () if an axis is not known."""
    axes = list(_axes(value))
    return tuple(axes) if all(axes) else ()


def _axes(value: "onnx.ValueInfoProto") -> Iterator[int]:
    yield from (axis.dim_value for axis in value.type.tensor_type.shape.dim)
