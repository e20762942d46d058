"""The rows of the tables: what each row gives, runs and expects."""

import csv
import io
import json
import os
import shlex
import shutil
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra._internal.hydra import Hydra
from omegaconf import OmegaConf

from parmtrain import __main__, advise, evaluate, serve, simulate
from parmtrain.compare import __main__ as compare
from tests.mistakes import data_sets, networks, pictures, tables
from tests.mistakes.privileges import unprivileged

MAINS: dict[str, Callable[[list[str]], int]] = {
    "run": __main__.main,
    "evaluate": evaluate.main,
    "compare": compare.main,
    "advise": advise.main,
    "simulate": simulate.main,
    "serve": serve.main,
}
MODULES = {"run": "parmtrain", **{name: f"parmtrain.{name}" for name in MAINS if name != "run"}}


SITUATIONS: dict[str, Callable[[Path], None]] = {
    name: situation for module in (data_sets, networks, pictures, tables) for name, situation in vars(module).items()
}
"""What a user has in a folder before a mistake, by name."""


@dataclass(frozen=True)
class Row:
    """One mistake.

    Args:
        program: The command.
        line: Its arguments, as a shell takes them.
        says: A part of the sentence that it must print.
        given: What is in the folder, as steps of ``prepare``.
        env: Environment variables.
    """

    program: str
    line: str
    says: str
    given: dict[str, Any] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)

    @property
    def arguments(self) -> list[str]:
        return shlex.split(self.line)

    def __str__(self) -> str:
        made = self.given.get("make", "")
        return f"{made} {self.program} {self.line}".strip()


@dataclass(frozen=True)
class Outcome:
    """What a command did: its exit status, what it printed, and what it raised that it must not."""

    status: int
    printed: str
    said: str
    raised: str
    changed: list[str]


def rows(name: str) -> list[Row]:
    """Read one table."""
    content = yaml.safe_load((Path(__file__).parent / f"{name}.yaml").read_text(encoding="utf-8"))
    return [_row(entry) for entry in content]


def _row(entry: dict[str, Any]) -> Row:
    (program,) = entry.keys() & MAINS.keys()
    return Row(program, str(entry[program]), entry["says"], entry.get("given", {}), entry.get("env", {}))


def prepare(folder: Path, given: dict[str, Any], kept: Path) -> None:
    """Put into a folder what a row gives: things to copy first, then what situations make, then changes.

    Args:
        folder: The folder.
        given: Names of steps in ``CHANGES``, each with its content; ``copy`` names kept things, and ``make`` a
            situation.
        kept: Folder of kept things.
    """
    for name in given.get("copy", []):
        shutil.copytree(kept / name, folder / name)
    if "make" in given:
        SITUATIONS[given["make"]](folder)
    for step, change in CHANGES.items():
        content = given.get(step, [])
        for name in content:
            change(folder / name, content[name] if isinstance(content, dict) else None)


def _remove(path: Path, _: None) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def _append(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)


def _cut(path: Path, _: None) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def _change(path: Path, entries: dict[str, Any]) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def _set(path: Path, keys: dict[str, Any]) -> None:
    cfg = OmegaConf.load(path)
    for key, value in keys.items():
        OmegaConf.update(cfg, key, value)
    path.write_text(OmegaConf.to_yaml(cfg))


def _cell(path: Path, cells: dict[str, str]) -> None:
    with path.open(newline="") as file:
        lines = list(csv.DictReader(file))
    lines[0] |= cells
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)


def _locked_file(path: Path, _: None) -> None:
    path.write_text("secret")
    path.chmod(0)


CHANGES: dict[str, Callable[[Path, Any], Any]] = {
    "folder": lambda path, _: path.mkdir(parents=True),
    "remove": _remove,
    "write": lambda path, text: path.write_text(text),
    "bytes": lambda path, text: path.write_bytes(bytes.fromhex(text)),
    "append": _append,
    "cut": _cut,  # in half
    "change": _change,  # entries of a JSON file
    "set": _set,  # keys of a YAML file
    "cell": _cell,  # cells of the first line of a table
    "locked": lambda path, _: path.mkdir(0),
    "readonly": lambda path, _: path.mkdir(0o555),
    "locked_file": _locked_file,
}


def outcome(row: Row, folder: Path) -> Outcome:
    """Run a row's command in this process, in a folder, and return what it did."""
    printed, said, raised = io.StringIO(), io.StringIO(), ""
    before = _content(folder)
    locked = bool({"locked", "locked_file", "readonly"} & row.given.keys())
    with _place(folder, row.env), unprivileged(locked), redirect_stdout(printed), redirect_stderr(said):
        try:
            status = MAINS[row.program](row.arguments)
        except SystemExit as stop:
            status = stop.code if isinstance(stop.code, int) else 1
        except BaseException:
            status, raised = -1, traceback.format_exc()
    after = _content(folder)
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    return Outcome(status, printed.getvalue(), said.getvalue(), raised, changed)


def _content(folder: Path) -> dict[str, tuple[int, int]]:
    """Return the size and time of each file, and 0 for each folder."""
    found = {}
    for path in folder.rglob("*"):
        status = path.lstat()
        found[str(path.relative_to(folder))] = (0, 0) if path.is_dir() else (status.st_size, status.st_mtime_ns)
    return found


def _no_mode(*_: object, **__: object) -> None:
    """Save the time of composing each configuration twice, the first time to look for ``hydra.mode``."""


@contextmanager
def _place(folder: Path, env: dict[str, str]) -> Iterator[None]:
    before, arguments, variables = Path.cwd(), sys.argv[:], dict(os.environ)
    os.chdir(folder)
    os.environ.update(env)
    try:
        with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
            patch.setattr(Hydra, "get_mode", _no_mode)
            warnings.simplefilter("error", UserWarning)
            warnings.simplefilter("error", RuntimeWarning)
            yield
    finally:
        os.chdir(before)
        sys.argv[:] = arguments
        os.environ.clear()
        os.environ.update(variables)
