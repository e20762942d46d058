"""Lightning callbacks that tell how far a training is."""

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, RichProgressBar

from parmtrain.progress import Lines, in_bars, in_lines


def telling(title: str) -> list[Callback]:
    """Return callbacks that tell how far a training is: by a bar, by lines, or not at all.

    Args:
        title: What is trained.
    """
    return [Bar(), *([EpochLines(title)] if in_lines() else [])]


class Bar(RichProgressBar):
    """Show a progress bar that adds little time to small steps and disappears when training ends."""

    def __init__(self) -> None:
        super().__init__(refresh_rate=50)
        if not in_bars():
            self.disable()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Advance the bar only when the screen is refreshed."""
        if (batch_idx + 1) % self.refresh_rate == 0 or trainer.is_last_batch:
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        """Leave out the version number of a logger."""
        metrics = super().get_metrics(trainer, pl_module)
        return {name: value for name, value in metrics.items() if name != "v_num"}


class EpochLines(Callback):
    """Print a line every few seconds: the epoch, the time that is left, and what the last validation found.

    Args:
        title: What is trained.
    """

    def __init__(self, title: str) -> None:
        self.title = title
        self._lines: Lines | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        epochs = trainer.max_epochs if trainer.max_epochs and trainer.max_epochs > 0 else None
        self._lines = Lines(f"{self.title}, epochs", epochs, trainer.current_epoch)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Print a line if one is due."""
        if self._lines is None or not trainer.is_global_zero:
            return
        done = trainer.current_epoch + (batch_idx + 1) / trainer.num_training_batches
        found = {name: value for name, value in trainer.callback_metrics.items() if name.startswith("val/degraded")}
        self._lines.tell(round(done, 1), " ".join(f"{name} {float(value):.4f}" for name, value in found.items()))

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print a last line after others."""
        if self._lines is not None and trainer.is_global_zero:
            self._lines.end(trainer.current_epoch)
