"""When groups are encoded: as soon as they are full, or once it is known that it is needed."""

from collections import Counter

from parmtrain.codes.scheme import Scheme
from parmtrain.serving.frontend.events import Action, Group, Query
from parmtrain.serving.frontend.failures import Failures, spoiled
from parmtrain.serving.frontend.grouping import Grouping
from parmtrain.serving.frontend.limits import Limits, Parity
from parmtrain.serving.frontend.pools import Pools

SEVERAL = 2  # late queries of a group that one parity query is worth it for


class Encoding:
    """Close groups, and queue their coded queries.

    Args:
        scheme: The scheme of the code.
        limits: When groups are encoded.
        grouping: The groups that take queries.
        pools: The instances.
        failures: What is known of jobs that failed.
        counts: Counter of ``groups`` that were encoded, and of those of them that were ``partial``.

    Attributes:
        fill_time: Total seconds that groups took until they were encoded.
    """

    def __init__(
        self,
        scheme: Scheme,
        limits: Limits,
        grouping: Grouping,
        pools: Pools,
        failures: Failures,
        counts: Counter[str],
    ) -> None:
        self.scheme, self.limits, self.grouping = scheme, limits, grouping
        self.pools, self.failures, self.counts = pools, failures, counts
        self.fill_time = 0.0
        self._audits = 0.0  # that are due

    def close(self, now: float, group: Group) -> list[Action]:
        """Close a group, and queue its coded queries if the scheme and the limits allow it now."""
        self.grouping.close(group)
        full = self.grouping.is_full(group)
        if not self.scheme.pools or not (full or self.scheme.partial) or not group.waits:
            actions = self.failures.given_up(group)
            group.forget_if_done()
            return actions
        if self._waits(full):
            group.lazy = True
        else:
            self._encode(now, group)
        return []

    def _waits(self, full: bool) -> bool:
        """Return whether a group is to be encoded only once that is known to be needed."""
        if not full or not self.scheme.systematic or self.limits.parity == Parity.at_once:
            return False
        return self.limits.parity == Parity.lazy or not all(map(self.pools.idle, self.scheme.pools))

    def helps(self, query: Query, after: float, now: float) -> bool:
        """Encode the group of a late query now if several of its queries are late; return whether it is encoded.

        Args:
            query: The query.
            after: Seconds after which a query counts as late.
            now: The time.
        """
        group = query.group
        late = sum(not one.answered and now - one.at >= after for one in group.queries)
        if group.lazy and late >= SEVERAL:
            self._encode(now, group)
        return self.covers(query)

    def covers(self, query: Query) -> bool:
        """Return whether coded queries may answer a query."""
        group = query.group
        return group.coded and self.grouping.is_full(group) and not spoiled(group, self.limits)

    def _encode(self, now: float, group: Group) -> None:
        self.fill_time += now - group.queries[0].at
        self.counts["groups"] += 1
        self.counts["partial"] += not self.grouping.is_full(group)
        group.lazy = False
        if not spoiled(group, self.limits):
            group.coded = True
            group.audited = self._is_audited(group)
            for j, pool in enumerate(self.scheme.pools):
                self.pools.ask(now, group, None, self.scheme.own + j, pool)

    def _is_audited(self, group: Group) -> bool:
        """Return whether a group is audited, evenly over all full groups of a systematic code."""
        if not (self.scheme.systematic and self.grouping.is_full(group)):
            return False
        self._audits += self.limits.audit
        due = self._audits >= 1
        self._audits -= due
        return due
