"""Fitting any Lightning module here: resumable, quiet, and with one sentence for what goes wrong."""

import logging
import warnings
from pathlib import Path

import pytorch_lightning as pl
from lightning_fabric.utilities.exceptions import MisconfigurationException

from parmtrain.errors import Interrupted, TrainingError

EXPECTED = (
    ".*does not have many workers.*",  # queries in memory need none
    ".*Checkpoint directory .* exists.*",  # a run that goes on
    ".*isinstance\\(treespec, LeafSpec\\).*",  # PyTorch about Lightning
    ".*number of training batches .* smaller than the logging interval.*",
    ".*could not find the monitored key.*",  # an epoch without validation keeps no checkpoint
    ".*trying to infer the `batch_size`.*",
)


def fit(trainer: pl.Trainer, module: pl.LightningModule, data: pl.LightningDataModule, resume: Path | None) -> None:
    """Fit a module.

    Args:
        trainer: With a ``Checkpoints`` callback.
        module: What to fit.
        data: What to fit it on.
        resume: Checkpoint to go on from.

    Raises:
        Interrupted: If the user stops it; the error names the checkpoint to go on from.
        TrainingError: If the checkpoint is not one of this training.
    """
    last = trainer.checkpoint_callback.last  # type: ignore[union-attr]
    try:
        with warnings.catch_warnings():
            for message in EXPECTED:
                warnings.filterwarnings("ignore", message)
            trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=True)
    except (SystemExit, KeyboardInterrupt) as stop:  # Lightning makes an exit of Ctrl-C
        if not last.is_file():
            raise KeyboardInterrupt from stop
        raise Interrupted(last) from stop
    except MisconfigurationException as fault:
        raise TrainingError(str(fault)) from fault


def quiet() -> None:
    """Let Lightning speak of what is wrong alone."""
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning.fabric", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
