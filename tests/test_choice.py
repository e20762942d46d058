"""``code=auto`` tries candidates, keeps the best by validation, and tries none twice."""

import logging
import re
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from parmtrain import compose, run
from parmtrain.choice import settled
from parmtrain.compare import planned_runs
from parmtrain.errors import ConfigError
from parmtrain.run_folder import RunFolder
from tests.small_runs import SHORT

CANDIDATES = ("lowres", "lowres_perceptron", "lowres_own", "sum_corrected", "sum")
TWO = ("~code.candidates.lowres_perceptron", "~code.candidates.lowres_own", "code.most=2")


def auto(*overrides: str) -> DictConfig:
    return compose(*SHORT, "code=auto", *overrides)


@pytest.mark.slow
def test_the_best_candidate_is_trained_and_none_is_tried_twice(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    cfg = auto(*TWO, "code.share=0.7", f"cache={tmp_path / 'cache'}")
    result = run(cfg, tmp_path / "run")
    said = re.search(r"code=auto takes (\w+), which scores best on the validation split: (.*)", caplog.text)
    assert said is not None
    scores = {name: float(score) for name, score in (one.split() for one in said[2].split(", "))}
    assert list(scores) == ["lowres", "sum_corrected"]
    assert said[1] == max(scores, key=lambda name: scores[name])
    assert result.record.code == said[1]
    stored = OmegaConf.load(tmp_path / "run" / "config.yaml")
    assert stored.trainer.max_epochs == 3

    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("a candidate was trained again")

    monkeypatch.setattr("parmtrain.choice.train", never)
    again = settled(cfg, RunFolder(tmp_path / "again"))
    assert again.code == stored.code
    assert not list((tmp_path / "cache" / "choices").rglob("*.ckpt"))


@pytest.mark.slow
def test_what_does_not_support_the_task_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tried: list[str] = []

    def scored(name: str, work: Any) -> float:
        tried.append(name)
        return {"sum_corrected": 0.2, "sum": 0.3}[name]

    monkeypatch.setattr("parmtrain.choice._score", scored)
    cfg = auto(
        "k=8", "code.candidates.lowres.r=2", "code.candidates.lowres_perceptron.r=2", "~code.candidates.lowres_own"
    )
    assert settled(cfg, RunFolder(tmp_path)).code._target_ == "parmtrain.codes.Sum"
    assert tried == ["sum_corrected", "sum"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["code.most=0"], "code.most must be 1 or more, got 0"),
        (["code.share=2"], "code.share must be from 0 to 1, got 2"),
        (["code.candidates=null"], "code.candidates must be"),
        (["code.candidates.lowres=null"], "code.candidates.lowres must name a code with _target_, got None"),
        (["trainer.max_epochs=0"], "trainer.max_epochs must be an integer of 1 or more, got 0"),
        (["groups=0"], "groups must be an integer of 1 or more, got 0"),
        (
            [
                f"~code.candidates.{name}"
                for name in ("lowres", "lowres_perceptron", "lowres_own", "sum_corrected", "sum")
            ],
            "code.candidates must be one or more codes by name, got none",
        ),
        (["+code.flops=2"], "code.flops must be an argument of parmtrain.choice.Auto"),
    ],
)
def test_mistakes_are_said_before_any_work(overrides: list[str], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as fault:
        settled(auto(*overrides), RunFolder(tmp_path / "run"))
    assert sentence in str(fault.value)
    assert not (tmp_path / "run").exists()


def test_other_codes_are_left_as_they_are(tmp_path: Path) -> None:
    cfg = compose("code=sum")
    assert settled(cfg, RunFolder(tmp_path)) is cfg


@pytest.mark.thorough
def test_a_comparison_names_its_codes() -> None:
    with pytest.raises(ConfigError, match="code=auto must not be in a comparison"):
        planned_runs(["code=sum,auto"], Path("study"))
    names = {one.option for one in planned_runs(["code=all", "k=2"], Path("study"))}
    assert {"lowres", "lowres_perceptron", "sum"} <= names
    assert "auto" not in names
