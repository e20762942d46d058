"""Every mistake in the tables of ``tests/mistakes`` gets one sentence: no traceback, no warning, nothing written."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from parmtrain.compare import compare
from parmtrain.result import Result
from tests.mistakes import rows
from tests.small_runs import SHORT

QUICK = ("runs", "comparisons", "services")
LONG = ("configurations", "deployed", "data")
EVERY = [row for name in (*QUICK, *LONG) for row in rows.rows(name)]
SAMPLE = [row for row in EVERY if not row.given and not row.env][::13][:20]


@pytest.fixture(scope="session")
def kept(finished: Result, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a finished run and a finished comparison, which rows copy."""
    folder = tmp_path_factory.mktemp("kept")
    shutil.copytree(finished.folder, folder / "run")
    compare(["code=default", *SHORT], folder / "study")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Return an empty folder, which can be removed afterwards whatever its permissions."""
    yield tmp_path
    for path in tmp_path.rglob("*"):
        if path.is_dir():
            path.chmod(0o755)


@pytest.mark.slow
@pytest.mark.parametrize("row", [row for name in QUICK for row in rows.rows(name)], ids=str)
def test_a_mistake_is_one_sentence(row: rows.Row, kept: Path, folder: Path) -> None:
    check(row, kept, folder)


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.parametrize("row", [row for name in LONG for row in rows.rows(name)], ids=str)
def test_a_mistake_in_a_run_is_one_sentence(row: rows.Row, folder: Path) -> None:
    check(row, folder, folder)


def check(row: rows.Row, kept: Path, folder: Path) -> None:
    rows.prepare(folder, row.given, kept)
    outcome = rows.outcome(row, folder)
    assert not outcome.raised
    assert outcome.status not in (0, None)
    assert "Traceback" not in outcome.said
    assert row.says in outcome.said
    assert one_message(outcome.said), outcome.said
    assert not outcome.printed.strip()
    assert not outcome.changed


def one_message(said: str) -> bool:
    """Whether a text is one sentence, one list of faults, or the usage of a command and one sentence."""
    lines = said.strip().splitlines()
    return len(lines) == 1 or "faults in this configuration:" in lines[0] or lines[0].startswith("usage: ")


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.parametrize("row", SAMPLE, ids=str)
def test_it_is_so_in_a_process_of_its_own(row: rows.Row, tmp_path: Path) -> None:
    command = [sys.executable, "-m", rows.MODULES[row.program], *row.arguments]
    ended = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False, env=dict(os.environ)
    )
    assert ended.returncode in (1, 2)
    assert row.says in ended.stderr
    assert one_message(ended.stderr), ended.stderr
    assert not ended.stdout.strip()
    assert not list(tmp_path.iterdir())


def test_the_tables_are_large_and_no_row_is_there_twice() -> None:
    assert len(EVERY) >= 250
    keys = [(row.program, row.line, str(row.given), str(row.env)) for row in EVERY]
    assert len(set(keys)) == len(keys)
