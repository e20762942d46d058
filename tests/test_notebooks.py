"""The notebooks are what their scripts give, with outputs, and run."""

import os
import re
from pathlib import Path
from typing import Any

import jupytext
import pytest

from tests.notebooks import SCRIPTS, executed, outputs, sources, texts, unexecuted

LARGEST = 300_000  # bytes
A_PATH = re.compile(r"(?<![\w.:/])/\w[\w.-]*/\w|[A-Z]:\\\\")
ours = pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)


def require_outputs(notebook: Any) -> None:
    """Require pictures, and neither errors, warnings nor paths of the machine."""
    kinds = {output.output_type for output in outputs(notebook)}
    assert any("image/png" in output.get("data", {}) for output in outputs(notebook))
    assert "error" not in kinds
    assert not [output.text for output in outputs(notebook) if output.get("name") == "stderr"]
    assert not [text for text in texts(notebook) if A_PATH.search(text)]


def test_there_are_three() -> None:
    assert [script.stem for script in SCRIPTS] == ["compare_codes", "first_look", "kill_an_instance"]


@ours
def test_a_notebook_is_what_its_script_gives_with_outputs(script: Path) -> None:
    written = script.with_suffix(".ipynb")
    assert written.stat().st_size < LARGEST
    notebook = jupytext.read(written)
    assert sources(notebook) == sources(unexecuted(script)), "make notebooks"
    assert [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"] == list(
        range(1, 1 + sum(cell.cell_type == "code" for cell in notebook.cells))
    )
    assert all(cell.metadata == {} for cell in notebook.cells)
    require_outputs(notebook)


@ours
def test_a_notebook_names_public_things_alone(script: Path) -> None:
    code = "\n".join(cell.source for cell in unexecuted(script).cells if cell.cell_type == "code")
    assert not re.search(r"\b_[a-z]\w*|\._[a-z]", code.replace("for _ in", ""))
    assert set(re.findall(r"(?:from|import) (parmtrain\S*)", code)) <= {"parmtrain", "parmtrain.compare"}


@ours
def test_the_links_of_a_notebook_lead_somewhere(script: Path) -> None:
    prose = "\n".join(cell.source for cell in unexecuted(script).cells if cell.cell_type == "markdown")
    for link in re.findall(r"\]\(([^)#]+)", prose):
        assert (script.parent / link).is_file(), link


@pytest.mark.thorough
@ours
def test_a_notebook_runs_and_leaves_no_process(script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OF_A_TEST", str(tmp_path))
    require_outputs(executed(script, tmp_path))
    assert not [process for process in Path("/proc").glob("[0-9]*") if is_left(process, tmp_path)]


def is_left(process: Path, folder: Path) -> bool:
    """Return whether another process was started by a notebook that ran in a folder."""
    try:
        environment = (process / "environ").read_bytes()
    except OSError:  # it has ended, or is another user's
        return False
    return f"OF_A_TEST={folder}".encode() in environment.split(b"\0") and process.name != str(os.getpid())
