"""Bundles that come with parmtrain load at once, reconstruct, and are small."""

from pathlib import Path

import pytest
import torch

from parmtrain import load
from parmtrain.bundle.examples import FOLDER, examples, located
from parmtrain.errors import ExportError

MOST = 3 * 2**20


@pytest.mark.parametrize("name", examples())
def test_an_example_reconstructs_and_has_a_card(name: str) -> None:
    bundle = load(f"example:{name}")
    queries = torch.rand(5, bundle.k, *bundle.query_shape)
    assert bundle.reconstruct(queries).shape == (5, bundle.k, bundle.outputs)
    assert bundle.about["task"] == name
    degraded = bundle.about["metrics"]["degraded"]["accuracy"]
    assert degraded > 0.88
    assert f"{degraded:.4f}" in (bundle.folder / "README.md").read_text()
    assert f"task={name} code={bundle.about['code']}" in (FOLDER / "README.md").read_text()


def test_they_are_small() -> None:
    assert len(examples()) == 3
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) < MOST


def test_a_name_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="example:letters must be one of example:digits, example:fashion_mnist, "):
        load("example:letters")
    assert located(tmp_path) == tmp_path
