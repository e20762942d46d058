"""The group logic of a frontend: events go in with their time, dispatches and answers come out.

There is no clock here, no network and no thread: whoever drives it, a service or a simulator, says what happened and
when, and does what it is told. Queries and outputs are passed on as they are and never looked into.
"""

from collections import Counter, deque
from collections.abc import Sequence
from math import inf
from typing import Any

from parmtrain.serving.events import Action, Answer, Dispatch, Group, Job, Kind, Limits, Overloaded, Query, Restart
from parmtrain.serving.scheme import DEPLOYED, Scheme


class Frontend:
    """Forms coding groups in the order of arrival and answers each query once, from whichever comes first.

    A query goes to the deployed model's pool at once. When its group is full, coded queries go to theirs. Instances of
    a pool share one queue, and each has one job at a time. Work that no answer can come of any more is dropped from the
    queues; what runs already runs on, and what it returns is not needed.

    Every method takes the time of its event, returns what is to be done, and expects events in the order of time.

    Args:
        scheme: The code.
        instances: How many instances each pool has; they are numbered from 0, pool by pool.
        limits: Times and bounds.

    Attributes:
        counts: What happened: answers by kind, ``refused`` queries, ``copies``, ``coded`` queries, jobs ``dropped`` and
            ``retried``, results that were ``garbage`` or ``stale``, instances ``lost`` and ``hung``.
        fill_time: Seconds that full groups took to fill, in all.
        occupied: Seconds that the instances of each pool had a job, in all.

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
        >>> answer.kind.value, answer.query.payload, answer.output
        ('reconstructed', 'b', ('F(a)', None, 'F_P(P)'))
    """

    def __init__(self, scheme: Scheme, instances: Sequence[int], limits: Limits | None = None) -> None:
        self.scheme, self.limits = scheme, limits or Limits()
        self.pool_of = [pool for pool, count in enumerate(instances) for _ in range(count)]
        if not instances or max((DEPLOYED, *scheme.pools)) >= len(instances) or min(instances) < 1:
            raise ValueError(
                f"instances={list(instances)}: pools 0 to {max((DEPLOYED, *scheme.pools))} need one or more"
            )
        self.counts: Counter[str] = Counter()
        self.fill_time = 0.0
        self.occupied = [0.0] * len(instances)
        self._idle: list[deque[int]] = [deque() for _ in instances]
        for instance, pool in enumerate(self.pool_of):
            self._idle[pool].append(instance)
        self._queues: list[deque[Job]] = [deque() for _ in instances]
        self._running: dict[int, Job] = {}
        self._down: set[int] = set()
        self._open: Group | None = None
        self._made: Counter[str] = Counter()
        self._waiting = 0
        self._deadlines: deque[Query] = deque()  # each in the order of time, since what they wait for is constant
        self._copies: deque[Query] = deque()
        self._held: deque[Query] = deque()
        self._hung: deque[tuple[float, int, Job]] = deque()

    @property
    def waiting(self) -> int:
        """How many queries wait for an answer."""
        return self._waiting

    def runs(self, instance: int, job: Job) -> bool:
        """Whether an instance has a job, as far as is known."""
        return self._running.get(instance) is job

    def submit(self, now: float, payload: Any) -> list[Action]:
        """Take a query.

        Raises:
            Overloaded: If as many as are allowed wait for an answer; the query is in no group then.
        """
        if self._waiting >= self.limits.waiting:
            self.counts["refused"] += 1
            raise Overloaded(f"{self._waiting} queries wait for an answer, as many as are allowed; try again later")
        group = self._open = self._open or Group(self._next("groups"), self.scheme.n)
        query = Query(self._next("queries"), payload, now, group, len(group.queries))
        group.queries.append(query)
        self._waiting += 1
        self._deadlines.append(query)
        if self.scheme.systematic:
            self._enqueue(Job(self._next("jobs"), group, query, query.position, DEPLOYED))
        if len(group.queries) == self.scheme.k:
            self._code(now, group)
        if self.limits.copy_after < inf:
            self._copies.append(query)
        if self.limits.reconstruct_after and self.scheme.pools:
            self._held.append(query)
        return self._assign(now) if self.limits.copy_after else self.tick(now)

    def finished(self, now: float, instance: int, job: Job, output: Any) -> list[Action]:
        """Take a result, which the driver has found to be well formed."""
        if not self._free(now, instance, job):
            return []
        group, query = job.group, job.query
        actions: list[Action] = []
        if job.worker >= 0 and not group.arrived >> job.worker & 1:
            group.outputs[job.worker] = output
            group.arrived |= 1 << job.worker
        if query is not None and not query.answered:
            actions.append(self._answer(query, Kind.deployed, output))
        if group.full and group.waits:
            given = self.scheme.recoverable(group.arrived)
            for other in group.queries:
                waited = now - other.at >= self.limits.reconstruct_after
                if given >> other.position & 1 and waited and not other.answered:
                    actions.append(self._reconstruction(other))
        return actions + self._assign(now)

    def garbage(self, now: float, instance: int, job: Job) -> list[Action]:
        """Take note of a result that is none: the work is given out once more, where that is allowed."""
        if not self._free(now, instance, job):
            return []
        self.counts["garbage"] += 1
        self._retry(job)
        return self._assign(now)

    def lost(self, now: float, instance: int) -> list[Action]:
        """Take note of an instance that died; what it ran is given out once more, where that is allowed."""
        if instance in self._down:
            return []
        self.counts["lost"] += 1
        self._take_down(now, instance)
        return self._assign(now)

    def restored(self, now: float, instance: int) -> list[Action]:
        """Take note of an instance that is there again."""
        if instance not in self._down:
            return []
        self._down.remove(instance)
        self._idle[self.pool_of[instance]].append(instance)
        return self._assign(now)

    def tick(self, now: float) -> list[Action]:
        """Do what is due: default answers, copies, and taking instances for dead that hang."""
        actions: list[Action] = []
        limits = self.limits
        while self._deadlines and (self._deadlines[0].answered or self._deadlines[0].at + limits.deadline <= now):
            query = self._deadlines.popleft()
            if not query.answered:
                actions.append(self._answer(query, Kind.default, None))
        while self._held and (self._held[0].answered or self._held[0].at + limits.reconstruct_after <= now):
            query = self._held.popleft()
            group = query.group
            if not query.answered and group.full and self.scheme.recoverable(group.arrived) >> query.position & 1:
                actions.append(self._reconstruction(query))
        while self._copies and (self._covered(self._copies[0]) or self._copies[0].at + limits.copy_after <= now):
            query = self._copies.popleft()
            if not self._covered(query):
                self.counts["copies"] += 1
                worker = query.position if self.scheme.systematic else -1
                self._enqueue(Job(self._next("jobs"), query.group, query, worker, DEPLOYED))
        while self._hung and (self._running.get(self._hung[0][1]) is not self._hung[0][2] or self._hung[0][0] <= now):
            _, instance, job = self._hung.popleft()
            if self._running.get(instance) is job:
                self.counts["hung"] += 1
                self._take_down(now, instance)
                actions.append(Restart(instance))
        return actions + self._assign(now)

    @property
    def next_tick(self) -> float:
        """When ``tick`` has something to do, at the earliest; infinite where nothing waits."""
        limits = self.limits
        deadline = self._deadlines[0].at + limits.deadline if self._deadlines else inf
        copy = self._copies[0].at + limits.copy_after if self._copies else inf
        held = self._held[0].at + limits.reconstruct_after if self._held else inf
        return min(deadline, copy, held, self._hung[0][0] if self._hung else inf)

    def _next(self, what: str) -> int:
        self._made[what] += 1
        return self._made[what] - 1

    def _code(self, now: float, group: Group) -> None:
        """Let no more queries into a full group, and queue its coded queries."""
        self._open = None
        group.full = True
        if not self.scheme.pools:
            return
        self.fill_time += now - group.queries[0].at
        self.counts["groups"] += 1
        for j, pool in enumerate(self.scheme.pools):
            self._enqueue(Job(self._next("jobs"), group, None, self.scheme.own + j, pool))

    def _covered(self, query: Query) -> bool:
        """Whether a query has its answer, or coded queries that may give it."""
        return query.answered or (query.group.full and bool(self.scheme.pools))

    def _enqueue(self, job: Job) -> None:
        self._queues[job.pool].append(job)

    def _assign(self, now: float) -> list[Action]:
        """Let idle instances pull what is queued, one job each."""
        actions: list[Action] = []
        for idle, queue in zip(self._idle, self._queues, strict=True):
            while idle and queue:
                job = queue.popleft()
                if not job.needed:
                    self.counts["dropped"] += 1
                    continue
                instance = idle.popleft()
                job.tries += 1
                job.began = now
                self.counts["coded"] += job.query is None
                self._running[instance] = job
                if self.limits.hung_after < inf:
                    self._hung.append((now + self.limits.hung_after, instance, job))
                actions.append(Dispatch(instance, job))
        return actions

    def _reconstruction(self, query: Query) -> Answer:
        return self._answer(query, Kind.reconstructed, tuple(query.group.outputs))

    def _answer(self, query: Query, kind: Kind, output: Any) -> Answer:
        query.answered = True
        self._waiting -= 1
        self.counts[kind] += 1
        return Answer(query, kind, output)

    def _free(self, now: float, instance: int, job: Job) -> bool:
        """Free an instance of a job; say no where it does not have it: the result is late, or came twice."""
        if self._running.get(instance) is not job:
            self.counts["stale"] += 1
            return False
        del self._running[instance]
        self.occupied[job.pool] += now - job.began
        self._idle[self.pool_of[instance]].append(instance)
        return True

    def _take_down(self, now: float, instance: int) -> None:
        self._down.add(instance)
        job = self._running.pop(instance, None)
        if job is None:
            self._idle[self.pool_of[instance]].remove(instance)
        else:
            self.occupied[job.pool] += now - job.began
            self._retry(job)

    def _retry(self, job: Job) -> None:
        if job.tries < self.limits.attempts and job.needed:
            self.counts["retried"] += 1
            self._queues[job.pool].appendleft(job)
