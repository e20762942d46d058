"""What becomes of single queries, for traces: a tracer is told each step of a query."""

from collections.abc import Mapping
from typing import Any

from parmtrain.serving.frontend.events import Answer, Decode, Group, Jobs


class Tracer:
    """Is told the steps of queries; this one does nothing with them. Times are those of the service's clock."""

    def begin(self, headers: Mapping[str, Any]) -> Any:
        """Return the trace of a query that arrives.

        Args:
            headers: What came with its request, which may name the trace that it belongs to.
        """
        return None

    def refused(self, trace: Any) -> None:
        """Take the trace of a query that was refused."""

    def encoded(self, group: Group, began: float, ended: float) -> None:
        """Take the times between which a group was encoded."""

    def dispatched(self, now: float, instance: int, jobs: Jobs) -> None:
        """Take a batch as it is given to an instance."""

    def returned(self, now: float, jobs: Jobs, failed: bool) -> None:
        """Take a batch whose outputs came, or whose instance failed."""

    def decoded(self, decode: Decode, began: float, ended: float) -> None:
        """Take the times between which a prediction was decoded."""

    def answered(self, now: float, answer: Answer) -> None:
        """Take an answer."""

    def close(self) -> None:
        """Hand on what is left, at the end."""


def trace_of(payload: Any) -> Any:
    """Return the trace of a query from what the service gave the frontend with it; None if it is forgotten."""
    return None if payload is None else payload[2]
