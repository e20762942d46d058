"""The frontend's group logic: a state machine that turns timed events into dispatches and answers.

It has no clock, no network and no threads. A driver, the service or the simulator, reports what happened and when, and
carries out the actions that come back. Queries and outputs are opaque: they are passed on and never inspected.
"""

from collections import Counter, deque
from collections.abc import Sequence
from heapq import heappop, heappush
from math import ceil, inf
from typing import Any

from parmtrain.codes.scheme import DEPLOYED, Scheme
from parmtrain.serving.events import Action, Answer, Group, Job, Kind, Limits, Overloaded, Query, Reason, Restart
from parmtrain.serving.failures import drop_coded, hopeless, spoiled
from parmtrain.serving.pools import Pools


class Frontend:
    """Form coding groups in order of arrival and answer each query once, from the first output that allows it.

    A query goes to the deployed model's pool at once. When its group is full, the coded queries go to their pools, and
    so do those of a group that does not fill in time, where the scheme allows it. The instances of a pool share one
    queue, and each runs one job at a time. Queued jobs that can no longer answer a query are dropped; jobs that are
    already running finish, and their results are ignored.

    Every method takes the time of its event and returns the actions to carry out. Events must come in order of time.

    Args:
        scheme: The scheme of the code.
        instances: Number of instances of each pool; they are numbered from 0, pool by pool.
        limits: Time limits and bounds.
        k: Queries in a full group; the scheme's k by default, and fewer only where it takes groups that are not full.

    Attributes:
        counts: Number of events: answers by kind, ``refused`` queries, ``uncoded`` ones, ``copies``, ``groups`` that
            were encoded and those of them that were ``partial``, ``coded`` queries, jobs ``dropped`` and ``retried``,
            results that were ``garbage`` or ``stale``, instances ``lost`` and ``hung``, and queries that ``failed``:
            nothing was left that could answer them.
        fill_time: Total seconds that groups took until they were encoded.
        pools: The instances.

    Source: Kosaian et al., ParM (SOSP'19), sections 3.1 and 3.3.

    Example:
        >>> from parmtrain.serving import erasure_code
        >>> frontend = Frontend(erasure_code(k=2, r=1), instances=[2, 1])
        >>> (one,) = frontend.submit(0.0, "a")
        >>> other, coded = frontend.submit(0.1, "b")
        >>> [one.instance, other.instance, coded.instance, coded.job.worker]
        [0, 1, 2, 2]
        >>> [answer.kind.value for answer in frontend.finished(0.2, 0, one.job, "F(a)")]
        ['deployed']
        >>> (answer,) = frontend.finished(0.3, 2, coded.job, "F_P(P)")  # b is late
        >>> answer.kind.value, answer.payload, answer.output
        ('reconstructed', 'b', ('F(a)', None, 'F_P(P)'))
    """

    def __init__(
        self, scheme: Scheme, instances: Sequence[int], limits: Limits | None = None, k: int | None = None
    ) -> None:
        self.scheme, self.limits, self.k = scheme, limits or Limits(), scheme.k if k is None else k
        if not (self.k == scheme.k or (scheme.partial and 1 <= self.k < scheme.k)):
            raise ValueError(f"k must be {scheme.k}, the scheme's{' or less' if scheme.partial else ''}, got {k}")
        if not instances or max((DEPLOYED, *scheme.pools)) >= len(instances) or min(instances) < 1:
            raise ValueError(
                f"each pool from 0 to {max((DEPLOYED, *scheme.pools))} must have an instance, got {list(instances)}"
            )
        self.counts: Counter[str] = Counter()
        self.fill_time = 0.0
        self.pools = Pools(instances, self.limits, self.counts)
        self._open: Group | None = None
        self._made: Counter[str] = Counter()
        self._waiting = 0
        self._deadlines: list[tuple[float, int, Query]] = []  # a heap
        self._copies: deque[Query] = deque()  # each sorted by time, since its delay is constant
        self._held: deque[Query] = deque()

    @property
    def waiting(self) -> int:
        """Number of queries that wait for an answer."""
        return self._waiting

    @property
    def occupied(self) -> list[float]:
        """Total seconds that the instances of each pool were busy."""
        return self.pools.occupied

    @property
    def ready(self) -> bool:
        """Whether queries can be answered: each pool that this takes has an instance that can run jobs.

        Without parity instances a systematic code still answers from the deployed model.
        """
        needed = {DEPLOYED} if self.scheme.systematic else {DEPLOYED, *self.scheme.pools}
        return all(self.pools.up(pool) for pool in needed)

    def submit(self, now: float, payload: Any, deadline: float | None = None, coded: bool = True) -> list[Action]:
        """Accept a query.

        Args:
            now: The time.
            payload: The query.
            deadline: Seconds until its default answer; the limits' by default, which are also the longest.
            coded: Whether it joins a group; the code must be systematic otherwise.

        Raises:
            Overloaded: If the queue is full; the query then joins no group.
        """
        self.require_room()
        group = self._open if coded else None
        if group is None:
            group = Group(self._next("groups"), self.scheme.n)
            if coded:
                self._open = group
            else:
                assert self.scheme.systematic
                group.closed = True
                self.counts["uncoded"] += 1
        query = Query(self._next("queries"), payload, now, group, len(group.queries))
        group.queries.append(query)
        self._waiting += 1
        longest = self.limits.deadline
        heappush(
            self._deadlines, (now + (longest if deadline is None else min(deadline, longest)), query.number, query)
        )
        if self.scheme.systematic:
            self.pools.enqueue(Job(self._next("jobs"), group, query, query.position, DEPLOYED))
        if coded and len(group.queries) == self.k:
            self._code(now, group)
        if self.limits.copy_after < inf:
            self._copies.append(query)
        if self.limits.reconstruct_after and self.scheme.pools:
            self._held.append(query)
        return self.pools.assign(now) if self.limits.copy_after else self.tick(now)

    def require_room(self, count: int = 1) -> None:
        """Raise ``Overloaded`` if too many queries would wait, or ``count`` further ones would wait too long."""
        limits, wait = self.limits, self.pools.wait(DEPLOYED)
        if self._waiting + count > limits.waiting or wait >= limits.overloaded_after:
            self.counts["refused"] += 1
            about = f"{self._waiting} queries are waiting for an answer"
            raise Overloaded(f"the queue is full: {about}; try again later", _seconds(wait - limits.overloaded_after))

    def finished(self, now: float, instance: int, job: Job, output: Any) -> list[Action]:
        """Handle a result that the driver has found to be well formed."""
        if not self.pools.free(now, instance, job):
            return []
        group, query = job.group, job.query
        actions: list[Action] = []
        if job.worker is not None and not group.arrived >> job.worker & 1:
            group.outputs[job.worker] = output
            group.arrived |= 1 << job.worker
        if query is not None and not query.answered:
            actions.append(self._answer(query, Kind.deployed, output))
        if group.closed and group.waits:
            given = self.scheme.recoverable(group.arrived)
            for other in group.queries:
                waited = now - other.at >= self.limits.reconstruct_after
                if given >> other.position & 1 and waited and not other.answered:
                    actions.append(self._reconstruction(other))
        return self._done(now, group, actions + self._given_up(group))

    def garbage(self, now: float, instance: int, job: Job) -> list[Action]:
        """Handle a malformed result: the job is retried if attempts are left."""
        if not self.pools.free(now, instance, job):
            return []
        self.counts["garbage"] += 1
        return self._done(now, job.group, self._failed(job))

    def lost(self, now: float, instance: int) -> list[Action]:
        """Handle the death of an instance: its job is retried if attempts are left."""
        if instance in self.pools.down:
            return []
        self.counts["lost"] += 1
        job = self.pools.job_of(instance)
        actions = self._died(now, instance)
        return self._done(now, job.group, actions) if job is not None else self.pools.assign(now)

    def restored(self, now: float, instance: int) -> list[Action]:
        """Handle the return of an instance that was down."""
        if instance not in self.pools.down:
            return []
        self.pools.restore(instance)
        return self.pools.assign(now)

    def tick(self, now: float) -> list[Action]:
        """Do what is due: delayed reconstructions, copies, default answers, and replacing instances that hang."""
        actions: list[Action] = []
        limits = self.limits
        if self._open is not None and self._closes_at <= now:
            self.counts["partial"] += 1
            self._code(now, self._open)
        while self._deadlines and (self._deadlines[0][2].answered or self._deadlines[0][0] <= now):
            _, _, query = heappop(self._deadlines)
            if not query.answered:
                actions.append(self._answer(query, Kind.default, None, Reason.deadline))
                query.group.forget_if_done()
        while self._held and (self._held[0].answered or self._held[0].at + limits.reconstruct_after <= now):
            query = self._held.popleft()
            group = query.group
            if not query.answered and group.closed and self.scheme.recoverable(group.arrived) >> query.position & 1:
                actions.append(self._reconstruction(query))
                group.forget_if_done()
        while self._copies and (self._covered(self._copies[0]) or self._copies[0].at + limits.copy_after <= now):
            query = self._copies.popleft()
            if not self._covered(query):
                self.counts["copies"] += 1
                worker = query.position if self.scheme.systematic else None
                self.pools.enqueue(Job(self._next("jobs"), query.group, query, worker, DEPLOYED))
        for instance in self.pools.hanging(now):
            self.counts["hung"] += 1
            actions += [Restart(instance), *self._died(now, instance)]
        return actions + self.pools.assign(now)

    @property
    def next_tick(self) -> float:
        """Earliest time at which ``tick`` may have something to do; infinite if nothing is waiting."""
        limits = self.limits
        deadline = self._deadlines[0][0] if self._deadlines else inf
        copy = self._copies[0].at + limits.copy_after if self._copies else inf
        held = self._held[0].at + limits.reconstruct_after if self._held else inf
        return min(deadline, copy, held, self._closes_at, self.pools.next_hang)

    @property
    def _closes_at(self) -> float:
        """Time at which the open group is encoded as it is; infinite if it has to fill."""
        if self._open is None or not self.scheme.partial:
            return inf
        return self._open.since + self.limits.fill_after

    def _next(self, what: str) -> int:
        self._made[what] += 1
        return self._made[what] - 1

    def _code(self, now: float, group: Group) -> None:
        """Close a group and queue its coded queries."""
        self._open = None
        group.closed = True
        if not self.scheme.pools:
            return
        self.fill_time += now - group.queries[0].at
        self.counts["groups"] += 1
        if spoiled(group, self.limits):
            return
        group.coded = True
        for j, pool in enumerate(self.scheme.pools):
            self.pools.enqueue(Job(self._next("jobs"), group, None, self.scheme.own + j, pool))

    def _covered(self, query: Query) -> bool:
        """Return whether a query is answered, or has coded queries that may answer it."""
        group = query.group
        return query.answered or (group.coded and len(group.queries) == self.k and not spoiled(group, self.limits))

    def _died(self, now: float, instance: int) -> list[Action]:
        """Take down an instance, and try its job again if attempts are left."""
        job = self.pools.take_down(now, instance)
        if job is None:
            return []
        job.group.deaths += 1
        if spoiled(job.group, self.limits):
            drop_coded(job.group)
        return self._failed(job)

    def _failed(self, job: Job) -> list[Action]:
        """Try a job again if attempts are left; otherwise answer the queries that nothing can answer any more."""
        if self.pools.retry(job):
            return []
        job.group.failed = True
        return self._given_up(job.group)

    def _done(self, now: float, group: Group, actions: list[Action]) -> list[Action]:
        """Return actions and further dispatches; forget a group of which nothing is left to do."""
        group.forget_if_done()
        return actions + self.pools.assign(now)

    def _given_up(self, group: Group) -> list[Action]:
        lost = hopeless(group, self.scheme, self.limits) if group.failed else []
        if lost:
            self.counts["failed"] += len(lost)
        return [self._answer(query, Kind.default, None, Reason.attempts) for query in lost]

    def _reconstruction(self, query: Query) -> Answer:
        return self._answer(query, Kind.reconstructed, tuple(query.group.outputs))

    def _answer(self, query: Query, kind: Kind, output: Any, reason: Reason | None = None) -> Answer:
        query.answered = True
        self._waiting -= 1
        self.counts[kind] += 1
        return Answer(query, kind, output, query.payload, reason)


def _seconds(excess: float) -> int:
    """Return the whole seconds after which a query may be accepted again, 1 or more."""
    return max(1, ceil(excess)) if excess > 0 else 1
