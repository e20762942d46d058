"""Answers as a service gives them, and who is told of them."""

from dataclasses import dataclass

from torch import Tensor

from parmtrain.serving.frontend.events import Jobs, Kind, Reason

LATENCIES = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0)
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)
MEASURES = {
    "answers": "Answers by how they were made.",
    "refused": "Requests that were refused.",
    "latency_seconds": "From arrival to answer.",
    "group_fill_seconds": "From a group's first query until it is encoded.",
    "batch_size": "Queries that an instance was given at a time.",
}
"""What is measured, and what each measure is; metrics for Prometheus have these names after ``parmtrain_``."""


@dataclass(frozen=True)
class Prediction:
    """The answer to a query.

    Args:
        kind: How the answer was made.
        output: Prediction ``[c]``; None for a default answer if the service has none.
        seconds: Time from the query's arrival to its answer.
        group: Number of its coding group.
        reason: Why it is a default answer.
        confidence: How far a reconstruction can be trusted, from 0 to 1; None for other answers.
    """

    kind: Kind
    output: Tensor | None
    seconds: float
    group: int = 0
    reason: Reason | None = None
    confidence: float | None = None


class Observer:
    """Is told what a service does, for metrics; this one does nothing with it."""

    def answered(self, prediction: Prediction) -> None:
        """Take an answer."""

    def filled(self, seconds: float) -> None:
        """Take the seconds from a group's first query until it was closed to be encoded."""

    def dispatched(self, instance: int, jobs: Jobs) -> None:
        """Take a batch as it is given to an instance."""
