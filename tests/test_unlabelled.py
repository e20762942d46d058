"""Queries without labels: agreement with the deployed model takes the place of accuracy, and labels may come later."""

import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from parmtrain import load
from parmtrain.errors import ConfigError
from parmtrain.evaluate import evaluate
from parmtrain.evaluate import main as evaluate_main
from parmtrain.metrics.functional import agree
from tests.small_runs import small_run

pytestmark = pytest.mark.slow

SIZES = {"train": 60, "val": 20, "test": 20}


@pytest.fixture
def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(576, 3)).eval()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for split, count in SIZES.items():
        np.save(tmp_path / f"{split}_queries.npy", (255 * random.random((count, 1, 8, 8))).astype(np.uint8))
    return tmp_path


def train(root: Path, network: nn.Module | None, *overrides: str) -> Any:
    shape = ("task=arrays", f"data.root={root}", "task.query_shape=[1,8,8]", "task.outputs=3", "k=2", "groups=8")
    return small_run(root / "run", *shape, *overrides, deployed=network)


@pytest.mark.parametrize(
    "code",
    ["lowres", "sum_corrected", *(pytest.param(name, marks=pytest.mark.thorough) for name in ("sum", "default"))],
)
def test_a_run_is_scored_by_agreement(
    code: str, root: Path, network: nn.Module, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = train(root, network, f"code={code}").metrics
    assert (metrics["measure"], metrics["available"]) == ("agreement", {"agreement": 1.0})
    assert 0 <= metrics["degraded"]["agreement"] <= 1
    assert metrics["validation"].keys() == {"degraded_agreement", "epoch"}
    assert metrics["nobody_late"] == {"agreement": 1.0}
    assert evaluate(root / "run")["degraded"]["agreement"] == pytest.approx(metrics["degraded"]["agreement"], abs=0.06)
    capsys.readouterr()
    assert evaluate_main([str(root / "run")]) == 0
    table = capsys.readouterr().out
    assert "reconstructed, against the deployed model's own" in table
    assert "A_a" not in table
    assert "A_d" not in table
    assert "A_o" not in table


@pytest.mark.thorough
def test_the_agreement_is_that_of_the_exported_bundle(root: Path, network: nn.Module) -> None:
    agreement = train(root, network, "code=lowres").metrics["degraded"]["agreement"]
    queries = torch.from_numpy(np.load(root / "test_queries.npy")).float() / 255
    bundle, own = load(root / "run"), network(queries).unflatten(0, (10, 2))
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0)).view(10, 2)
    groups, own = queries[order], network(queries).detach()[order]
    found = [agree(bundle.reconstruct(groups, lost)[:, lost], own[:, lost]).float().mean().item() for lost in (0, 1)]
    assert agreement == pytest.approx(np.mean(found))


def test_labels_may_come_later(root: Path, network: nn.Module) -> None:
    train(root, network, "code=lowres")
    labels = np.random.default_rng(1).integers(0, 3, SIZES["test"])
    np.save(root / "test_labels.npy", labels)
    scores = evaluate(root / "run")
    queries = torch.from_numpy(np.load(root / "test_queries.npy")).float() / 255
    right = network(queries).argmax(1).numpy() == labels
    assert scores["measure"] == "accuracy"
    assert scores["available"]["accuracy"] == pytest.approx(right.mean())


def test_what_needs_labels_says_so(root: Path, network: nn.Module) -> None:
    with pytest.raises(ConfigError, match=r"deployed.path must name a deployed model: without labels, none can be"):
        train(root, None)
    with pytest.raises(ConfigError, match=r"this loss compares with labels, and these queries have none; use one"):
        train(root, network, "loss=kl_and_labels", "code=lowres")
    np.save(root / "train_labels.npy", np.zeros(SIZES["train"], int))
    with pytest.raises(ConfigError, match=r"missing in .*: val_labels.npy, since train_labels.npy is there"):
        train(root, network)


def test_without_labels_a_code_is_chosen_by_agreement(
    root: Path, network: nn.Module, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        metrics = train(root, network, "code=auto", "trainer.max_epochs=2").metrics
    assert metrics["measure"] == "agreement"
    (said,) = [message for message in caplog.messages if message.startswith("code=auto takes")]
    scores = {name: float(score) for name, score in re.findall(r"(\w+) (\d\.\d{4})", said)}
    assert scores.keys() == {"lowres", "lowres_perceptron", "sum_corrected"}  # its own network takes 8×8 pixels alone
    assert said.startswith(f"code=auto takes {max(scores, key=lambda name: scores[name])}, which scores best")
