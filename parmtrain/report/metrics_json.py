"""What ``metrics.json`` holds."""

import platform
from importlib.metadata import version
from typing import Any

from parmtrain import __version__
from parmtrain.evaluation.costs import resources
from parmtrain.tasks.base import Task
from parmtrain.training.callbacks import History
from parmtrain.training.parity_module import ParityModule

PACKAGES = ("torch", "torchvision", "pytorch-lightning", "hydra-core")


def collect(
    module: ParityModule, task: Task, scores: dict[str, Any], history: History, queries: int, seed: int
) -> dict[str, Any]:
    """Put the figures of a run together.

    On the CPU all but ``training.seconds`` and ``training.queries_per_second`` depend on configuration and data alone.

    Args:
        module: The module, trained where there is something to train.
        task: Its task.
        scores: What ``parmtrain.evaluation.score.score`` gave for the test split.
        history: Remembers the epochs of the training.
        queries: Number of training queries.
        seed: The run's seed.
    """
    return {
        "task": task.name,
        "code": module.code.name,
        "k": module.code.k,
        "r": module.code.r,
        "seed": seed,
        **scores,
        "cost": resources(module, task.query_shape),
        **_training(history, f"degraded_{task.measures.name}", queries // module.k * module.k),
        "deployed": {"fingerprint": module.deployed.fingerprint},
        "versions": {
            "parmtrain": __version__,
            "python": platform.python_version(),
            **{package: version(package) for package in PACKAGES},
        },
    }


def _training(history: History, chosen_by: str, queries: int) -> dict[str, Any]:
    """Say how training went; where nothing was trained, that it took no time."""
    validated = [epoch for epoch in history.epochs if f"val/{chosen_by}" in epoch]
    if not validated:
        return {"validation": None, "training": {"epochs": 0, "seconds": 0.0, "queries_per_second": None}}
    best = max(validated, key=lambda epoch: epoch[f"val/{chosen_by}"])
    epochs, seconds = len(history.epochs), history.seconds
    return {
        "validation": {chosen_by: best[f"val/{chosen_by}"], "epoch": best["epoch"]},
        "training": {"epochs": epochs, "seconds": seconds, "queries_per_second": epochs * queries / seconds},
    }
