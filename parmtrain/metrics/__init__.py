"""Scores of predictions: stateless functions, and the torchmetrics class built on them that scores every split."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from parmtrain.metrics.functional import degraded, overall_accuracy
from parmtrain.metrics.measures import Measure, Measures, of_classes

if TYPE_CHECKING:
    from parmtrain.metrics.tally import Tally

__all__ = ["Measure", "Measures", "Tally", "degraded", "of_classes", "overall_accuracy"]


def __getattr__(name: str) -> Any:
    """Import ``Tally`` on first use: what serves a bundle scores nothing, and need not wait for torchmetrics."""
    if name != "Tally":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module("parmtrain.metrics.tally").Tally
