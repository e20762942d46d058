"""Fitting any Lightning module here: resumable, quiet, and with one sentence for what goes wrong."""

import csv
import logging
import warnings
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.strategies.launchers import _MultiProcessingLauncher
from torch.multiprocessing.spawn import ProcessRaisedException

from parmtrain.errors import Interrupted, TrainingError

EXPECTED = (
    ".*does not have many workers.*",  # queries in memory need none
    ".*Checkpoint directory .* exists.*",  # a run that goes on
    ".*isinstance\\(treespec, LeafSpec\\).*",  # PyTorch about Lightning
    ".*number of training batches .* smaller than the logging interval.*",
    ".*could not find the monitored key.*",  # an epoch without validation keeps no checkpoint
    ".*trying to infer the `batch_size`.*",
    ".*`weights_only` was not set.*",
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
            _expect_warnings()
            trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=True)
    except (SystemExit, KeyboardInterrupt) as stop:  # Lightning makes an exit of Ctrl-C
        if not last.is_file():
            raise KeyboardInterrupt from stop
        raise Interrupted(last) from stop
    except MisconfigurationException as fault:
        raise TrainingError(str(fault)) from fault
    except ProcessRaisedException as fault:  # what a process of its own raised comes as a traceback's text
        raise TrainingError(str(fault).strip().splitlines()[-1].partition(": ")[2]) from fault
    if isinstance(trainer.strategy.launcher, _MultiProcessingLauncher):
        _remember(trainer, last)


def _remember(trainer: pl.Trainer, last: Path) -> None:
    """Give callbacks and loggers back what they noted in the processes that trained, and which ended with these."""
    noted = torch.load(last, map_location="cpu", weights_only=True)["callbacks"]
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if callback.state_key in noted:
            callback.load_state_dict(noted[callback.state_key])
    for logger in trainer.loggers:
        if isinstance(logger, CSVLogger):  # which rewrites its file for a column that it does not know of
            with open(logger.experiment.metrics_file_path, encoding="utf-8", newline="") as file:
                logger.experiment.metrics_keys = next(csv.reader(file), [])


def quiet() -> None:
    """Let Lightning speak of what is wrong alone."""
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning.fabric", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)


class QuietProcesses(pl.Callback):
    """Keep Lightning as quiet in processes that it starts for a training as it is here."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _begin_quietly, ()  # which a process calls as it reads what it was sent, before all else


def _begin_quietly() -> QuietProcesses:
    quiet()
    _expect_warnings()
    return QuietProcesses()


def _expect_warnings() -> None:
    for message in EXPECTED:
        warnings.filterwarnings("ignore", message)
