"""Pools of instances: which ones are idle, what the others run, and what is queued."""

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from math import inf

from parmtrain.serving.frontend.events import Action, Dispatch, Group, Job, Jobs, Query
from parmtrain.serving.frontend.limits import Limits
from parmtrain.serving.frontend.queueing import Queue

RECENT = 0.05  # weight of the newest job in the pace of a pool


class Pools:
    """Assign jobs to pools of instances; a pool shares one queue, and each instance runs one batch at a time.

    A queued job that can no longer answer a query is dropped when its turn comes.

    Args:
        instances: Number of instances of each pool; they are numbered from 0, pool by pool.
        limits: When an instance counts as hung, and how often a job is tried.
        counts: Counter of ``batches``, of ``coded`` queries, of jobs that are ``dropped`` or ``retried``, and of
            results that are ``stale``.

    Attributes:
        pool_of: The pool of each instance.
        occupied: Total seconds that the instances of each pool were busy.
        down: Instances that are down, until they are restored.
        gone: Instances that left for good.

    Example:
        >>> pools, group = Pools([1], Limits(), Counter()), Group(0, 1)
        >>> query = Query(0, "a", 0.0, group, 0)
        >>> group.queries.append(query)
        >>> pools.ask(0.0, group, query, worker=0, pool=0)
        >>> [dispatch.instance for dispatch in pools.assign(now=0.0)]
        [0]
    """

    def __init__(self, instances: Sequence[int], limits: Limits, counts: Counter[str]) -> None:
        self.limits, self.counts = limits, counts
        self.pool_of = [pool for pool, count in enumerate(instances) for _ in range(count)]
        self.occupied = [0.0] * len(instances)
        self.down: set[int] = set()
        self.gone: set[int] = set()
        self._pace = [0.0] * len(instances)  # recent seconds of a job, by pool
        self._idle: list[deque[int]] = [deque() for _ in instances]
        for instance, pool in enumerate(self.pool_of):
            self._idle[pool].append(instance)
        self._queues = [Queue(limits, self._drop) for _ in instances]
        self._running: dict[int, Jobs] = {}
        self._asked = 0  # jobs
        self._hanging: deque[tuple[float, int, Jobs]] = deque()  # sorted by time

    def jobs_of(self, instance: int) -> Jobs:
        """Return the batch that an instance runs; it is empty if it runs none."""
        return self._running.get(instance, ())

    def ask(self, now: float, group: Group, query: Query | None, worker: int | None, pool: int) -> None:
        """Queue a job for an instance of a pool.

        Args:
            now: The time.
            group: The group that it belongs to.
            query: The query to run; None for a coded query.
            worker: The worker of the group whose output this is, as ``Job`` has it.
            pool: The pool.
        """
        job = Job(self._asked, group, query, worker, pool, now)
        self._asked += 1
        group.jobs.add(job)
        self._queues[pool].add(job)

    def assign(self, now: float) -> list[Action]:
        """Give queued jobs to idle instances, a batch each."""
        dispatches: list[Action] = []
        for idle, queue in zip(self._idle, self._queues, strict=True):
            while idle and queue and (jobs := queue.take(now)):
                instance = idle.popleft()
                for job in jobs:
                    job.tries += 1
                    job.began, job.running = now, True
                    self.counts["coded"] += job.query is None
                self.counts["batches"] += 1
                self._running[instance] = jobs
                if self.limits.hung_after < inf:
                    self._hanging.append((now + self.limits.hung_after, instance, jobs))
                dispatches.append(Dispatch(instance, jobs))
        return dispatches

    def _drop(self, job: Job) -> None:
        self.counts["dropped"] += 1
        job.group.jobs.discard(job)
        job.group.forget_if_done()

    def free(self, now: float, instance: int, jobs: Jobs) -> bool:
        """Free an instance of its batch; return False if it does not run this one (a late or repeated result)."""
        if self._running.get(instance) is not jobs:
            self.counts["stale"] += 1
            return False
        self._stop(now, instance)
        pool, began = self.pool_of[instance], jobs[0].began
        self._pace[pool] += RECENT * ((now - began) / len(jobs) - self._pace[pool])
        if instance not in self.gone:
            self._idle[pool].append(instance)
        return True

    def _stop(self, now: float, instance: int) -> Jobs:
        jobs = self._running.pop(instance)
        self.occupied[jobs[0].pool] += now - jobs[0].began
        for job in jobs:
            job.running = False
            job.group.jobs.discard(job)
        return jobs

    def take_down(self, now: float, instance: int) -> Jobs:
        """Mark an instance as down; return the batch that it ran, which is empty if it ran none."""
        if instance not in self.gone:
            self.down.add(instance)
        if instance in self._running:
            return self._stop(now, instance)
        if instance not in self.gone:
            self._idle[self.pool_of[instance]].remove(instance)
        return ()

    def restore(self, instance: int) -> None:
        """Mark an instance that was down as idle."""
        self.down.remove(instance)
        self._idle[self.pool_of[instance]].append(instance)

    def join(self, pool: int) -> int:
        """Add an instance to a pool, which is down until it is restored; return its number.

        It takes the number of one that left, if there is one.
        """
        left = (one for one in self.gone if self.pool_of[one] == pool and one not in self._running)
        number = min(left, default=len(self.pool_of))
        self.pool_of[number:] = self.pool_of[number:] or [pool]
        self.gone.discard(number)
        self.down.add(number)
        return number

    def leave(self, instance: int) -> None:
        """Remove an instance from its pool; it may finish the job that it runs."""
        if instance not in self.gone and instance not in self.down and instance not in self._running:
            self._idle[self.pool_of[instance]].remove(instance)
        self.gone.add(instance)
        self.down.discard(instance)

    def up(self, pool: int) -> int:
        """Return how many instances of a pool can run jobs."""
        away = self.down | self.gone
        return sum(own == pool and instance not in away for instance, own in enumerate(self.pool_of))

    def idle(self, pool: int) -> bool:
        """Return whether an instance of a pool is idle."""
        return bool(self._idle[pool])

    def wait(self, pool: int, count: int = 1) -> float:
        """Return the estimated seconds until the last of some jobs that are queued now is dispatched."""
        before = len(self._queues[pool]) + count - 1
        return before * self._pace[pool] / max(self.up(pool), 1) if before else 0.0

    def retry(self, job: Job) -> bool:
        """Put a failed job at the front of its queue, if it is needed and attempts are left; return whether it is.

        Instances that died of any of a group's jobs count for its coded queries: a query that kills what runs it does
        so as part of a coded query, too.
        """
        attempts = self.limits.attempts
        killed = job.query is None and job.group.deaths >= attempts
        if job.tries >= attempts or killed or not job.needed:
            return False
        self.counts["retried"] += 1
        job.group.jobs.add(job)
        self._queues[job.pool].add_first(job)
        return True

    def hanging(self, now: float) -> Iterator[int]:
        """Yield each instance that has been running a batch for too long."""
        while self._hanging:
            at, instance, jobs = self._hanging[0]
            hangs = self._running.get(instance) is jobs
            if hangs and at > now:
                return
            self._hanging.popleft()
            if hangs:
                yield instance

    @property
    def next_hang(self) -> float:
        """Earliest time at which ``hanging`` may find an instance."""
        return self._hanging[0][0] if self._hanging else inf

    @property
    def next_batch(self) -> float:
        """Earliest time at which a batch that is not full is given out; infinite if no instance is idle."""
        return min((queue.due for idle, queue in zip(self._idle, self._queues, strict=True) if idle), default=inf)
