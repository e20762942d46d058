"""Every fault of a configuration is said in one sentence, before any work."""

from pathlib import Path

import pytest
import torch
from torch import nn

from parmtrain.config.check import check
from parmtrain.config.compose import compose
from parmtrain.config.overrides import override_faults
from parmtrain.models import MLP
from parmtrain.run_folder import RunFolder
from tests.found_faults import faults


@pytest.mark.slow
def test_a_learned_code_needs_a_deployed_model_that_passes_gradients(tmp_path: Path) -> None:
    network = MLP([1, 8, 8], 10)

    class Opaque(nn.Module):
        def forward(self, queries: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():
                predictions: torch.Tensor = network(queries)
            return predictions

    assert faults(tmp_path, "code=learned_mlp", given=network) == []
    (fault,) = faults(tmp_path, "code=learned_mlp", given=Opaque())
    assert fault.startswith("the deployed model must pass gradients back for code=learned_mlp, got none")


def test_a_code_that_trains_nothing_has_nothing_to_go_on_with(tmp_path: Path) -> None:
    last = tmp_path / "last.ckpt"
    torch.save({"state_dict": {}, "loops": {}}, last)
    *_, fault = faults(tmp_path / "run", "code=berrut_b", f"ckpt_path={last}")
    assert fault.endswith("ckpt_path must be null for code=berrut_b, which has no training to resume")


@pytest.mark.slow
def test_all_faults_are_named_at_once(tmp_path: Path) -> None:
    data = ("task=cifar10", f"data.root={tmp_path}", "data.download=false")
    found = faults(tmp_path, "k=1", "groups=0", "optim.lr=fast", *data, "ckpt_path=/nowhere")
    for beginning in ("k must", "groups must", "optim.lr must", "ckpt_path must", "CIFAR-10 is missing"):
        assert sum(fault.startswith(beginning) for fault in found) == 1, found
    assert len(found) == 5


@pytest.mark.slow
def test_concat_needs_room_for_its_grid(tmp_path: Path) -> None:
    assert faults(tmp_path, "code=concat", "k=5") == []
    assert "needs images of 10×10 pixels or more, got 8×8" in faults(tmp_path, "code=concat", "k=100")[0]


@pytest.mark.slow
def test_missing_data_names_the_folder_and_the_key(tmp_path: Path) -> None:
    (fault,) = faults(tmp_path / "run", "task=cifar10", f"data.root={tmp_path}", "data.download=false")
    assert f"in the folder {tmp_path}/cifar-10-batches-py" in fault
    assert "set data.root=… to" in fault
    assert not (tmp_path / "cifar-10-batches-py").exists()


def test_a_deployed_model_of_another_task_is_refused(tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, given=MLP([1, 8, 8], 7))
    assert fault.startswith("the deployed model returns shape [2, 7] for 2 queries; expected [2, 10]")


@pytest.mark.slow
def test_a_finished_run_is_kept_unless_told(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text("{}")
    assert any("holds files that are no run's" in fault for fault in faults(tmp_path, "overwrite=true"))
    (tmp_path / "config.yaml").write_text("task: {}")
    (fault,) = faults(tmp_path)
    assert "holds a finished run" in fault
    assert faults(tmp_path, "overwrite=true") == []
    assert (tmp_path / "metrics.json").exists()


@pytest.mark.slow
def test_codes_on_a_search_path_are_no_faults(tmp_path: Path) -> None:
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "mine.yaml").write_text("_target_: parmtrain.codes.Sum\nk: ${k}\n")
    search = f"hydra.searchpath=['file://{tmp_path}']"
    (fault,) = override_faults(["code=mine", search, "k=two"])
    assert fault.startswith("k=two: must be an integer, got two")


def test_every_fault_has_the_key_that_it_is_about(tmp_path: Path) -> None:
    cfg = compose("groups=0", "optim.lr=fast", "task.classes=[a]", "ckpt_path=/nowhere")
    found = check(cfg, RunFolder(tmp_path))
    assert {fault.key for fault in found} == {"groups", "optim.lr", "task", "ckpt_path"}
