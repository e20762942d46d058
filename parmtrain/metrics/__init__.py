"""Scores of predictions: stateless functions, and the torchmetrics class built on them that scores every split."""

from parmtrain.metrics.functional import degraded, overall_accuracy
from parmtrain.metrics.measures import Measure, Measures, of_classes
from parmtrain.metrics.tally import Tally

__all__ = ["Measure", "Measures", "Tally", "degraded", "of_classes", "overall_accuracy"]
