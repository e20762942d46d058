"""A run that stops early keeps a checkpoint from which the same training goes on, and no other."""

from pathlib import Path
from typing import Any

import pytest
import torch

from parmtrain.errors import Interrupted, TrainingError
from parmtrain.prepared import Prepared
from parmtrain.runs import Result
from tests.small_runs import figures, small_run


@pytest.mark.slow
def test_interrupted_and_resumed_equals_uninterrupted(
    finished: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from parmtrain.training import losses

    true_loss, calls = losses.kl, 0

    def cut_off(groups: Any) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == 20:  # in the second epoch
            raise KeyboardInterrupt
        return true_loss(groups)

    monkeypatch.setattr(losses, "kl", cut_off)
    with pytest.raises(Interrupted) as stopped:
        small_run(tmp_path / "first")
    assert stopped.value.checkpoint == tmp_path / "first" / "checkpoints" / "last.ckpt"
    monkeypatch.undo()
    resumed = small_run(tmp_path / "moved", f"ckpt_path={stopped.value.checkpoint}")
    assert figures(resumed) == figures(finished)
    same_folder = small_run(tmp_path / "first")  # the same call resumes
    assert figures(same_folder) == figures(finished)
    assert (tmp_path / "first" / "logs" / "version_0" / "metrics.csv").exists()


@pytest.mark.slow
def test_interrupted_after_training_resumes_too(
    finished: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_off(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Prepared, "evaluate", cut_off)
    with pytest.raises(Interrupted) as stopped:
        small_run(tmp_path)
    monkeypatch.undo()
    assert figures(small_run(tmp_path, f"ckpt_path={stopped.value.checkpoint}")) == figures(finished)


def test_a_checkpoint_without_a_configuration_is_resumed_with_a_warning(
    finished: Result, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content = torch.load(finished.folder / "checkpoints" / "last.ckpt", weights_only=True)
    del content["configuration"], content["data"]  # as before 0.2
    torch.save(content, tmp_path / "last.ckpt")
    with pytest.raises(TrainingError, match="with steps 81, got 27"):
        small_run(tmp_path / "run", f"ckpt_path={tmp_path / 'last.ckpt'}", "trainer.max_epochs=9")
    assert "last.ckpt does not state its configuration" in caplog.text


def test_a_checkpoint_of_other_data_is_refused(finished: Result, tmp_path: Path) -> None:
    content = torch.load(finished.folder / "checkpoints" / "last.ckpt", weights_only=True)
    torch.save({**content, "data": "other"}, tmp_path / "last.ckpt")
    with pytest.raises(TrainingError, match="of a training on the same data, but the data has changed since"):
        small_run(tmp_path / "run", f"ckpt_path={tmp_path / 'last.ckpt'}")


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_good_state(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"the loss became nan at step \d+ \(epoch 0, batch \d+\); the last good"):
        small_run(tmp_path, "optim.lr=1e30")
    kept = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert all(value.isfinite().all() for value in kept.values())
    assert not (tmp_path / "metrics.json").exists()
