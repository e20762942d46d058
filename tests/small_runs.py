"""Runs that take a few seconds, and the figures of a run that do not depend on the clock."""

from pathlib import Path
from typing import Any

from parmtrain import compose, run
from parmtrain.result import Result

SHORT = ("trainer.max_epochs=3", "deployed.fit.epochs=4")
CLOCK = ("seconds", "queries_per_second")


def small_run(folder: Path, *overrides: str, **more: Any) -> Result:
    return run(compose(*SHORT, *overrides), folder, **more)


def figures(result: Result) -> dict[str, Any]:
    """Return every figure that a second run with the same seed must repeat."""
    training = {key: value for key, value in result.metrics["training"].items() if key not in CLOCK}
    return {**result.metrics, "training": training, "timing": None}
