"""Lightning callbacks for training any model here: checkpoints, reproducible epochs, history."""

import time
from math import isfinite
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, ModelCheckpoint

from parmtrain.errors import TrainingError
from parmtrain.run_folder import BEST, LAST

SPARING = 1.0  # seconds between two states that are saved, if epochs take less


class Checkpoints(ModelCheckpoint):
    """Save the best epoch by one validation metric, and the last state.

    ``last.ckpt`` is written before the first epoch and at the end of each one, so an interrupted training resumes at
    the start of the epoch that it was in. Of epochs that take less than ``SPARING`` seconds, only some are saved: each
    best one, the very last one, and otherwise one per ``SPARING`` seconds, so that a training that is stopped or killed
    repeats hardly more than that. The best epoch is written before the state that tells of it: if only the first of the
    two is, the resumed training comes to the same best epoch again.

    Args:
        folder: Folder of the checkpoints.
        monitor: Validation metric, larger is better; None saves only the last state.
    """

    def __init__(self, folder: Path, monitor: str | None) -> None:
        super().__init__(
            dirpath=folder,
            filename=Path(BEST).stem,
            monitor=monitor,
            mode="max",
            save_top_k=1 if monitor else 0,
            save_on_train_epoch_end=True,
            enable_version_counter=False,
        )
        self.best, self.last = folder / BEST, folder / LAST
        self._step, self._time = 0, time.monotonic()  # of the last state that was saved

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the first ``last.ckpt``."""
        super().on_train_start(trainer, pl_module)
        self._step, self._time = trainer.global_step, time.monotonic()
        if trainer.current_epoch == 0:
            self._save_last(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the epoch if it is the best one, and then the last state."""
        before = self.best_model_score
        super().on_train_epoch_end(trainer, pl_module)
        due = self.best_model_score is not before or time.monotonic() - self._time >= SPARING
        if trainer.strategy.broadcast(due):
            self._save_last(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the last state, unless it is written already."""
        super().on_train_end(trainer, pl_module)
        if trainer.global_step != self._step:
            self._save_last(trainer)

    def _save_last(self, trainer: pl.Trainer) -> None:
        trainer.save_checkpoint(self.last)
        self._step, self._time = trainer.global_step, time.monotonic()

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Store whether a callback has stopped the training."""
        checkpoint["stopped"] = trainer.should_stop

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Leave a training stopped that was."""
        trainer.should_stop = checkpoint.get("stopped", False)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state from a checkpoint, whose folder may have moved."""
        here = str(self.last.parent.absolute())
        moved = {key: value for key, value in state_dict.items() if not key.endswith("_path")}
        scores = {str(self.best.absolute()): score for score in state_dict["best_k_models"].values()}
        best, last = str(self.best.absolute()), str(self.last.absolute())
        paths = {"best_model_path": best, "last_model_path": last, "kth_best_model_path": best}
        super().load_state_dict({**moved, **paths, "dirpath": here, "best_k_models": scores})


def tells_of_a_best(content: dict[str, Any]) -> bool:
    """Return whether a checkpoint is of a training that had a best epoch already, which is in a file of its own."""
    states = [state for key, state in content["callbacks"].items() if key.startswith(Checkpoints.__qualname__)]
    return any(state.get("best_k_models") for state in states)


class SameTraining(Callback):
    """Store what a training depends on in its checkpoints, and resume only from those of the same training.

    Args:
        configuration: Keys of the configuration that it depends on, with plain values.
        data: Digest of the training and validation data.
    """

    def __init__(self, configuration: dict[str, Any], data: str) -> None:
        self.configuration, self.data = configuration, data

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Store both."""
        checkpoint["configuration"], checkpoint["data"] = self.configuration, self.data

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Raise a ``TrainingError`` if the checkpoint is of a training on other data."""
        if checkpoint.get("data", self.data) != self.data:
            raise TrainingError(
                "ckpt_path must be a checkpoint of a training on the same data, but the data has changed since; start "
                "over with overwrite=true"
            )


class ReproducibleEpochs(Callback):
    """Seed PyTorch from seed, epoch and process, so a resumed training draws the same random numbers.

    Args:
        seed: The run's seed.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Seed the generators of all devices."""
        torch.manual_seed(self.seed * 1_000_003 + trainer.current_epoch + (trainer.global_rank << 48))


class FiniteLoss(Callback):
    """Stop training at the first loss that is NaN or infinite, before it reaches a checkpoint.

    Args:
        last_good: The last good checkpoint, which the error names.
    """

    def __init__(self, last_good: Path) -> None:
        self.last_good = last_good

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Check the loss of one step; raise a ``TrainingError`` that names the step."""
        loss = outputs["loss"].item()
        if not isfinite(loss):
            raise TrainingError(
                f"the loss became {loss} at step {trainer.global_step} (epoch "
                f"{trainer.current_epoch}, batch {batch_idx}); the last good state is in {self.last_good}; "
                "try a lower optim.lr or trainer.gradient_clip_val=1"
            )


class History(Callback):
    """Record the metrics of every epoch and the training time, across resumptions.

    Attributes:
        epochs: The logged metrics of each finished epoch.
        seconds: Time spent in training epochs, without validation.
    """

    def __init__(self) -> None:
        self.epochs: list[dict[str, float]] = []
        self.seconds = 0.0
        self._since: float | None = None

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._since = time.perf_counter()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the clock."""
        self._stop()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the clock, unless validation did, and record the metrics."""
        self._stop()
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self.epochs.append({"epoch": trainer.current_epoch, **metrics})

    def _stop(self) -> None:
        if self._since is not None:
            self.seconds += time.perf_counter() - self._since
            self._since = None

    def state_dict(self) -> dict[str, Any]:
        """Return the state to save in a checkpoint."""
        return {"epochs": self.epochs, "seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state from a checkpoint."""
        self.epochs, self.seconds = list(state_dict["epochs"]), state_dict["seconds"]
