"""The queries that wait for an answer: how many there may be, and until when each of them waits."""

from collections import Counter
from collections.abc import Iterator
from math import ceil
from typing import Any

from parmtrain.serving.frontend.events import Answer, Kind, Overloaded, Query, Reason
from parmtrain.serving.frontend.limits import Limits
from parmtrain.serving.frontend.timers import Deadlines


class Waiting:
    """Queries from their arrival to their answer.

    Args:
        limits: How many may wait, and for how long.
        counts: Counter of answers by kind, and of ``refused`` queries.

    Example:
        >>> from parmtrain.serving.frontend.events import Group
        >>> waiting, query = Waiting(Limits(deadline=2.0), Counter()), Query(0, "a", 0.0, Group(0, 1), 0)
        >>> waiting.add(query, deadline=None)
        >>> len(waiting), [one.payload for one in waiting.late(2.0)]
        (1, ['a'])
        >>> waiting.answer(query, Kind.default, None, Reason.deadline).kind.value, len(waiting)
        ('default', 0)
    """

    def __init__(self, limits: Limits, counts: Counter[str]) -> None:
        self.limits, self.counts = limits, counts
        self._deadlines = Deadlines()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Query]:
        """Yield the queries that wait, in any order."""
        return iter(self._deadlines)

    def require_room(self, wait: float, count: int = 1) -> None:
        """Raise ``Overloaded`` if there is no room for further queries.

        Args:
            wait: Estimated seconds until the last of them is dispatched.
            count: Number of queries that come together.
        """
        excess = wait - self.limits.overloaded_after
        if self._count + count > self.limits.waiting or excess >= 0:
            self.counts["refused"] += 1
            seconds = max(1, ceil(excess)) if excess > 0 else 1
            raise Overloaded(
                f"the queue is full: {self._count} queries are waiting for an answer; try again later", seconds
            )

    def add(self, query: Query, deadline: float | None) -> None:
        """Accept a query, which waits for as many seconds at most: the limits' by default and at the longest."""
        longest = self.limits.deadline
        self._deadlines.add(query.at + (longest if deadline is None else min(deadline, longest)), query)
        self._count += 1

    def late(self, now: float) -> Iterator[Query]:
        """Yield the queries that waited for as long as they may, and have no answer."""
        return self._deadlines.due(now)

    @property
    def next(self) -> float:
        """Earliest time at which a query may be late; infinite if none waits."""
        return self._deadlines.next

    def answer(
        self, query: Query, kind: Kind, output: Any, reason: Reason | None = None, confidence: float | None = None
    ) -> Answer:
        """Return the answer to a query, which waits no longer."""
        query.answered = True
        self._count -= 1
        self.counts[kind] += 1
        return Answer(query, kind, output, query.payload, reason, confidence)

    def give_up(self, query: Query, reason: Reason) -> Answer:
        """Return the answer to a query that nothing better will be found for: a guess, or else a default answer."""
        if query.guess is None:
            return self.answer(query, Kind.default, None, reason)
        return self.answer(query, Kind.uncertain, query.guess.prediction, None, query.guess.confidence)
