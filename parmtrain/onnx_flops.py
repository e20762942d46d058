"""The arithmetic of an ONNX model, counted from the shapes that its nodes have in one run."""

from math import prod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnx

CONVOLUTIONS = {"Conv": 1, "FusedConv": 1, "NhwcFusedConv": 1, "ConvInteger": 1, "QLinearConv": 3}  # input of weights
TRANSPOSED = "ConvTranspose"
PRODUCTS = ("Gemm", "FusedGemm", "MatMul", "FusedMatMul", "MatMulInteger", "QLinearMatMul", "QGemm")
RECURRENT = ("RNN", "GRU", "LSTM")
UNKNOWN = ("Einsum", "Attention", "MultiHeadAttention", "If", "Loop", "Scan")  # whose arithmetic is not counted
SILENT = 4  # onnxruntime reports by itself what it also raises
Shapes = dict[str, tuple[int, ...]]


def onnx_flops(content: bytes, inputs: dict[str, Any]) -> int:
    """Return the FLOPs of the matrix products, convolutions and recurrent layers of a model in one run.

    Args:
        content: The bytes of the model.
        inputs: NumPy arrays by the names of its inputs.

    Returns:
        The number; 0 if it holds an operator that may have others.
    """
    import onnx.inliner
    import onnxruntime

    model = onnx.inliner.inline_local_functions(onnx.load_from_string(content))
    graph = model.graph
    if any(node.op_type in UNKNOWN for node in graph.node):
        return 0
    known: Shapes = {one.name: tuple(one.dims) for one in graph.initializer}
    known |= {name: value.shape for name, value in inputs.items()}
    given = {one.name for one in graph.output}
    made = list(dict.fromkeys(name for node in graph.node for name in node.output if name))
    graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in made if name not in given)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = SILENT
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_outputs()]
    values = session.run(names, inputs)
    known |= {name: value.shape for name, value in zip(names, values, strict=True) if hasattr(value, "shape")}
    return sum(_of_node(node, known) for node in graph.node)


def _of_node(node: "onnx.NodeProto", shapes: Shapes) -> int:
    """Return the FLOPs of one node; 0 for one that is no product."""
    kind, inputs = node.op_type, [shapes.get(name, ()) for name in node.input]
    if kind in CONVOLUTIONS:
        return 2 * prod(shapes[node.output[0]]) * prod(inputs[CONVOLUTIONS[kind]][1:])
    if kind == TRANSPOSED:
        return 2 * prod(inputs[0]) * prod(inputs[1][1:])
    if kind in PRODUCTS:
        transposed = any(one.name == "transA" and one.i for one in node.attribute)
        return 2 * prod(shapes[node.output[0]]) * inputs[0][-2 if transposed else -1]
    if kind in RECURRENT:
        weight, again = inputs[1], inputs[2]  # [directions, gates·hidden, in] and [directions, gates·hidden, hidden]
        return 2 * prod(inputs[0][:2]) * (prod(weight) + prod(again))
    return 0
