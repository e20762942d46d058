"""When groups are encoded: as soon as they are full, or once it is known that it is needed."""

from parmtrain.serving.frontend.events import Action, Group, Query
from parmtrain.serving.frontend.failures import Failures, drop_coded, spoiled
from parmtrain.serving.frontend.grouping import Grouping
from parmtrain.serving.frontend.limits import Parity
from parmtrain.serving.frontend.parts import Parts

SEVERAL = 2  # late queries of a group that one parity query is worth it for


class Encoding:
    """Close groups, and queue their coded queries.

    Args:
        parts: What the parts of the frontend share.
        grouping: The groups that take queries.
        failures: What is known of jobs that failed.

    Attributes:
        fill_time: Total seconds that groups took until they were encoded.
    """

    def __init__(self, parts: Parts, grouping: Grouping, failures: Failures) -> None:
        self.parts, self.grouping, self.failures = parts, grouping, failures
        self.fill_time = 0.0
        self._audits = 0.0  # that are due

    def close(self, now: float, group: Group) -> list[Action]:
        """Close a group, and queue its coded queries if the scheme and the limits allow it now."""
        self.grouping.close(group)
        full = self.grouping.is_full(group)
        rests = self.parts.scheme.systematic and not self._may(now)
        if rests or not self.parts.scheme.pools or not (full or self.parts.scheme.partial) or not group.waits:
            actions = self.failures.given_up(group)
            group.forget_if_done()
            return actions
        if self._waits(full):
            group.lazy = True
        else:
            self._encode(now, group)
        return []

    def hold(self, now: float, held: bool) -> list[Action]:
        """Encode nothing while instances run another deployed model than parity models are for, or go on.

        What came before is never decoded together with what comes after: groups that take queries are closed, and
        queries that wait are answered by the deployed model alone.
        """
        self.parts.breaker.hold(True)
        actions = [action for group in self.grouping.opened for action in self.close(now, group)]
        for query in list(self.parts.waiting):
            query.asked = query.judged = True  # as if it had been decoded in vain
            query.guess, query.group.coded, query.group.lazy = None, False, False
            drop_coded(query.group)
            actions += self.failures.given_up(query.group)
        self.parts.breaker.hold(held)
        return actions

    def _waits(self, full: bool) -> bool:
        """Return whether a group is to be encoded only once that is known to be needed."""
        if not full or not self.parts.scheme.systematic or self.parts.limits.parity == Parity.at_once:
            return False
        return self.parts.limits.parity == Parity.lazy or not all(map(self.parts.pools.idle, self.parts.scheme.pools))

    def helps(self, query: Query, after: float, now: float) -> bool:
        """Encode the group of a late query now if several of its queries are late; return whether it is encoded.

        Args:
            query: The query.
            after: Seconds after which a query counts as late.
            now: The time.
        """
        group = query.group
        late = sum(not one.answered and now - one.at >= after for one in group.queries)
        if group.lazy and late >= min(SEVERAL, len(group.queries)) and self._may(now):
            self._encode(now, group)
        return self.covers(query)

    def rescue(self, now: float, group: Group) -> None:
        """Encode a group that was to be encoded later if a query of it is lost."""
        if group.lazy and group.failed and group.waits:
            self._encode(now, group)

    def _may(self, now: float) -> bool:
        """Return whether encoding is of use: parity models are, and each has an instance."""
        return self.parts.breaker.encodes(now) and all(map(self.parts.pools.up, self.parts.scheme.pools))

    def covers(self, query: Query) -> bool:
        """Return whether coded queries may answer a query."""
        group = query.group
        return group.coded and self.grouping.is_full(group) and not spoiled(group, self.parts.limits)

    def _encode(self, now: float, group: Group) -> None:
        self.fill_time += now - group.queries[0].at
        self.parts.counts["groups"] += 1
        self.parts.breaker.encoded(now)
        self.parts.counts["partial"] += not self.grouping.is_full(group)
        group.lazy = False
        if not spoiled(group, self.parts.limits):
            group.coded = True
            group.audited = self._is_audited(group)
            for j, pool in enumerate(self.parts.scheme.pools):
                self.parts.pools.ask(now, group, None, self.parts.scheme.own + j, pool)

    def _is_audited(self, group: Group) -> bool:
        """Return whether a group is audited, evenly over all full groups of a systematic code."""
        if not self.parts.scheme.systematic or len(group.queries) < self.parts.scheme.k:
            return False
        self._audits += self.parts.limits.audit
        due = self._audits >= 1
        self._audits -= due
        return due
