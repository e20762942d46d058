"""A deployed model in ONNX: read, counted, trained for, exported, loaded and refused."""

import copy
import pickle
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from parmtrain import load
from parmtrain.deployed import DeployedModel
from parmtrain.errors import ConfigError, DeployedModelError
from parmtrain.flops import flops
from parmtrain.onnx_flops import onnx_flops
from parmtrain.programs import read_network
from parmtrain.serving.front.served import read_served
from parmtrain.serving.settings import ServeSettings
from tests.onnx_models import write_onnx
from tests.small_runs import small_run

QUERIES = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def network() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(216, 10)).eval()


@pytest.fixture
def path(network: nn.Sequential, tmp_path: Path) -> Path:
    write_onnx(network, tmp_path / "f.onnx")
    return tmp_path / "f.onnx"


def read(path: Path) -> nn.Module:
    return read_network(path, nn.Identity)


def test_it_answers_as_the_network_did_and_takes_as_many_flops(network: nn.Sequential, path: Path) -> None:
    model = read(path)
    assert torch.allclose(model(QUERIES), network(QUERIES), atol=1e-5)
    assert flops(DeployedModel(model), QUERIES) == flops(network, QUERIES)
    again = pickle.loads(pickle.dumps(copy.deepcopy(model)))
    assert torch.equal(again(QUERIES), model(QUERIES))
    assert DeployedModel(again).fingerprint == DeployedModel(model).fingerprint


def test_a_model_for_one_query_at_a_time_runs_them_one_by_one(network: nn.Sequential, tmp_path: Path) -> None:
    write_onnx(network, tmp_path / "one.onnx", batch=1)
    assert torch.allclose(read(tmp_path / "one.onnx")(QUERIES), network(QUERIES), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "code", ["lowres", *(pytest.param(name, marks=pytest.mark.thorough) for name in ("sum", "concat_heads"))]
)
def test_a_copied_bundle_holds_it_and_reconstructs(code: str, path: Path, tmp_path: Path) -> None:
    result = small_run(tmp_path / "run", f"code={code}", f"deployed.path={path}")
    assert 0.5 < result.metrics["cost"]["parity_flops"] <= 1.0
    shutil.copytree(tmp_path / "run" / "export", tmp_path / "elsewhere")
    alone, beside = load(tmp_path / "elsewhere"), load(tmp_path / "run", deployed=result.module.deployed)
    groups = QUERIES[:4].unflatten(0, (2, 2))
    assert torch.allclose(alone.reconstruct(groups), beside.reconstruct(groups), atol=1e-5)
    served = read_served(ServeSettings(bundle=str(tmp_path / "elsewhere")))
    assert torch.allclose(served.deployed(QUERIES), result.module.deployed(QUERIES), atol=1e-5)


@pytest.mark.slow
def test_the_output_that_is_as_long_as_a_prediction_is_taken(network: nn.Sequential, tmp_path: Path) -> None:
    write_onnx(network, tmp_path / "two.onnx", outputs=2)
    small_run(tmp_path / "run", f"deployed.path={tmp_path / 'two.onnx'}", "code=lowres")
    assert load(tmp_path / "run").about["deployed"]["output"] == "logits"
    own = network(QUERIES[:2])
    assert torch.allclose(load(tmp_path / "run").reconstruct(QUERIES[:2].unsqueeze(0))[0, 1], own[1], atol=1e-5)
    with pytest.raises(ConfigError, match=r"must return an output scores .deployed.output., got logits, features"):
        small_run(tmp_path / "again", f"deployed.path={tmp_path / 'two.onnx'}", "deployed.output=scores")


def test_products_behind_operators_of_others_are_counted() -> None:
    weights = {"w1": torch.rand(4, 8), "w2": torch.rand(8, 3)}
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["a"]),
        helper.make_node("Gelu", ["a"], ["b"], domain="com.microsoft"),
        helper.make_node("MatMul", ["b", "w2"], ["y"]),
    ]
    taken, given = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["b", n]) for name, n in (("x", 4), ("y", 3))
    )
    constants = [numpy_helper.from_array(value.numpy(), name) for name, value in weights.items()]
    domains = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    graph = helper.make_graph(nodes, "g", [taken], [given], constants)
    model = helper.make_model(graph, opset_imports=domains, ir_version=8)
    assert onnx_flops(model.SerializeToString(), {"x": np.zeros((1, 4), np.float32)}) == 2 * (4 * 8 + 8 * 3)


def test_a_model_of_bytes_is_never_given_fractions(tmp_path: Path) -> None:
    taken = helper.make_tensor_value_info("x", TensorProto.UINT8, ["b", 1, 8, 8])
    given = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["b", 64])
    nodes = [
        helper.make_node("Cast", ["x"], ["c"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["c"], ["y"]),
    ]
    graph = helper.make_graph(nodes, "g", [taken], [given])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "f.onnx")
    with pytest.raises(DeployedModelError, match=r"type of its input, uint8, got float32; set deployed.takes=uint8"):
        read(tmp_path / "f.onnx")(QUERIES)
    assert read(tmp_path / "f.onnx")((255 * QUERIES).byte()).max() > 200


def test_what_is_no_model_of_queries_is_refused(network: nn.Sequential, path: Path, tmp_path: Path) -> None:
    write_onnx(network, tmp_path / "two.onnx", inputs=2)
    with pytest.raises(DeployedModelError, match="must have one input, the queries, got queries, more1"):
        read(tmp_path / "two.onnx")
    write_onnx(network, tmp_path / "eight.onnx", batch=8)
    with pytest.raises(DeployedModelError, match="must take any number of queries, or one, got a batch of 8"):
        read(tmp_path / "eight.onnx")
    (tmp_path / "cut.onnx").write_bytes(path.read_bytes()[:100])
    with pytest.raises(DeployedModelError, match="or an ONNX model, got a file of another kind or a damaged one"):
        read(tmp_path / "cut.onnx")


@pytest.mark.slow
def test_a_code_that_trains_through_it_is_refused(path: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="must pass gradients back for code=learned_mlp, got none"):
        small_run(tmp_path / "run", f"deployed.path={path}", "code=learned_mlp")


def test_without_onnxruntime_it_says_how_to_install_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = read(path)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(DeployedModelError, match=r"needs onnxruntime: pip install 'parmtrain\[onnx\]'"):
        copy.deepcopy(model)(QUERIES)
