"""Queries for which something is due at a time."""

from collections import deque
from collections.abc import Callable, Iterator
from heapq import heappop, heappush
from math import inf

from parmtrain.serving.frontend.events import Query


class Deadlines:
    """Queries with a time each, in any order; those that are answered meanwhile are forgotten.

    Example:
        >>> from parmtrain.serving.frontend.events import Group
        >>> deadlines, group = Deadlines(), Group(0, 2)
        >>> for number, at in enumerate((7.0, 5.0)):
        ...     deadlines.add(at, Query(number, "", 0.0, group, number))
        >>> deadlines.next, [query.number for query in deadlines.due(6.0)]
        (5.0, [1])
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Query]] = []

    def add(self, at: float, query: Query) -> None:
        """Remember a query."""
        heappush(self._heap, (at, query.number, query))

    def __iter__(self) -> Iterator[Query]:
        """Yield the queries that are not answered, in any order."""
        return (query for _, _, query in self._heap if not query.answered)

    def due(self, now: float) -> Iterator[Query]:
        """Yield the queries whose time has come, and forget them."""
        while self._heap and (self._heap[0][2].answered or self._heap[0][0] <= now):
            _, _, query = heappop(self._heap)
            if not query.answered:
                yield query

    @property
    def next(self) -> float:
        """Earliest time at which a query may be due; infinite if there is none."""
        return self._heap[0][0] if self._heap else inf


class Delayed:
    """Queries for which something is due as long after their arrival as for all others.

    Args:
        after: Seconds from arrival; with infinite ones, and where nothing is to be done, queries are not remembered.
        over: Whether nothing is to be done for a query any more.
    """

    def __init__(self, after: float, over: Callable[[Query], bool]) -> None:
        self.after, self.over = after, over
        self._queries: deque[Query] = deque()  # sorted by time

    def add(self, query: Query) -> None:
        """Remember a query, which came after all others."""
        if self.after < inf:
            self._queries.append(query)

    def due(self, now: float) -> Iterator[Query]:
        """Yield the queries whose time has come, and forget them."""
        while self.next <= now:
            yield self._queries.popleft()

    @property
    def next(self) -> float:
        """Earliest time at which a query is due; infinite if there is none."""
        while self._queries and self.over(self._queries[0]):
            self._queries.popleft()
        return self._queries[0].at + self.after if self._queries else inf
