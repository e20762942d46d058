"""Progress: a bar in a terminal, lines elsewhere, nothing where it is not wanted."""

import re
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from parmtrain import progress as telling
from parmtrain.progress import Lines, in_bars, in_lines, progress, showing
from tests.small_runs import small_run


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every line be due, as where there is no terminal."""
    monkeypatch.setattr(telling, "get_console", lambda: Console(file=StringIO()))
    monkeypatch.setattr(telling, "FIRST", 0.0)
    monkeypatch.setattr(telling, "EVERY", 0.0)


def test_a_log_gets_a_line_every_few_seconds(
    at_once: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert in_lines()
    assert not in_bars()
    assert list(progress([5, 6, 7], "adding")) == [5, 6, 7]
    said = capsys.readouterr()
    assert said.out == ""
    assert [line.partition(",")[0] for line in said.err.splitlines()] == [
        "adding: 0 of 3 (0 %)",
        "adding: 1 of 3 (33 %)",
        "adding: 2 of 3 (67 %)",
        "adding: 3 of 3 in 0 s",
    ]
    monkeypatch.setattr(telling, "EVERY", 100.0)
    assert len(list(progress(range(1000), "adding"))) == 1000
    first, last = capsys.readouterr().err.splitlines()
    assert first.startswith("adding: 0 of 1000 (0 %)")
    assert last == "adding: 1000 of 1000 in 0 s"


def test_what_is_short_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress(iter([1, 2]), "adding")) == [1, 2]
    assert capsys.readouterr().err == ""


def test_nothing_tells_where_it_is_not_wanted(at_once: None, capsys: pytest.CaptureFixture[str]) -> None:
    with showing(False):
        assert list(progress([1, 2], "adding")) == [1, 2]
        assert not in_lines()
        assert not in_bars()
    assert in_lines()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("seconds", "text"), [(119, "119 s so far"), (300, "5 min so far"), (9000, "2.5 h so far")])
def test_times_are_those_of_people(seconds: float, text: str) -> None:
    assert Lines("training", None).line(3, seconds).endswith(text)


@pytest.mark.slow
def test_a_training_says_how_far_it_is(at_once: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small_run(tmp_path / "told")
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("training, epochs: ")]
    assert lines[-2].startswith("training, epochs: 3 of 3 (100 %)")
    assert re.search(r"about \d+ s to go; val/degraded_accuracy 0\.\d{4}$", lines[-2])
    assert re.fullmatch(r"training, epochs: 3 of 3 in \d+ s", lines[-1])
    small_run(tmp_path / "silent", "progress=false")
    assert "training, epochs" not in capsys.readouterr().err
