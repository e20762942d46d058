"""Deployed models of the user's own: classes with their own arguments."""

import logging
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from parmtrain import compose
from parmtrain.__main__ import main
from parmtrain.codes.batches import EachQuery
from parmtrain.compare import planned_runs
from parmtrain.config import assemble
from parmtrain.config.check import check
from parmtrain.config.identity import differences, identity
from parmtrain.config.own_code import own_sources
from parmtrain.deployed import DeployedModel
from parmtrain.errors import ConfigError, UnsupportedError
from parmtrain.models import LeNet
from parmtrain.prepared import Prepared
from parmtrain.run_folder import RunFolder
from parmtrain.training.own_network import own_network
from tests.formats import save_exported, save_torchscript
from tests.small_runs import small_run

LINEAR = "deployed.model={_target_: torch.nn.Linear, in_features: 64, out_features: 10}"


def test_an_architecture_with_its_own_arguments_replaces_the_tasks() -> None:
    model = compose("task=fashion_mnist", LINEAR).deployed.model
    assert dict(model) == {"_target_": "torch.nn.Linear", "in_features": 64, "out_features": 10}


def test_the_architecture_is_chosen_once(capsys: pytest.CaptureFixture[str]) -> None:
    both = ("model@deployed.model=lenet", LINEAR)
    with pytest.raises(ConfigError, match=r"deployed\.model must be chosen once, got model@deployed\.model=lenet"):
        compose(*both)
    assert main(list(both)) == 1
    assert "deployed.model must be chosen once" in capsys.readouterr().err


@pytest.mark.slow
def test_a_parity_model_takes_vectors_as_the_deployed_model_does(tmp_path: Path) -> None:
    result = small_run(tmp_path, LINEAR, "task.input.flatten=true", "code=sum", "trainer.max_epochs=1")
    (parity_model,) = result.module.parity_models
    assert isinstance(parity_model, nn.Sequential)
    assert result.metrics["degraded"]["agreement"] > 0.9  # F is linear, so its own weights are nearly right


class Student(nn.Sequential):
    """A student of one's own, as wide as a budget allows."""

    def __init__(self, query_shape: list[int], outputs: int, width: float = 1.0) -> None:
        hidden = max(1, round(32 * width))
        super().__init__(nn.Flatten(), nn.Linear(prod(query_shape), hidden), nn.ReLU(), nn.Linear(hidden, outputs))


class Net(nn.Module):
    """A network of an architecture that no task has."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2))
        self.head = nn.Linear(8 * 16, 10)

    def forward(self, queries: Tensor) -> Tensor:
        predictions: Tensor = self.head(self.stem(queries).flatten(1))
        return predictions


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """Return a network that knows digits a little."""
    torch.manual_seed(0)
    made, work = Net(), Prepared(compose())
    stored, labels = work.splits.train[torch.arange(500)]
    optimizer = torch.optim.Adam(made.parameters(), 0.01)
    for _ in range(20):
        optimizer.zero_grad()
        nn.functional.cross_entropy(made(work.task.input(stored)), labels).backward()
        optimizer.step()
    return made.eval()


@pytest.mark.slow
@pytest.mark.parametrize(
    "code", ["sum", *(pytest.param(name, marks=pytest.mark.thorough) for name in ("concat_heads", "stack"))]
)
def test_a_program_is_its_own_parity_model_with_the_modules_figures(
    code: str, network: nn.Module, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save_torchscript(network, tmp_path / "f.ts")
    with caplog.at_level(logging.INFO):
        scripted = small_run(tmp_path / "script", f"code={code}", f"deployed.path={tmp_path / 'f.ts'}")
    assert "tensors start from the deployed model's weights" in caplog.text
    eager = small_run(tmp_path / "eager", f"code={code}", deployed=network)
    assert scripted.metrics["degraded"] == eager.metrics["degraded"]
    assert 1 <= scripted.metrics["cost"]["parity_flops"] < 2


@pytest.mark.slow
@pytest.mark.parametrize("code", ["sum", "concat_heads"])
def test_an_exported_program_is_trained_as_it_is(code: str, network: nn.Module, tmp_path: Path) -> None:
    save_exported(network, tmp_path / "f.pt2")
    before = [value.clone() for value in network.state_dict().values()]
    result = small_run(tmp_path / "run", f"code={code}", f"deployed.path={tmp_path / 'f.pt2'}")
    result.module.deployed.check_unchanged()
    (parity_model,) = result.module.parity_models
    ours = [value for value in parity_model.state_dict().values() if value.is_floating_point()]
    assert not torch.allclose(ours[0], before[0])
    assert 1 <= result.metrics["cost"]["parity_flops"] < 1.5


@pytest.mark.slow
def test_a_class_of_ones_own_is_given_heads(network: nn.Module, tmp_path: Path) -> None:
    torch.save(network.state_dict(), tmp_path / "f.pt")
    named = ("deployed.model={_target_: tests.test_own_models.Net}", f"deployed.path={tmp_path / 'f.pt'}")
    result = small_run(tmp_path / "run", "code=concat_heads", "trainer.max_epochs=1", *named)
    (parity_model,) = result.module.parity_models
    assert isinstance(parity_model, Net)
    assert parity_model.head.out_features == 20


@pytest.mark.slow
def test_a_random_start_needs_an_architecture(network: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"parity\.start=random needs an architecture.*parity\.model="):
        small_run(tmp_path, "code=sum", "parity.start=random", deployed=network)
    named = "parity.model={_target_: tests.test_own_models.Net}"
    result = small_run(tmp_path, "code=sum", "parity.start=random", named, "trainer.max_epochs=1", deployed=network)
    (parity_model,) = result.module.parity_models
    assert type(parity_model) is Net


def test_the_same_names_with_other_arithmetic_are_another_network() -> None:
    with torch.random.fork_rng():
        deployed = LeNet([1, 8, 8], 10)
    deployed.features[1] = nn.GELU()
    cfg, queries = compose("model@deployed.model=lenet", "code=sum"), torch.rand(4, 1, 8, 8)
    task = assemble.build(cfg.task)
    (parity_model,) = assemble.parity_module(cfg, task, DeployedModel(deployed)).parity_models
    with torch.no_grad():
        assert torch.allclose(parity_model.eval()(queries), deployed.eval()(queries), atol=1e-6)


def test_weights_of_half_precision_are_not_trained(network: nn.Module) -> None:
    half = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).half()
    with pytest.raises(UnsupportedError, match=r"needs weights of type float32, got float16 in 1\.weight"):
        own_network(DeployedModel(half), 1, torch.rand(2, 1, 8, 8))


def test_what_has_no_network_to_copy_names_the_codes_that_need_none(network: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"needs a module or a program, got a function.*code=lowres"):
        own_network(DeployedModel(network.forward), 2, torch.rand(2, 1, 8, 8))
    save_torchscript(network, tmp_path / "f.ts")
    with pytest.raises(ConfigError, match="code=late_mix needs a parity model whose layers can be changed"):
        small_run(tmp_path / "run", "code=late_mix", f"deployed.path={tmp_path / 'f.ts'}")


@pytest.mark.slow
@pytest.mark.parametrize("code", ["concat_heads", "stack", "lowres"])
@pytest.mark.parametrize(
    ("library", "key", "build"),
    [
        ("torchvision", "name=shufflenet_v2_x0_5", torchvision.models.shufflenet_v2_x0_5),
        ("timm", "model_name=mobilenetv3_small_050", partial(timm.create_model, "mobilenetv3_small_050")),
    ],
)
def test_a_model_of_a_library_is_named_with_its_weights(
    library: str, key: str, build: Any, code: str, data_root: Path, tmp_path: Path
) -> None:
    weights = build(num_classes=10).eval()
    torch.save(weights.state_dict(), tmp_path / "f.pt")
    named = (f"model@deployed.model={library}", f"deployed.model.{key}", f"deployed.path={tmp_path / 'f.pt'}")
    cfg = compose("task=cifar10", f"data.root={data_root}", f"code={code}", *named)
    assert check(cfg, RunFolder(tmp_path / "run")) == []
    deployed, asked = Prepared(cfg).deployed, torch.rand(2, 3, 32, 32)
    assert torch.allclose(deployed(asked), weights(asked), atol=1e-5)


@pytest.mark.slow
def test_a_student_of_ones_own_replaces_the_codes(tmp_path: Path) -> None:
    named = "code.model={_target_: tests.test_own_models.Student}"
    result = small_run(tmp_path, "code=lowres", named, "trainer.max_epochs=1")
    (parity_model,) = result.module.parity_models
    assert isinstance(parity_model, EachQuery)
    assert isinstance(parity_model.network, Student)
    assert 0.9 < result.metrics["cost"]["parity_flops"] <= 1
    with pytest.raises(ConfigError, match=r"code\.model must be chosen once"):
        compose("code=lowres", named, "model@code.model=student")
    with pytest.raises(ConfigError, match=r"code\.model must be given with codes that run a student, such as"):
        compose("code=sum", named)


@pytest.mark.slow
def test_what_was_trained_with_ones_own_code_goes_with_that_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = "from torch import nn\n\n\nclass Net(nn.Sequential):\n    pass\n"
    (tmp_path / "changing.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    named = "deployed.model={_target_: changing.Net}"

    def keys() -> tuple[dict[str, Any], Path, Any]:
        cfg = compose(named)
        (planned,) = planned_runs(["code=sum", named], tmp_path / "study")
        recipe = assemble.recipe(cfg, assemble.build(cfg.task))
        return identity(cfg, trained_here=True), planned.folder.path, recipe.identity

    before = keys()
    assert keys() == before
    (tmp_path / "changing.py").write_text(source + "# changed\n")
    trained, folder, deployed = keys()
    assert differences(before[0], trained)[0].startswith("the code of changing.Net=")
    assert folder != before[1]
    assert deployed != before[2]
    assert own_sources({"model": {"_target_": "nowhere.Net"}, "code": {"_target_": "timm.create_model"}}) == {}
