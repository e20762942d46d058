"""A callback."""

from pathlib import Path

import pytorch_lightning as pl


class Diary(pl.Callback):
    """Write the number of each epoch that ended to a file."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write a line."""
        with self.path.open("a") as file:
            file.write(f"{trainer.current_epoch}\n")
