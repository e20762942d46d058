"""Fit any Lightning module here: resumable, quiet, and with one-sentence errors."""

import csv
import logging
import warnings
from pathlib import Path

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.strategies.launchers import _MultiProcessingLauncher
from torch.multiprocessing.spawn import ProcessRaisedException

from parmtrain.errors import Interrupted, TrainingError, interruptions, raised_in, reason_of
from parmtrain.training.callbacks import Checkpoints

EXPECTED = (
    ".*does not have many workers.*",  # queries in memory need none
    ".*Checkpoint directory .* exists.*",  # a resumed run
    ".*isinstance\\(treespec, LeafSpec\\).*",  # PyTorch about Lightning
    ".*number of training batches .* smaller than the logging interval.*",
    ".*could not find the monitored key.*",  # an epoch without validation saves no checkpoint
    ".*trying to infer the `batch_size`.*",
    ".*`weights_only` was not set.*",
)


def fit(trainer: pl.Trainer, module: pl.LightningModule, data: pl.LightningDataModule, resume: Path | None) -> None:
    """Fit a module.

    Args:
        trainer: With a ``Checkpoints`` callback.
        module: What to fit.
        data: What to fit it on.
        resume: Checkpoint to resume from, if any.

    Raises:
        Interrupted: If the user stops it; the error names the checkpoint to resume from.
        TrainingError: If the checkpoint is from another training, or training fails.
    """
    last = next(one for one in trainer.checkpoint_callbacks if isinstance(one, Checkpoints)).last
    try:
        with warnings.catch_warnings(), interruptions():
            _expect_warnings()
            trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=True)
    except (SystemExit, KeyboardInterrupt) as stop:  # Lightning turns Ctrl-C into an exit
        if not last.is_file():
            raise KeyboardInterrupt from stop
        raise Interrupted(last) from stop
    except MisconfigurationException as fault:
        raise TrainingError(str(fault)) from fault
    except ValueError as fault:
        if not raised_in(fault, "pytorch_lightning"):
            raise
        raise TrainingError(reason_of(fault)) from fault
    except ProcessRaisedException as fault:  # an error in a child process arrives as the text of a traceback
        raise TrainingError(str(fault).strip().splitlines()[-1].partition(": ")[2]) from fault
    if starts_processes(trainer):
        _remember(trainer, last)


def starts_processes(trainer: pl.Trainer) -> bool:
    """Whether a trainer sends the module to processes that it starts itself."""
    return isinstance(trainer.strategy.launcher, _MultiProcessingLauncher)


def _remember(trainer: pl.Trainer, last: Path) -> None:
    """Restore what callbacks and loggers recorded in the training processes, which have ended."""
    noted = torch.load(last, map_location="cpu", weights_only=True)["callbacks"]
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if callback.state_key in noted:
            callback.load_state_dict(noted[callback.state_key])
    for logger in trainer.loggers:
        if isinstance(logger, CSVLogger):  # rewrites its file when it meets an unknown column
            with open(logger.experiment.metrics_file_path, encoding="utf-8", newline="") as file:
                logger.experiment.metrics_keys = next(csv.reader(file), [])


def quiet() -> None:
    """Silence everything but errors from Lightning."""
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning.fabric", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)


class QuietProcesses(pl.Callback):
    """Keep Lightning quiet in the training processes that it starts, too."""

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Set up one process."""
        quiet()
        _expect_warnings()


def _expect_warnings() -> None:
    for message in EXPECTED:
        warnings.filterwarnings("ignore", message)
