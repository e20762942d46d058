"""Whole runs on small real inputs: their files, their figures, and the tasks and deployed models they take."""

import json
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from parmtrain.errors import DataError, DeployedModelError
from parmtrain.evaluate import evaluate
from parmtrain.models import MLP
from parmtrain.result import Result
from parmtrain.tasks.digits import Digits
from tests.formats import save_exported, save_state_dict, save_torchscript
from tests.small_runs import figures, small_run
from tests.tiers import thorough


def test_a_run_writes_everything(finished: Result) -> None:
    folder = finished.folder
    assert json.loads((folder / "metrics.json").read_text()) == finished.metrics
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert names == {
        "config.yaml",
        "metrics.json",
        "deployed.pt",
        "training.png",
        "overall_accuracy.png",
        "examples.png",
        "confidence.png",
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
        "logs/version_0/metrics.csv",
        "logs/version_0/hparams.yaml",
        "export/bundle.json",
        "export/README.md",
        "export/encoder.ts",
        "export/parity_model.ts",
        "export/decoder.ts",
        "export/confidence.ts",
        "export/deployed.ts",
    }
    cfg = OmegaConf.load(folder / "config.yaml")
    assert (cfg.k, cfg.code.k, cfg.task.name) == (2, 2, "digits")
    assert "${" not in (folder / "config.yaml").read_text()


def test_metrics_have_their_keys_and_belong_together(finished: Result) -> None:
    metrics = finished.metrics
    available, degraded = metrics["available"]["accuracy"], metrics["degraded"]["accuracy"]
    low, high = metrics["degraded"]["accuracy_ci95"]
    assert low < degraded < high
    assert sum(metrics["degraded"]["by_position"]) / 2 == pytest.approx(degraded)
    assert 0 < metrics["degraded"]["agreement"] <= 1
    assert metrics["degraded"]["top5"] >= degraded
    assert metrics["degraded"]["groups"] == 225
    assert metrics["overall"] == pytest.approx(
        {str(share): (1 - share) * available + share * degraded for share in (0.01, 0.05, 0.1)}
    )
    assert metrics["nobody_late"]["accuracy"] == pytest.approx(available)
    assert metrics["all_k"]["accuracy"] == pytest.approx((2 * available + degraded) / 3)
    assert metrics["all_k"]["accuracy"] == pytest.approx(sum(metrics["all_k"]["by_worker"]) / 3)
    assert metrics["all_k"]["worst"]["accuracy"] == pytest.approx(min(metrics["all_k"]["by_worker"]))
    assert metrics["all_k"]["by_worker"][2] == pytest.approx(available)  # the parity model's worker
    assert metrics["stragglers"] == {}
    assert metrics["default"]["accuracy"] == 0.1
    cost = metrics["cost"]
    assert (cost["parity_bytes"], cost["extra_workers"], cost["parity_flops"]) == (1.0, 0.5, 1.0)
    assert 0 < cost["encoder_flops"] < 0.01
    assert 0 < metrics["timing"]["encode_us"] < 1e6
    assert 0 < metrics["timing"]["decode_us"] < 1e6
    assert metrics["training"]["epochs"] == 3
    assert metrics["training"]["queries_per_second"] == pytest.approx(
        3 * 1076 / metrics["training"]["seconds"], rel=1e-6
    )
    assert metrics["deployed"]["fingerprint"] == finished.module.deployed.fingerprint
    assert metrics["seed"] == 0
    assert torch.__version__.startswith(metrics["versions"]["torch"])


def test_the_scores_are_those_of_a_plain_loop(finished: Result) -> None:
    test = Digits(270, 450).read().test
    images = test.stored / 16
    module = finished.module
    order = torch.randperm(450, generator=torch.Generator().manual_seed(0)).view(-1, 2)
    hits = 0
    with torch.no_grad():
        for group in order.tolist():
            parity = module.parity_models[0](images[group].sum(0, keepdim=True))[0]
            for lost, other in (group, group[::-1]):
                rebuilt = parity - module.deployed(images[[other]])[0]
                hits += int(rebuilt.argmax() == test.labels[lost])
    assert finished.metrics["degraded"]["accuracy"] == pytest.approx(hits / 450)


@pytest.mark.slow
def test_another_seed_gives_other_figures(finished: Result, tmp_path: Path) -> None:
    other = small_run(tmp_path, "seed=1")
    assert other.metrics["deployed"] == finished.metrics["deployed"]
    assert other.metrics["degraded"] != finished.metrics["degraded"]


def test_fewer_queries_than_one_group(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the val split must have at least k=300 queries, got 270"):
        small_run(tmp_path, "k=300")


@pytest.mark.slow
@pytest.mark.parametrize(
    "task", ["cifar10", "mnist", thorough("cifar100"), thorough("cats_vs_dogs"), thorough("arrays")]
)
def test_every_task_runs_on_its_own_format(task: str, data_root: Path, tmp_path: Path) -> None:
    validation = [] if task in ("cats_vs_dogs", "arrays") else ["task.source.validation=20"]
    overrides = [f"task={task}", f"data.root={data_root}", *validation, "trainer.max_epochs=1", "groups=20"]
    network = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.LazyLinear(100 if task == "cifar100" else 10))
    if task == "cats_vs_dogs":
        network[2] = nn.LazyLinear(2)
    network(torch.zeros(1, 1 if task in ("mnist", "arrays") else 3, 32, 32))
    metrics = small_run(tmp_path, *overrides, "code=sum", "parity=lenet", deployed=network).metrics
    assert metrics["task"] == task
    assert ("top5" in metrics["degraded"]) == (task != "cats_vs_dogs")


@pytest.mark.slow
def test_a_deployed_model_that_was_trained_is_kept_and_reused(
    finished: Result, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="parmtrain"):
        again = small_run(tmp_path)
    assert "trained earlier" in caplog.text
    assert "available accuracy A_a" in caplog.text
    assert figures(again) == figures(finished)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".pt", thorough(".ts"), thorough(".pt2")])
def test_a_deployed_model_from_a_file_gives_the_same_run(suffix: str, finished: Result, tmp_path: Path) -> None:
    network = finished.module.deployed.network
    assert isinstance(network, nn.Module)
    path = tmp_path / f"f{suffix}"
    {".pt": save_state_dict, ".ts": save_torchscript, ".pt2": save_exported}[suffix](network, path)
    metrics = small_run(tmp_path / "run", f"deployed.path={path}").metrics
    assert metrics["degraded"]["accuracy"] == pytest.approx(finished.metrics["degraded"]["accuracy"], abs=0.02)
    assert metrics["available"] == finished.metrics["available"]
    assert metrics["deployed"] == finished.metrics["deployed"]


@pytest.mark.slow
def test_a_deployed_model_given_from_python(tmp_path: Path) -> None:
    network = MLP([1, 8, 8], 10)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    result = small_run(tmp_path / "module", deployed=network)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert result.module.deployed.network is not network  # the user's own is not touched
    again = evaluate(tmp_path / "module", deployed=network)
    assert again["degraded"] == result.metrics["degraded"]
    assert evaluate(tmp_path / "module")["degraded"] == result.metrics["degraded"]  # the bundle holds it
    called = small_run(tmp_path / "callable", "parity=mlp", deployed=network.forward)
    assert called.metrics["available"] == result.metrics["available"]
    with pytest.raises(DeployedModelError, match=r"was given from Python; give it again \(deployed=…\)"):
        evaluate(tmp_path / "callable")
