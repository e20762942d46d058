"""Whatever is wrong with a configuration or a file, its reader raises one of parmtrain's own errors or none."""

import csv
import json
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from parmtrain.advise import AdviceSettings, candidates
from parmtrain.bundle.description import read_description
from parmtrain.compare.results import readable_metrics
from parmtrain.compare.rows import rows_of
from parmtrain.config.check import check
from parmtrain.config.compose import compose
from parmtrain.config.resuming import resume_faults
from parmtrain.config.stored import stored_config
from parmtrain.errors import ParmtrainError
from parmtrain.result import Result
from parmtrain.run_folder import RunFolder
from tests.mistakes import tables
from tests.readers import READERS

pytestmark = pytest.mark.slow

SLOW = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large]
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 300), st.floats(allow_nan=True, allow_infinity=True), st.text(max_size=5)
)
VALUES = st.one_of(SCALARS, st.lists(SCALARS, max_size=3), st.dictionaries(st.text(max_size=3), SCALARS, max_size=2))


def keys(node: Any, path: str = "") -> Iterator[str]:
    """Yield the paths of all keys below a node."""
    if isinstance(node, DictConfig):
        for name in node:
            yield f"{path}{name!s}"
            yield from keys(node._get_node(name), f"{path}{name!s}.")


@pytest.mark.thorough
@settings(max_examples=40, deadline=None, suppress_health_check=SLOW, derandomize=True)
@given(data=st.data())
def test_a_configuration_with_any_value_anywhere_is_checked(data: st.DataObject, tmp_path: Path) -> None:
    cfg = compose(data.draw(st.sampled_from(["task=digits", "task=mnist", "code=sum_corrected", "averaging=ema"])))
    places = [key for key in keys(cfg) if not key.startswith(("cache", "hydra"))]
    for key in data.draw(st.lists(st.sampled_from(places), min_size=1, max_size=3)):
        with suppress(OmegaConfBaseException):  # the schema refuses it at once
            OmegaConf.update(cfg, key, data.draw(VALUES), force_add=True)
    with suppress(ParmtrainError):
        check(cfg, RunFolder(tmp_path / "run"))


def mutated_json(content: Any, data: st.DataObject) -> Any:
    """Replace, remove or add one value somewhere in plain values."""
    if isinstance(content, dict) and content and data.draw(st.integers(0, 3)):
        key = data.draw(st.sampled_from(sorted(content)))
        return {**content, key: mutated_json(content[key], data)}
    if isinstance(content, dict) and data.draw(st.booleans()):
        gone = data.draw(st.sampled_from(sorted(content))) if content else ""
        return {**{key: value for key, value in content.items() if key != gone}, "more": data.draw(VALUES)}
    return data.draw(VALUES)


@pytest.mark.thorough
@settings(max_examples=150, deadline=None, suppress_health_check=SLOW, derandomize=True)
@given(data=st.data())
def test_a_changed_configuration_of_a_run_is_refused_or_read(
    data: st.DataObject, finished: Result, tmp_path: Path
) -> None:
    stored = OmegaConf.to_container(OmegaConf.load(finished.folder / "config.yaml"))
    place = RunFolder(tmp_path)
    place.config.write_text(yaml.safe_dump(mutated_json(stored, data)))
    with suppress(ParmtrainError):
        stored_config(place)


def mutated(content: bytes, other: bytes, data: st.DataObject) -> bytes:
    """Truncate bytes, flip some of them, swap two parts, or replace a part by one of another file."""
    at = st.integers(0, max(0, len(content) - 1))
    kind = data.draw(st.sampled_from(["cut", "flip", "swap", "splice", "header"]))
    if kind == "cut":
        return content[: data.draw(at)]
    if kind == "flip":
        changed = bytearray(content)
        for place in data.draw(st.lists(at, min_size=1, max_size=8)):
            changed[place] ^= data.draw(st.integers(1, 255))
        return bytes(changed)
    if kind == "header":
        changed = bytearray(content)
        for place in data.draw(st.lists(st.integers(0, min(63, len(content) - 1)), min_size=1, max_size=4)):
            changed[place] = data.draw(st.integers(0, 255))
        return bytes(changed)
    begin, end = sorted((data.draw(at), data.draw(at)))
    return content[end:] + content[begin:end] + content[:begin] if kind == "swap" else content[:begin] + other[begin:]


@pytest.mark.thorough
@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_raises_an_error_of_parmtrain_or_none(name: str, tmp_path: Path) -> None:
    reader = READERS[name]
    path = reader.make(tmp_path)
    content, other = path.read_bytes(), (Path(__file__).parent / "formats.py").read_bytes()
    reader.read(path)  # whole, it can be read

    @settings(max_examples=40, deadline=None, suppress_health_check=SLOW, derandomize=True, database=None)
    @given(data=st.data())
    def damage(data: st.DataObject) -> None:
        path.write_bytes(mutated(content, other, data))
        with suppress(ParmtrainError):
            reader.read(path)

    damage()


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["export/bundle.json", "metrics.json"])
def test_a_changed_record_is_refused_or_read(name: str, finished: Result, tmp_path: Path) -> None:
    shutil.copytree(finished.folder, tmp_path / "run")
    path = tmp_path / "run" / name
    content = json.loads(path.read_text())

    @settings(max_examples=150, deadline=None, suppress_health_check=SLOW, derandomize=True, database=None)
    @given(data=st.data())
    def change(data: st.DataObject) -> None:
        path.write_text(json.dumps(mutated_json(content, data)))
        with suppress(ParmtrainError):
            if name == "metrics.json":
                rows_of([("", readable_metrics(RunFolder(tmp_path / "run")))])
            else:
                read_description(path.parent)

    change()


@pytest.mark.thorough
def test_a_damaged_checkpoint_is_a_fault(finished: Result, tmp_path: Path) -> None:
    content = (finished.folder / "checkpoints" / "last.ckpt").read_bytes()
    path = tmp_path / "last.ckpt"
    cfg = compose(f"ckpt_path={path}", "trainer.max_epochs=3", "deployed.fit.epochs=4")

    @settings(max_examples=40, deadline=None, suppress_health_check=SLOW, derandomize=True, database=None)
    @given(data=st.data())
    def damage(data: st.DataObject) -> None:
        path.write_bytes(mutated(content, content[::-1], data))
        list(resume_faults(cfg, RunFolder(tmp_path / "run"), None))

    damage()


def test_a_table_with_odd_cells_is_refused(tmp_path: Path) -> None:
    tables.table(tmp_path)
    with (tmp_path / "t.csv").open(newline="") as file:
        (line,) = csv.DictReader(file)
    for name, cell in ((key, odd) for key in line for odd in ("", "nan", "-1", "1e999", "[]", "\x01")):
        with (tmp_path / "odd.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(line))
            writer.writeheader()
            writer.writerow({**line, name: cell})
        with suppress(ParmtrainError):
            candidates(tmp_path / "odd.csv", AdviceSettings())
