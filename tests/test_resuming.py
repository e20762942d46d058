"""A run that stops early keeps a checkpoint from which the same training goes on, and no other."""

import errno
import os
import shutil
from math import inf
from pathlib import Path
from typing import Any

import pytest
import torch

from parmtrain.errors import Interrupted, TrainingError
from parmtrain.prepared import Prepared
from parmtrain.result import Result
from parmtrain.run_folder import RunFolder
from parmtrain.training import callbacks
from parmtrain.training.checkpoints import AtomicCheckpoints
from tests.small_runs import figures, small_run

pytestmark = pytest.mark.slow


def cut_off(*arguments: Any, **more: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("broken", [False, True], ids=["", "while a file was being closed"])
def test_interrupted_and_resumed_equals_uninterrupted(
    broken: bool, finished: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from parmtrain.training import losses

    true_loss, calls = losses.kl, 0

    def cut_off_later(groups: Any) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == 20:  # in the second epoch
            try:
                raise KeyboardInterrupt
            finally:
                if broken:
                    raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return true_loss(groups)

    monkeypatch.setattr(losses, "kl", cut_off_later)
    with pytest.raises(Interrupted) as stopped:
        small_run(tmp_path / "first")
    assert stopped.value.checkpoint == tmp_path / "first" / "checkpoints" / "last.ckpt"
    monkeypatch.undo()
    resumed = small_run(tmp_path / "moved", f"ckpt_path={stopped.value.checkpoint}")
    assert figures(resumed) == figures(finished)
    same_folder = small_run(tmp_path / "first")  # the same call resumes
    assert figures(same_folder) == figures(finished)
    assert (tmp_path / "first" / "logs" / "version_0" / "metrics.csv").exists()


def test_interrupted_after_training_resumes_too(
    finished: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Prepared, "evaluate", cut_off)
    with pytest.raises(Interrupted) as stopped:
        small_run(tmp_path)
    monkeypatch.undo()
    assert figures(small_run(tmp_path, f"ckpt_path={stopped.value.checkpoint}")) == figures(finished)


STEADY = ("optim.lr=1e-12", "trainer.max_epochs=6")  # the first epoch stays the best one


def epoch_of(checkpoint: Path) -> int:
    return int(torch.load(checkpoint, weights_only=True)["epoch"])


def stopping_when_saving(monkeypatch: pytest.MonkeyPatch, name: str, write: int, later: bool = False) -> None:
    """Interrupt a training at one write of a checkpoint, before the file is there or after."""
    save, writes = AtomicCheckpoints.save_checkpoint, 0

    def stopping(self: Any, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
        nonlocal writes
        writes += Path(path).name == name and "checkpoints" in Path(path).parts
        if writes < write or later:
            save(self, checkpoint, path, storage_options)
        if writes == write:
            raise KeyboardInterrupt

    monkeypatch.setattr(AtomicCheckpoints, "save_checkpoint", stopping)


@pytest.mark.thorough
def test_the_last_state_is_saved_also_when_no_epoch_is_better(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callbacks, "SPARING", inf)  # on a slow machine, too, only the first and the last one are saved
    place = RunFolder(tmp_path / "whole")
    whole = small_run(place.path, *STEADY)
    assert (epoch_of(place.best), epoch_of(place.last)) == (0, 6)
    monkeypatch.setattr(callbacks, "SPARING", 0)
    stopping_when_saving(monkeypatch, "last.ckpt", 5, later=True)  # the first one is written before the first epoch
    place = RunFolder(tmp_path / "stopped")
    with pytest.raises(Interrupted):
        small_run(place.path, *STEADY)
    assert (epoch_of(place.best), epoch_of(place.last)) == (0, 3)
    monkeypatch.undo()
    assert figures(small_run(place.path, *STEADY)) == figures(whole)


@pytest.mark.parametrize("write", [1, 2])
def test_stopped_between_the_best_epoch_and_the_last_state(
    write: int, finished: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopping_when_saving(monkeypatch, "last.ckpt", write + 1)
    with pytest.raises(Interrupted):
        small_run(tmp_path)
    place = RunFolder(tmp_path)
    assert epoch_of(place.best) == write - 1
    assert torch.load(place.last, weights_only=True)["global_step"] == 9 * (write - 1)
    monkeypatch.undo()
    assert figures(small_run(tmp_path)) == figures(finished)


@pytest.mark.thorough
def test_a_training_that_a_callback_has_stopped_stays_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    early = (*STEADY, "callbacks=[early_stopping]", "callbacks.early_stopping.patience=2")
    whole = small_run(tmp_path / "whole", *early)
    assert whole.metrics["training"]["epochs"] == 3
    monkeypatch.setattr(Prepared, "evaluate", cut_off)
    with pytest.raises(Interrupted):
        small_run(tmp_path / "stopped", *early)
    monkeypatch.undo()
    assert figures(small_run(tmp_path / "stopped", *early)) == figures(whole)


def test_a_run_without_its_last_state_starts_over_and_says_so(
    finished: Result, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = RunFolder(tmp_path / "run")
    shutil.copytree(finished.folder, place.path)
    place.metrics.unlink()
    place.last.unlink()
    assert figures(small_run(place.path)) == figures(finished)
    said = f"starting over: {place.path} holds an unfinished run, but not its last state, {place.last}"
    assert [record.message for record in caplog.records].count(said) == 1


def test_a_checkpoint_without_a_configuration_is_resumed_with_a_warning(
    finished: Result, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints = finished.folder / "checkpoints"
    content = torch.load(checkpoints / "last.ckpt", weights_only=True)
    del content["configuration"], content["data"]  # as before 0.2
    torch.save(content, tmp_path / "last.ckpt")
    shutil.copy(checkpoints / "best.ckpt", tmp_path)
    with pytest.raises(TrainingError, match="with steps 81, got 27"):
        small_run(tmp_path / "run", f"ckpt_path={tmp_path / 'last.ckpt'}", "trainer.max_epochs=9")
    assert "last.ckpt does not state its configuration" in caplog.text


def test_a_checkpoint_of_other_data_is_refused(finished: Result, tmp_path: Path) -> None:
    checkpoints = finished.folder / "checkpoints"
    content = torch.load(checkpoints / "last.ckpt", weights_only=True)
    torch.save({**content, "data": "other"}, tmp_path / "last.ckpt")
    shutil.copy(checkpoints / "best.ckpt", tmp_path)
    with pytest.raises(TrainingError, match="of a training on the same data, but the data has changed since"):
        small_run(tmp_path / "run", f"ckpt_path={tmp_path / 'last.ckpt'}")


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_good_state(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"the loss became nan at step \d+ \(epoch 0, batch \d+\); the last good"):
        small_run(tmp_path, "optim.lr=1e30")
    kept = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert all(value.isfinite().all() for value in kept.values())
    assert not (tmp_path / "metrics.json").exists()
