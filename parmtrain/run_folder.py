"""The folder of a run: the names of its files, and functions to read them."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from parmtrain.errors import DataError, reason_of

BEST, LAST = "best.ckpt", "last.ckpt"


@dataclass(frozen=True)
class RunFolder:
    """The folder that a run writes to.

    Args:
        path: The folder, which need not exist.

    Example:
        >>> RunFolder(Path("runs/mine")).metrics.as_posix(), RunFolder(Path("runs/mine")).finished
        ('runs/mine/metrics.json', False)
    """

    path: Path

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.path / "config.yaml"

    @property
    def metrics(self) -> Path:
        """All results; written last, so a run that has this file is finished."""
        return self.path / "metrics.json"

    @property
    def checkpoints(self) -> Path:
        """Folder of the best and the last checkpoint."""
        return self.path / "checkpoints"

    @property
    def best(self) -> Path:
        """Checkpoint of the epoch with the best validation score."""
        return self.checkpoints / BEST

    @property
    def last(self) -> Path:
        """Checkpoint to resume from."""
        return self.checkpoints / LAST

    @property
    def deployed(self) -> Path:
        """The deployed model's weights, if it was trained for this run and not given."""
        return self.path / "deployed.pt"

    @property
    def logs(self) -> Path:
        """Folder of the logs."""
        return self.path / "logs"

    @property
    def export(self) -> Path:
        """Folder of the exported bundle."""
        return self.path / "export"

    @property
    def exports(self) -> Path:
        """Folder of the run in other formats."""
        return self.path / "exports"

    @property
    def training_curves(self) -> Path:
        """Plot of losses and validation metrics."""
        return self.path / "training.png"

    @property
    def confidence(self) -> Path:
        """Plot of how far reconstructions can be trusted."""
        return self.path / "confidence.png"

    @property
    def overall_accuracy(self) -> Path:
        """Plot of A_o against the fraction of unavailable predictions f_u."""
        return self.path / "overall_accuracy.png"

    @property
    def examples(self) -> Path:
        """Picture of example coding groups."""
        return self.path / "examples.png"

    @property
    def finished(self) -> bool:
        """Whether the folder holds a finished run."""
        return self.metrics.is_file()

    @property
    def no_run(self) -> str | None:
        """Why the folder does not hold the configuration of a run; None if it does."""
        if not self.config.is_file():
            return f"{self.config} does not exist"
        try:
            self.read_config()
        except DataError as fault:
            return str(fault)
        return None

    @property
    def begun(self) -> bool:
        """Whether the folder holds a run that is not finished, perhaps without a state to resume."""
        return not self.finished and (self.last.is_file() or self.no_run is None)

    @property
    def unfinished(self) -> bool:
        """Whether the folder holds an interrupted run that can be resumed."""
        return not self.finished and self.last.is_file()

    def clear(self) -> None:
        """Remove an earlier run, starting with the file that marks it as finished."""
        pictures = (self.training_curves, self.confidence, self.overall_accuracy, self.examples)
        for file in (self.metrics, self.deployed, *pictures):
            file.unlink(missing_ok=True)
        for folder in (self.checkpoints, self.logs, self.export, self.exports):
            shutil.rmtree(folder, ignore_errors=True)

    def read_config(self) -> DictConfig:
        """Return the configuration of the run.

        Raises:
            DataError: If the folder holds no run, or its configuration is damaged.
        """
        if not self.config.is_file():
            raise DataError(f"{self.path} must be the folder of a run, but {self.config} does not exist")
        try:
            cfg = OmegaConf.load(self.config)
        except PermissionError:
            raise
        except (YAMLError, OSError, ValueError, OmegaConfBaseException, RecursionError) as fault:
            raise DataError(f"{self.config} cannot be read: {reason_of(fault)}") from fault
        if not isinstance(cfg, DictConfig) or "task" not in cfg:
            raise DataError(f"{self.config} must be the configuration of a run, with a key task")
        if isinstance(cfg.get("task"), DictConfig):
            cfg.task.pop("concat", None)  # older runs stored ``layout`` here
        return cfg

    def read_metrics(self) -> dict[str, Any]:
        """Return the content of ``metrics.json``.

        Raises:
            DataError: If it is damaged.
        """
        try:
            metrics = json.loads(self.metrics.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as fault:
            raise DataError(f"{self.metrics} must be valid JSON: {fault}") from fault
        if not isinstance(metrics, dict):
            raise DataError(f"{self.metrics} must be an object, got {type(metrics).__name__}")
        return metrics
