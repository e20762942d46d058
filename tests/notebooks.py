"""Notebooks from their scripts, with outputs, for ``make notebooks``: ``python -m tests.notebooks [NAME …]``."""

import asyncio
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jupytext
import nbclient

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
SCRIPTS = sorted(FOLDER.glob("*.py"))
PATIENCE = 300  # seconds for a cell
KEPT = ("kernelspec",)  # of a notebook's metadata; the rest is about the machine


def unexecuted(script: Path) -> Any:
    """Return the notebook that a script gives."""
    notebook = jupytext.read(script)
    notebook.metadata = {name: dict(notebook.metadata[name]) for name in KEPT}
    for number, cell in enumerate(notebook.cells):
        cell.id, cell.metadata = f"cell-{number}", {}
    notebook.nbformat_minor = 5  # the first that has ids
    return notebook


def executed(script: Path, folder: Path) -> Any:
    """Return the notebook of a script with its outputs, executed in a folder, without what says when and where."""
    notebook = unexecuted(script)
    quiet = "ignore:IProgress not found"  # which tqdm says where ipywidgets is not installed
    environment = os.environ | {"PARMTRAIN_CACHE": str(folder / "cache"), "PYTHONWARNINGS": quiet}
    where = {"metadata": {"path": str(folder)}}
    client = nbclient.NotebookClient(notebook, timeout=PATIENCE, interrupt_on_timeout=True, resources=where)
    asyncio.run(client.async_execute(env=environment))
    for cell in notebook.cells:
        cell.metadata = {}
    notebook.metadata = {name: dict(notebook.metadata[name]) for name in KEPT}
    return notebook


def sources(notebook: Any) -> list[tuple[str, str]]:
    """Return the kind and the text of each cell."""
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


def outputs(notebook: Any) -> list[Any]:
    """Return all outputs of a notebook."""
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def texts(notebook: Any) -> list[str]:
    """Return what the outputs of a notebook say in words."""
    said = []
    for output in outputs(notebook):
        said.append(output.get("text", ""))
        said += [text for kind, text in output.get("data", {}).items() if kind.startswith("text/")]
    return said


def make(script: Path) -> None:
    """Write the notebook of a script."""
    with TemporaryDirectory() as folder:
        notebook = executed(script, Path(folder))
    jupytext.write(notebook, script.with_suffix(".ipynb"))


if __name__ == "__main__":
    for chosen in sys.argv[1:] or [script.stem for script in SCRIPTS]:
        make(FOLDER / f"{chosen}.py")
