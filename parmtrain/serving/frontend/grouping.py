"""Coding groups that still take queries."""

from collections.abc import Iterator
from math import inf

from parmtrain.codes import Scheme
from parmtrain.serving.frontend.events import Group, Query
from parmtrain.serving.frontend.limits import Limits
from parmtrain.serving.frontend.timers import Delayed

MOST_OPEN = 1000  # tenants are named by clients, and each open group holds queries


class Grouping:
    """Put queries into coding groups in order of arrival, those of each tenant apart.

    Args:
        scheme: The scheme of the code.
        k: Queries in a full group.
        limits: After how many seconds a group that is not full is encoded, where the scheme takes such; a tenant's
            group is closed after those that a query may wait, so that none that has gone is remembered for ever.

    Example:
        >>> from parmtrain.codes.scheme import erasure_code
        >>> grouping = Grouping(erasure_code(k=2, r=1), k=2, limits=Limits())
        >>> for number, tenant in enumerate("aba"):
        ...     group = grouping.open(tenant)
        ...     query = grouping.join(group, Query(number, "", 0.0, group, len(group.queries)))
        >>> group.number, [query.number for query in group.queries], grouping.is_full(group)
        (0, [0, 2], True)
    """

    def __init__(self, scheme: Scheme, k: int, limits: Limits) -> None:
        self.scheme, self.k = scheme, k
        self._open: dict[str, Group] = {}  # in order of their first queries
        fill_after = limits.fill_after if scheme.partial else inf
        self._waiting = Delayed(fill_after, lambda one: one.answered or one.group.closed)
        self._kept = Delayed(limits.deadline, lambda one: one.group.closed)  # first queries of tenants' groups
        self._made = 0

    def open(self, tenant: str) -> Group:
        """Return the group that takes a tenant's queries."""
        if tenant not in self._open:
            self._open[tenant] = self._new(tenant)
        return self._open[tenant]

    @property
    def opened(self) -> list[Group]:
        """The groups that take queries."""
        return list(self._open.values())

    def apart(self) -> Group:
        """Return a new group for one query that is not encoded."""
        group = self._new("")
        group.closed = True
        return group

    def join(self, group: Group, query: Query) -> Query:
        """Put a query into a group."""
        group.queries.append(query)
        self._waiting.add(query)
        if group.tenant and len(group.queries) == 1:
            self._kept.add(query)
        return query

    def is_full(self, group: Group) -> bool:
        """Return whether a group takes no more queries."""
        return len(group.queries) == self.k

    def close(self, group: Group) -> None:
        """Take no more queries into a group."""
        group.closed = True
        self._open.pop(group.tenant, None)

    def overdue(self, now: float) -> Iterator[Group]:
        """Yield the groups that were not filled in time; each must be closed before the next is asked for."""
        for overdue in (self._waiting, self._kept):
            for query in overdue.due(now):
                yield query.group

    @property
    def surplus(self) -> Group | None:
        """The oldest group, if there are too many."""
        return next(iter(self._open.values())) if len(self._open) > MOST_OPEN else None

    @property
    def next(self) -> float:
        """Earliest time at which a group may be overdue; infinite if there is none."""
        return min(self._waiting.next, self._kept.next)

    def _new(self, tenant: str) -> Group:
        self._made += 1
        return Group(self._made - 1, self.scheme.n, tenant)
