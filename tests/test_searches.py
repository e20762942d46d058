"""Searches over configurations, and runs of any folder gathered into one table."""

import csv
import json
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from parmtrain import compose
from parmtrain.compare.gathering import gather
from parmtrain.compare.search_plot import Run, searched
from parmtrain.errors import ConfigError, DataError
from parmtrain.objectives import objectives
from parmtrain.result import Result
from parmtrain.runs import is_done
from tests.small_runs import SHORT as SMALL
from tests.test_command_line import parmtrain
from tests.tiers import thorough

SHORT = ("hydra.sweep.dir=search", "code=sum", "trainer.max_epochs=1", "deployed.fit.epochs=4")


def copied(finished: Result, folder: Path, seed: int = 0, **changed: object) -> Path:
    """Copy the texts of a finished run, with its seed and some top-level values of its configuration changed."""
    folder.mkdir(parents=True)
    for name in ("metrics.json", "config.yaml"):
        shutil.copy(finished.folder / name, folder / name)
    settings = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump(settings | {"seed": seed} | changed))
    restated(folder, seed=seed)
    return folder


def restated(folder: Path, **changed: object) -> None:
    """Change some figures of a finished run."""
    metrics = json.loads((folder / "metrics.json").read_text())
    (folder / "metrics.json").write_text(json.dumps(metrics | changed))


def rows_in(folder: Path) -> list[dict[str, str]]:
    """Return the rows of a table."""
    with open(folder / "table.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.thorough
def test_a_search_names_the_best_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    ended = parmtrain(tmp_path, "-m", "hparams_search=one_k", "hydra.sweeper.n_trials=2", *SHORT)
    assert ended.returncode == 0, ended.stderr
    assert "Best parameters: {'optim.lr': " in ended.stderr
    best = yaml.safe_load((tmp_path / "search" / "optimization_results.yaml").read_text())
    every = {path.parent: json.loads(path.read_text()) for path in sorted(tmp_path.glob("search/*/metrics.json"))}
    assert len(every) == 2
    assert best["best_value"] == max(one["validation"]["degraded_accuracy"] for one in every.values())
    rates = {yaml.safe_load((folder / "config.yaml").read_text())["optim"]["lr"] for folder in every}
    assert best["best_params"]["optim.lr"] in rates
    assert len(rates) == 2
    written = {folder: (folder / "metrics.json").stat().st_mtime_ns for folder in every}
    more = parmtrain(tmp_path, "-m", "hparams_search=one_k", "hydra.sweeper.n_trials=3", *SHORT)
    assert more.returncode == 0, more.stderr
    assert more.stderr.count("finished earlier") == 2
    assert {folder: (folder / "metrics.json").stat().st_mtime_ns for folder in every} == written
    assert len(list(tmp_path.glob("search/*/metrics.json"))) == 3


@pytest.mark.slow
def test_only_the_same_run_on_the_same_data_is_done(finished: Result, tmp_path: Path) -> None:
    folder = copied(finished, tmp_path / "run")
    assert is_done(compose(*SMALL), folder)
    for other in ("seed=1", "metrics=[top2]", "unavailable=[0.2]", "accept.agreement=0.9"):
        assert not is_done(compose(*SMALL, other), folder)
    for how in ("progress=false", "logger=null", "objectives=[parity_flops]", "data.workers=0", "cache=elsewhere"):
        assert is_done(compose(*SMALL, how), folder)
    assert not is_done(compose(*SMALL, "overwrite=true"), folder)
    assert not is_done(compose(*SMALL), tmp_path / "none")
    restated(folder, data="changed")
    assert not is_done(compose(*SMALL), folder)


@pytest.mark.slow
def test_a_search_for_two_ends_names_the_runs_that_no_other_beats(tmp_path: Path) -> None:
    ended = parmtrain(tmp_path, "-m", "hparams_search=each_k", "hydra.sweeper.n_trials=3", *SHORT)
    assert ended.returncode == 0, ended.stderr
    front = yaml.safe_load((tmp_path / "search" / "optimization_results.yaml").read_text())["solutions"]
    for solution in front:
        degraded, extra = solution["values"]
        assert extra == pytest.approx(1 / solution["params"]["k"])
        assert not any(other["values"][0] >= degraded and other["values"][1] < extra for other in front)


def test_a_search_looks_at_validation_and_costs_alone(finished: Result) -> None:
    metrics = finished.metrics
    assert objectives(metrics, ["degraded"]) == metrics["validation"]["degraded_accuracy"]
    assert objectives(metrics, ["degraded", "extra_workers"]) == (metrics["validation"]["degraded_accuracy"], 0.5)
    assert objectives(metrics | {"validation": None}, ["degraded"]) is None


@pytest.mark.slow
def test_runs_of_any_folder_are_gathered(finished: Result, tmp_path: Path) -> None:
    copied(finished, tmp_path / "0-sum")
    copied(finished, tmp_path / "deep" / "1-sum", groups=32, seed=1)
    copied(finished, tmp_path / "deep" / "2-sum", groups=32, seed=2, cache="elsewhere")
    rows = gather(tmp_path)
    assert {row["variant"]: row["seeds"] for row in rows if row["code"] == "sum"} == {"groups=64": 1, "groups=32": 2}
    assert [row["variant"] for row in rows_in(tmp_path)] == [row["variant"] for row in rows]
    copied(finished, tmp_path / "again")  # the first one once more
    restated(copied(finished, tmp_path / "3-sum"), deployed={"fingerprint": "of another model"})
    rows = gather(tmp_path)
    assert sorted(row["seeds"] for row in rows if row["code"] == "sum") == [1, 1, 2]
    assert any("deployed=of another m" in row["variant"] for row in rows)
    for name in ("table.md", "codes.png", "searched.png"):
        assert (tmp_path / name).is_file()
    elsewhere = gather(tmp_path / "deep", ["budget.flops=0.1"], tmp_path / "there")
    assert [row["variant"] for row in elsewhere] == ["", ""]  # the two differ in nothing but their seeds
    assert "No code is within budget.flops=0.1" in (tmp_path / "there" / "table.md").read_text()


def test_only_what_belongs_together_is_gathered(finished: Result, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="must be a folder that holds finished runs, got none"):
        gather(tmp_path)
    with pytest.raises(DataError, match="must be a folder that holds finished runs, got none"):
        gather(tmp_path / "none")
    one, other = copied(finished, tmp_path / "0"), copied(finished, tmp_path / "1")
    with pytest.raises(ConfigError, match="k=2: beside --from, which trains nothing, only a budget can be given"):
        gather(tmp_path, ["k=2"])
    restated(other, task="letters")
    with pytest.raises(DataError, match="must hold runs of one task, got digits, letters"):
        gather(tmp_path)
    restated(other, task="digits", data="others")
    with pytest.raises(DataError, match=r"must hold runs of one data, got .*others"):
        gather(tmp_path)
    (other / "metrics.json").write_text("{")
    with pytest.raises(DataError, match=r"must be valid JSON"):
        gather(tmp_path)
    (one / "config.yaml").unlink()
    shutil.rmtree(other)
    with pytest.raises(DataError, match="got none"):
        gather(tmp_path)


def test_values_that_are_no_numbers_have_a_panel_too(finished: Result, tmp_path: Path) -> None:
    metrics = finished.metrics
    rates = (0.0001, 0.01, 0.3)
    runs = [Run(metrics, {"optim.lr": rate, "loss._target_": str(rate)}) for rate in rates]
    searched(runs, ["optim.lr", "loss._target_"], tmp_path / "searched.png")
    assert (tmp_path / "searched.png").stat().st_size > 5000
    searched([Run(metrics | {"validation": None}, {})], [], tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        thorough(["hparams_search=one_k"], "hparams_search=one_k needs -m"),
        (["-m", "optim.lr=interval(0.001,0.01)"], "an interval is for a search to choose from"),
        (["-m", "hparams_search=two"], "unknown hparams_search 'two'; choose from each_k, one_k"),
        (["-m", "hparams_search=one_k", "hydra.sweeper.trials=2"], "unknown key hydra.sweeper.trials"),
        thorough(
            ["-m", "hparams_search=one_k", "objectives=[parity_bytes]"], "hydra.sweeper.direction must be minimize for"
        ),
        thorough(
            ["-m", "hparams_search=each_k", "objectives=[degraded]"],
            "must be maximize for objectives=[degraded], got",
        ),
        thorough(["objectives=[accuracy]"], "objectives must be a list of degraded, extra_workers, "),
    ],
)
def test_a_mistake_in_a_search_is_one_sentence(arguments: list[str], sentence: str, tmp_path: Path) -> None:
    ended = parmtrain(tmp_path, *arguments)
    assert ended.returncode == 1
    assert sentence in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.slow
def test_a_sweeper_that_is_not_installed_is_named(tmp_path: Path) -> None:
    (tmp_path / "own" / "hparams_search").mkdir(parents=True)
    text = "# @package _global_\ndefaults:\n  - override /hydra/sweeper: ax\n"
    (tmp_path / "own" / "hparams_search" / "ax.yaml").write_text(text)
    ended = parmtrain(tmp_path, "-m", "--config-dir", "own", "hparams_search=ax")
    assert ended.returncode == 1
    assert "hydra/sweeper/ax is not installed: pip install 'parmtrain[sweep]'" in ended.stderr


def test_a_comparison_is_no_search(tmp_path: Path) -> None:
    from parmtrain.compare.plan import planned_runs

    with pytest.raises(ConfigError, match="a search is parmtrain -m hparams_search"):
        planned_runs(["optim.lr=interval(0.1,0.2)"], tmp_path)


@pytest.mark.thorough
def test_a_search_that_is_stopped_says_how_it_goes_on(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "parmtrain", "-m", "hparams_search=one_k", "code=sum", "trainer.max_epochs=400"]
    process = subprocess.Popen(
        [*command, "deployed.fit.epochs=4", "hydra.sweep.dir=search"], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("search/0-*/checkpoints/best.ckpt")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    (line,) = [one.removeprefix("resume with: ") for one in said.splitlines() if one.startswith("resume with: ")]
    words = shlex.split(line)
    assert words[:2] == ["parmtrain", "-m"]
    assert set(words[2:]) == {*command[4:], "deployed.fit.epochs=4", "hydra.sweep.dir=search"}
