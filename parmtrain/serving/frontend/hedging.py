"""When queries are sent again: after a fixed time or behind a live percentile, within a budget."""

from collections import deque
from math import ceil, inf

from parmtrain.codes.scheme import DEPLOYED
from parmtrain.serving.frontend.encoding import Encoding
from parmtrain.serving.frontend.events import Query
from parmtrain.serving.frontend.failures import spoiled
from parmtrain.serving.frontend.parts import Parts
from parmtrain.serving.frontend.timers import Delayed

REMEMBERED = 1000  # latencies that a percentile is taken of
FEWEST = 100  # before the percentile is used
EVERY = 20  # latencies between two looks at it
BURST = 10.0  # copies that may be sent at once


class Hedging:
    """Say which queries are due to be sent again, and whether the budget allows it.

    The budget is a token bucket: each query adds its share of a copy, and each copy takes a whole one.

    Args:
        parts: What the parts of the frontend share.
        encoding: The groups that are encoded.

    Source: Dean and Barroso, The Tail at Scale (CACM 2013), hedged requests: behind the 95th percentile, they add
    5 % of work.

    Example:
        >>> from parmtrain.serving import Frontend, Limits, uncoded
        >>> frontend = Frontend(uncoded(), [2], Limits(copy_after=0.1, copy_budget=0.05))
        >>> frontend.submit(0.0, "a")[0].instance, frontend.tick(0.1)[0].instance
        (0, 1)
    """

    def __init__(self, parts: Parts, encoding: Encoding) -> None:
        self.parts, self.encoding = parts, encoding
        limits = parts.limits
        self._due = Delayed(limits.copy_after, lambda query: query.answered)
        self._latencies: deque[float] = deque(maxlen=REMEMBERED)
        self._heard, self._tokens = 0, BURST

    @property
    def after(self) -> float:
        """Seconds after which a query is sent again."""
        return self._due.after

    def answered(self, seconds: float) -> None:
        """Take the seconds from a query's arrival to the deployed model's own prediction of it."""
        if self.parts.limits.copy_percentile is None:
            return
        self._latencies.append(seconds)
        self._heard += 1
        if len(self._latencies) >= FEWEST and (self._heard % EVERY == 0 or self._due.after == inf):
            rank = ceil(self.parts.limits.copy_percentile / 100 * len(self._latencies)) - 1
            self._due.after = sorted(self._latencies)[rank]

    def add(self, query: Query) -> None:
        """Remember a query, which came after all others."""
        self._tokens = min(BURST, self._tokens + self.parts.limits.copy_budget)
        self._due.add(query)

    def send_again(self, now: float) -> None:
        """Send late queries again, except those that coded queries may answer."""
        for query in self._due.due(now):
            covered = self.encoding.helps(query, self.after, now)
            if (not covered or self.parts.limits.copy_coded) and self._allowed():
                self._send(now, query)

    def again(self, now: float, query: Query) -> None:
        """Send a query again at once, unless it waits for an instance still, or what runs its group dies of it."""
        queued = any(job.query is query and not job.running for job in query.group.jobs)
        helps = self.parts.scheme.systematic and not queued and not spoiled(query.group, self.parts.limits)
        if helps and self._allowed():
            self._send(now, query)

    def _send(self, now: float, query: Query) -> None:
        self.parts.counts["copies"] += 1
        worker = query.position if self.parts.scheme.systematic else None
        self.parts.pools.ask(now, query.group, query, worker, DEPLOYED)

    def _allowed(self) -> bool:
        """Return whether another copy may be sent, and take it from the budget."""
        if self.parts.limits.copy_budget == inf:
            return True
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    @property
    def next(self) -> float:
        """Earliest time at which a query is late; infinite if there is none."""
        return self._due.next
