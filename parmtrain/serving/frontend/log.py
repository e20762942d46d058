"""Event logs: what happened at a frontend, when, and what it decided, as plain values."""

from collections.abc import Callable, Sequence
from typing import Any

from parmtrain.serving.frontend.events import Action, Answer, Compare, Decode, Dispatch

Record = Callable[[float, str, list[Action]], None]
Line = tuple[float, str, tuple[Any, ...]]


def unrecorded(now: float, event: str, actions: list[Action]) -> None:
    """Record nothing."""


class EventLog:
    """Record every event and decision of a frontend, under any driver.

    Attributes:
        lines: Time and name of each event, and the decisions: ``("dispatch", instance, job, …)``, ``("decode",
            query)``, ``("compare", position)``, ``("answer", query, kind)`` and ``("restart", instance)``.

    Example:
        >>> from parmtrain.serving import Frontend, uncoded
        >>> log, frontend = EventLog(), Frontend(uncoded(), [1])
        >>> log(0.5, "submit", frontend.submit(0.5, "a"))
        >>> log.lines
        [(0.5, 'submit', (('dispatch', 0, 0),))]
    """

    def __init__(self) -> None:
        self.lines: list[Line] = []

    def __call__(self, now: float, event: str, actions: Sequence[Action]) -> None:
        """Append a line."""
        self.lines.append((now, event, tuple(map(decision, actions))))

    @property
    def decisions(self) -> list[tuple[str, tuple[Any, ...]]]:
        """The lines without their times, except those of events that decided nothing."""
        return [(event, decided) for _, event, decided in self.lines if decided]


def decision(action: Action) -> tuple[Any, ...]:
    """Return an action as plain values."""
    if isinstance(action, Dispatch):
        return "dispatch", action.instance, *(job.number for job in action.jobs)
    if isinstance(action, Decode):
        return "decode", action.query.number
    if isinstance(action, Answer):
        return "answer", action.query.number, action.kind.value
    if isinstance(action, Compare):
        return "compare", action.position
    return "restart", action.instance
