"""A classifier in a folder of transformers is a deployed model, with its own network as parity model."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from parmtrain import load
from parmtrain.errors import DeployedModelError
from parmtrain.hugging_face import read_hugging_face
from tests.small_runs import small_run

transformers = pytest.importorskip("transformers", reason="needs pip install 'parmtrain[hugging_face]'")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hugging") / "face"
    config = transformers.ResNetConfig(
        num_channels=1, embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", num_labels=3
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.ResNetForImageClassification(config).eval().save_pretrained(folder)
    return folder


@pytest.mark.parametrize("code", [pytest.param("sum", marks=pytest.mark.thorough), "concat_heads"])
def test_a_folder_is_a_deployed_model(code: str, folder: Path, tmp_path: Path) -> None:
    for split, count in (("train", 40), ("val", 16), ("test", 16)):
        np.save(tmp_path / f"{split}_queries.npy", np.random.default_rng(0).random((count, 1, 16, 16)))
    task = ("task=arrays", f"data.root={tmp_path}", "task.query_shape=[1,16,16]", "task.outputs=3", "groups=8")
    result = small_run(tmp_path / "run", *task, f"deployed.path={folder}", "trainer.max_epochs=1", f"code={code}")
    assert result.metrics["cost"]["parity_flops"] == pytest.approx(1, abs=0.1)
    shutil.copytree(tmp_path / "run" / "export", tmp_path / "elsewhere")
    queries = torch.rand(3, 2, 1, 16, 16)
    own = read_hugging_face(folder)(queries.flatten(0, 1)).logits.unflatten(0, (3, 2))
    assert torch.allclose(load(tmp_path / "elsewhere").reconstruct(queries)[:, 1], own[:, 1], atol=1e-5)


def test_a_folder_without_all_weights_is_refused(folder: Path, tmp_path: Path) -> None:
    model = transformers.ResNetForImageClassification.from_pretrained(folder)
    model.resnet.save_pretrained(tmp_path)
    about = json.loads((tmp_path / "config.json").read_text()) | {"architectures": ["ResNetForImageClassification"]}
    (tmp_path / "config.json").write_text(json.dumps(about))
    with pytest.raises(DeployedModelError, match=r"all weights of a ResNetForImageClassification, but .*random"):
        read_hugging_face(tmp_path)


def test_what_is_no_classifier_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(DeployedModelError, match=r"must hold model.safetensors, got none"):
        read_hugging_face(tmp_path)
    shutil.copy(folder / "model.safetensors", tmp_path)
    with pytest.raises(DeployedModelError, match=r"must name a classifier of images or sounds .*, got none"):
        read_hugging_face(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["BertModel"]}))
    with pytest.raises(DeployedModelError, match=r"must name a classifier .*, got BertModel"):
        read_hugging_face(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(DeployedModelError, match=r"config.json must be valid JSON"):
        read_hugging_face(tmp_path)
