"""Comparisons: every code in one table, nothing run twice, nothing run in vain."""

import csv
import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig
from PIL import Image
from torch import nn
from torch.utils.data import TensorDataset

from parmtrain import Result, run
from parmtrain.compare import compare, planned_runs, study
from parmtrain.compare.__main__ import main
from parmtrain.errors import ConfigError, TrainingError
from parmtrain.metrics import functional

pytestmark = pytest.mark.slow
SHORT = ("trainer.max_epochs=2", "deployed.fit.epochs=4")
CODES = "code=sum,concat,linear,default"


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compared")
    compare([*SHORT, CODES, "k=2,27"], folder)
    return folder


def table(folder: Path) -> dict[tuple[str, str, str], dict[str, Any]]:
    with (folder / "table.csv").open(encoding="utf-8") as file:
        return {(row["code"], row["k"], row["late"]): row for row in csv.DictReader(file)}


def test_every_code_has_its_rows_and_what_cannot_be_its_sentence(compared: Path) -> None:
    rows = table(compared)
    codes = {code for code, _, _ in rows}
    assert codes == {"sum", "concat", "linear", "default", "guess at random"}
    assert ("concat", "2", "1") in rows
    assert ("concat", "27", "1") not in rows
    assert ("linear", "27", "2") in rows
    text = (compared / "table.md").read_text()
    assert "- left out: code=concat k=27: code=concat with k=27 needs images of 3×9 pixels or more, got 8×8" in text
    assert text.count("\n| ") == len(rows) + 1
    with Image.open(compared / "codes.png") as plot:
        assert min(plot.size) > 500


@pytest.mark.thorough
def test_a_code_that_cannot_be_trained_so_is_left_out_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    asked = [*SHORT, "partial=true", "k=2"]
    rows = compare([*asked, "code=sum,concat_heads"], tmp_path)
    assert {row["code"] for row in rows} == {"concat_heads", "guess at random"}
    reason = (
        "code=sum needs all k queries of a group, so partial must be false; lowres, backup and codes with heads do not"
    )
    assert f"left out: code=sum: {reason}" in caplog.messages
    assert f"- left out: code=sum: {reason}" in (tmp_path / "table.md").read_text()
    with pytest.raises(ConfigError, match=reason):
        compare([*asked, "code=sum"], tmp_path)


def test_the_figures_are_those_of_the_runs(compared: Path) -> None:
    rows = table(compared)
    for path in (compared / "runs").glob("*/metrics.json"):
        metrics = json.loads(path.read_text())
        row = rows[metrics["code"], str(metrics["k"]), "1"]
        assert float(row["degraded"]) == metrics["degraded"]["accuracy"]
        assert float(row["all_k"]) == metrics["all_k"]["accuracy"]
        assert float(row["degraded_worst"]) == min(metrics["degraded"]["by_position"])
        assert float(row["parity_bytes"]) == metrics["cost"]["parity_bytes"]
        for late, more in metrics["stragglers"].items():
            assert float(rows[metrics["code"], str(metrics["k"]), late]["all_k"]) == more["all_k"]["accuracy"]
        guess = rows["guess at random", str(metrics["k"]), "1"]
        free = functional.accuracy_with_one_straggler(metrics["available"]["accuracy"], 0.1, metrics["k"])
        assert float(guess["all_k"]) == pytest.approx(free)


def test_nothing_is_run_twice_and_more_seeds_are_added(
    compared: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    before = {path: path.stat().st_mtime_ns for path in compared.glob("runs/*/metrics.json")}
    ran: list[str] = []

    def noted(cfg: DictConfig, folder: Path, *given: Any) -> Result:
        ran.append(folder.name)
        return run(cfg, folder, *given)

    monkeypatch.setattr(study, "run", noted)
    compare([*SHORT, CODES, "k=2,27"], compared)
    assert ran == []
    with caplog.at_level(logging.INFO, "parmtrain"):
        rows = compare([*SHORT, "code=sum", "k=2", "seed=0,1"], compared)
    assert f"finished runs in {compared} are not in it: a command that names them, too, puts all" in caplog.text
    assert [name.startswith("digits-sum-k2-seed1-") for name in ran] == [True]
    assert rows[0]["seeds"] == 2
    assert rows[0]["degraded_spread"] is not None
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())


@pytest.mark.slow
@pytest.mark.thorough
def test_a_comparison_that_was_cut_off_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from parmtrain.training import losses

    true_loss, calls = losses.kl, 0

    def cut_off(groups: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 15:
            raise KeyboardInterrupt
        return true_loss(groups)

    monkeypatch.setattr(losses, "kl", cut_off)
    overrides = [*SHORT, "code=sum", "k=2,3"]
    assert main(["--folder", str(tmp_path), *overrides]) == 130
    assert not (tmp_path / "table.md").exists()
    assert len(list(tmp_path.glob("runs/*/checkpoints/last.ckpt"))) == 1
    monkeypatch.undo()
    resumed = compare(overrides, tmp_path)
    whole = compare(overrides, tmp_path / "whole")
    assert [row["degraded"] for row in resumed] == [row["degraded"] for row in whole]


@pytest.mark.thorough
def test_a_variant_gets_a_column(tmp_path: Path) -> None:
    rows = compare([*SHORT, "k=2", "loss=kl,mse", "trainer.max_epochs=1"], tmp_path)
    assert [row["variant"] for row in rows] == ["loss=kl", "loss=mse", ""]
    assert "| code | variant |" in (tmp_path / "table.md").read_text()


def test_a_run_that_fails_leaves_the_others(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"1 run failed:\noptim.lr=1e\+30: the loss became"):
        compare([*SHORT, "k=2", "optim.lr=0.001,1e30"], tmp_path)
    assert len(table(tmp_path)) == 2


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["k=two"], "k=two: must be an integer, got two"),
        (["kk=2,3"], "kk=2: unknown key kk; did you mean k?"),
        (["code=concat", "k=70,80"], "code=concat with k=70 needs images of 7×10 pixels or more, got 8×8"),
        (["code=sum", "groups=0"], "groups must be an integer of 1 or more, got 0"),
        (["task=cifar10", "data.download=false", "data.root=nowhere"], "CIFAR-10 is missing"),
        (["code=sum", "+code.foo=1"], "got an unexpected keyword argument 'foo'"),
        (["deployed.path=/nowhere.pt", "k=2,3"], "deployed.path=/nowhere.pt: file not found"),
    ],
)
def test_faults_are_said_before_any_work(
    overrides: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--folder", str(tmp_path / "study"), *overrides]) == 1
    assert sentence in capsys.readouterr().err
    assert not list(tmp_path.rglob("config.yaml"))
    with pytest.raises(ConfigError):
        compare(overrides, tmp_path / "study")


@pytest.mark.thorough
def test_all_stands_for_every_code() -> None:
    planned = planned_runs(["code=all", "k=2"], Path("study"))
    assert {"code=sum", "code=learned_convolution", "code=default"} <= {one.title for one in planned}
    assert len({one.folder for one in planned}) == len(planned)


def test_a_run_is_known_by_what_it_is_and_not_by_what_stands_beside_it() -> None:
    (alone,) = planned_runs(["code=sum", "k=2"], Path("study"))
    beside = planned_runs(["k=2,3", "code=stack,sum", "cache=/elsewhere", "logger=wandb"], Path("study"))
    assert alone.folder in {one.folder for one in beside}
    (other,) = planned_runs(["code=sum", "k=2", "optim.lr=0.01"], Path("study"))
    assert other.folder != alone.folder


@pytest.mark.thorough
def test_a_deployed_model_and_data_from_python_are_compared_and_kept_apart(tmp_path: Path) -> None:
    torch.manual_seed(0)
    own, another = nn.Linear(6, 3), nn.Linear(6, 3)
    data, others = (TensorDataset(torch.rand(60, 6), torch.arange(60) % 3) for _ in range(2))
    asked = ["task=module", "task.query_shape=[6]", "task.outputs=3", "k=2", "code=sum,default", "trainer.max_epochs=1"]
    rows = compare(asked, tmp_path, deployed=own, data=data)
    assert {row["code"] for row in rows} == {"sum", "default", "guess at random"}
    assert all(parameter.requires_grad for parameter in own.parameters())
    runs = set((tmp_path / "runs").iterdir())
    seen = {path: (path / "metrics.json").stat().st_mtime_ns for path in runs}
    again = compare(asked, tmp_path, deployed=own, data=data)
    assert [row["degraded"] for row in again] == [row["degraded"] for row in rows]
    assert {path: (path / "metrics.json").stat().st_mtime_ns for path in (tmp_path / "runs").iterdir()} == seen
    compare(asked, tmp_path, deployed=another, data=data)
    assert len(set((tmp_path / "runs").iterdir())) == 2 * len(runs)
    with pytest.raises(ConfigError, match=r"the data is not what .* used; name another --folder"):
        compare(asked, tmp_path, deployed=own, data=others)
