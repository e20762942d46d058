"""What ``metrics.json`` holds."""

import platform
from importlib.metadata import version
from typing import Any

from parmtrain import __version__
from parmtrain.callbacks import History
from parmtrain.module import ParityModule
from parmtrain.tasks.base import Task

PACKAGES = ("torch", "torchvision", "pytorch-lightning", "hydra-core")


def collect(
    module: ParityModule, task: Task, scores: dict[str, Any], history: History, queries: int, seed: int
) -> dict[str, Any]:
    """Put the figures of a run together.

    On the CPU all but ``training.seconds`` and ``training.queries_per_second`` depend on configuration and data alone.

    Args:
        module: The trained module.
        task: Its task.
        scores: What ``parmtrain.scores.score`` gave for the test split.
        history: Remembers the epochs of the training.
        queries: Number of training queries.
        seed: The run's seed.
    """
    validated = [epoch for epoch in history.epochs if "val/degraded_accuracy" in epoch]
    best = max(validated, key=lambda epoch: epoch["val/degraded_accuracy"])
    epochs = len(history.epochs)
    seen = epochs * (queries // module.k * module.k)
    return {
        "task": task.name,
        "code": module.code.name,
        "k": module.code.k,
        "r": module.code.r,
        "seed": seed,
        **scores,
        "cost": module.code.cost(task.query_shape),
        "validation": {"degraded_accuracy": best["val/degraded_accuracy"], "epoch": best["epoch"]},
        "training": {"epochs": epochs, "seconds": history.seconds, "queries_per_second": seen / history.seconds},
        "deployed": {"fingerprint": module.deployed.fingerprint},
        "versions": {
            "parmtrain": __version__,
            "python": platform.python_version(),
            **{package: version(package) for package in PACKAGES},
        },
    }
