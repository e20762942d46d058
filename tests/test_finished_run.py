"""A run folder that parmtrain 0.1.0 wrote before its modules had rooms of their own still evaluates and serves."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.utils import get_object
from omegaconf import OmegaConf

from parmtrain.errors import DataError
from parmtrain.evaluate import evaluate
from parmtrain.serving.front.served import read_served
from parmtrain.serving.settings import ServeSettings

KEPT = Path(__file__).parent / "finished_run"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(KEPT, tmp_path / "run"))


def test_it_scores_as_it_did(folder: Path) -> None:
    stated = json.loads((folder / "metrics.json").read_text())
    scores = evaluate(folder, path=str(folder / "f.pt"))
    for part in ("available", "nobody_late", "degraded", "all_k", "overall", "default"):
        for name, figure in stated[part].items():
            if not isinstance(figure, dict):
                assert scores[part][name] == pytest.approx(figure, abs=1e-6), (part, name)


def test_it_is_served(folder: Path) -> None:
    served = read_served(ServeSettings(bundle=str(folder), k=2, deployed=str(folder / "f.pt")))
    assert served.query_shape == (1, 8, 8)
    assert served.scheme.recoverable(0b100) == 0b11
    outputs = served.bundle.predict(served.bundle.encode(torch.rand(3, 2, 1, 8, 8)))
    assert outputs.shape == (3, 1, 20)


def targets(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "_target_" in node:
            yield node["_target_"]
        for value in node.values():
            yield from targets(value)
    elif isinstance(node, list):
        for value in node:
            yield from targets(value)


def test_all_that_its_configuration_names_is_there() -> None:
    named = set(targets(OmegaConf.to_container(OmegaConf.load(KEPT / "config.yaml"))))
    assert {"parmtrain.losses.mixed", "parmtrain.schedules.cosine"} <= named
    assert all(callable(get_object(name)) for name in named)
    for older in ("box_losses.giou", "box_losses.smooth_l1", "schedules.constant", "losses.decoded_mse"):
        assert callable(get_object(f"parmtrain.{older}"))


@pytest.mark.parametrize("content", ["{", "just words", "k: 2", "\x00"])
def test_a_damaged_configuration_is_named(content: str, folder: Path) -> None:
    (folder / "config.yaml").write_text(content)
    with pytest.raises(DataError, match=r"config\.yaml (cannot be read|must be the configuration of a run)"):
        evaluate(folder)
