"""``metrics.json``: the record of one run, typed and versioned."""

import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from parmtrain import __version__
from parmtrain.codes import Scheme
from parmtrain.evaluation.scores import Scores
from parmtrain.training.callbacks import History

FORMAT = 2  # format 1 had neither ``format`` nor ``scheme``; its readers can read 2
PACKAGES = ("torch", "torchvision", "pytorch-lightning", "hydra-core")


def _versions() -> dict[str, str]:
    return {
        "parmtrain": __version__,
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
    }


@dataclass(frozen=True)
class Training:
    """How training went; zeros if nothing was trained.

    Args:
        epochs: Number of finished epochs.
        seconds: Time spent in them, without validation.
        queries_per_second: Training queries per second of that time; None if nothing was trained.
    """

    epochs: int = 0
    seconds: float = 0.0
    queries_per_second: float | None = None


@dataclass(frozen=True)
class BestEpoch:
    """The epoch that validation chose.

    Args:
        metric: Metric that it was chosen by, such as ``degraded_accuracy``.
        value: Value of that metric.
        epoch: Its number, from 0; None if nothing was trained.
    """

    metric: str
    value: float
    epoch: int | None


@dataclass(frozen=True)
class RunRecord:
    """Everything that one run measured.

    On the CPU, all values except ``timing``, ``training.seconds`` and ``training.queries_per_second`` depend only on
    the configuration and the data.

    Args:
        task: Name of the task.
        code: Name of the code.
        seed: The run's seed.
        scheme: Which worker runs what, and which outputs give which prediction; k and r follow from it.
        scores: Scores on the test split.
        cost: As ``parmtrain.evaluation.costs.resources`` returns it.
        timing: As ``parmtrain.evaluation.costs.timings`` returns it.
        training: How training went.
        validation: The best epoch by validation, and its score there.
        fingerprint: SHA-256 of the deployed model's weights.
        data: Digest of all queries and labels.
        versions: Versions of parmtrain, Python and the packages that results depend on.
    """

    task: str
    code: str
    seed: int
    scheme: Scheme
    scores: Scores
    cost: dict[str, float | None]
    timing: dict[str, Any]
    training: Training
    validation: BestEpoch
    fingerprint: str
    data: str = ""
    versions: dict[str, str] = field(default_factory=_versions)

    def to_json(self) -> dict[str, Any]:
        """Return plain values, as ``metrics.json`` has them."""
        best = self.validation
        return {
            "format": FORMAT,
            "task": self.task,
            "code": self.code,
            "k": self.scheme.k,
            "r": self.scheme.n - self.scheme.k,
            "seed": self.seed,
            **self.scores.to_json(),
            "cost": self.cost,
            "validation": {best.metric: best.value, "epoch": best.epoch},
            "training": vars(self.training),
            "deployed": {"fingerprint": self.fingerprint},
            "data": self.data,
            "scheme": self.scheme.to_json(),
            "versions": self.versions,
            "timing": self.timing,
        }


def training_of(history: History, queries: int) -> Training:
    """Return how a training went.

    Args:
        history: Its recorded epochs.
        queries: Training queries per epoch.
    """
    if not history.epochs:
        return Training()
    epochs = len(history.epochs)
    return Training(epochs, history.seconds, epochs * queries / history.seconds)


def best_epoch(epochs: Sequence[dict[str, float]], metric: str) -> BestEpoch | None:
    """Return the epoch with the largest validation metric; None if no epoch was validated.

    Args:
        epochs: Recorded epochs, as in ``History.epochs``.
        metric: Name of the metric, without ``val/``.

    Example:
        >>> best_epoch([{"epoch": 0, "val/iou": 0.5}, {"epoch": 1, "val/iou": 0.7}], "iou")
        BestEpoch(metric='iou', value=0.7, epoch=1)
    """
    validated = [epoch for epoch in epochs if f"val/{metric}" in epoch]
    if not validated:
        return None
    best = max(validated, key=lambda epoch: epoch[f"val/{metric}"])
    return BestEpoch(metric, best[f"val/{metric}"], int(best["epoch"]))
