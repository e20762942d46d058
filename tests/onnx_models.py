"""Small ONNX models, built node by node, without an exporter."""

from pathlib import Path

import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import nn


def write_onnx(network: nn.Sequential, path: Path, batch: int | str = "b", outputs: int = 1, inputs: int = 1) -> None:
    """Write a convolution, a ReLU and a linear layer as an ONNX model for queries ``[b, 1, 8, 8]``.

    Args:
        network: Convolution, ReLU, flatten, linear.
        path: The file.
        batch: Length of the first axis, or its name.
        outputs: Outputs of the model: ``logits``, and with two also ``features``.
        inputs: Inputs of the model.
    """
    convolution, linear = network[0], network[3]
    assert isinstance(convolution, nn.Conv2d)
    assert isinstance(linear, nn.Linear)
    assert convolution.bias is not None
    weights = {"w1": convolution.weight, "b1": convolution.bias, "w2": linear.weight, "b2": linear.bias}
    nodes = [
        helper.make_node("Conv", ["queries", "w1", "b1"], ["maps"], kernel_shape=list(convolution.kernel_size)),
        helper.make_node("Relu", ["maps"], ["active"]),
        helper.make_node("Flatten", ["active"], ["features"]),
        helper.make_node("Gemm", ["features", "w2", "b2"], ["logits"], transB=1),
    ]
    named = ["queries", *(f"more{i}" for i in range(1, inputs))]
    taken = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, 1, 8, 8]) for name in named]
    given = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, linear.out_features])]
    if outputs == 2:
        given.append(helper.make_tensor_value_info("features", TensorProto.FLOAT, [batch, linear.in_features]))
    constants = [
        numpy_helper.from_array(one.detach().numpy(), name) for name, one in weights.items() if one is not None
    ]
    graph = helper.make_graph(nodes, "f", taken, given, constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
