"""Pools of instances: which ones are idle, what the others run, and what is queued."""

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from math import inf

from parmtrain.serving.events import Action, Dispatch, Job, Limits


class Pools:
    """Assign jobs to pools of instances; a pool shares one queue, and each instance runs one job at a time.

    A queued job that can no longer answer a query is dropped when its turn comes.

    Args:
        instances: Number of instances of each pool; they are numbered from 0, pool by pool.
        limits: When an instance counts as hung, and how often a job is tried.
        counts: Counter of ``coded`` queries and of jobs that are ``dropped``, ``retried`` or ``stale``.

    Attributes:
        pool_of: The pool of each instance.
        occupied: Total seconds that the instances of each pool were busy.
        down: Instances that are down, until they are restored.

    Example:
        >>> from parmtrain.serving.events import Group, Query
        >>> pools, group = Pools([1], Limits(), Counter()), Group(0, 1)
        >>> query = Query(0, "a", 0.0, group, 0)
        >>> group.queries.append(query)
        >>> pools.enqueue(Job(0, group, query, 0, pool=0))
        >>> [dispatch.instance for dispatch in pools.assign(now=0.0)]
        [0]
    """

    def __init__(self, instances: Sequence[int], limits: Limits, counts: Counter[str]) -> None:
        self.limits, self.counts = limits, counts
        self.pool_of = [pool for pool, count in enumerate(instances) for _ in range(count)]
        self.occupied = [0.0] * len(instances)
        self.down: set[int] = set()
        self._idle: list[deque[int]] = [deque() for _ in instances]
        for instance, pool in enumerate(self.pool_of):
            self._idle[pool].append(instance)
        self._queues: list[deque[Job]] = [deque() for _ in instances]
        self._running: dict[int, Job] = {}
        self._hanging: deque[tuple[float, int, Job]] = deque()  # sorted by time

    def job_of(self, instance: int) -> Job | None:
        """Return the job that an instance runs, or None."""
        return self._running.get(instance)

    def enqueue(self, job: Job) -> None:
        """Queue a job for an instance of its pool."""
        self._queues[job.pool].append(job)

    def assign(self, now: float) -> list[Action]:
        """Give queued jobs to idle instances, one each."""
        dispatches: list[Action] = []
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
                    self._hanging.append((now + self.limits.hung_after, instance, job))
                dispatches.append(Dispatch(instance, job))
        return dispatches

    def free(self, now: float, instance: int, job: Job) -> bool:
        """Free an instance of its job; return False if it does not run this job (a late or repeated result)."""
        if self._running.get(instance) is not job:
            self.counts["stale"] += 1
            return False
        del self._running[instance]
        self.occupied[job.pool] += now - job.began
        self._idle[self.pool_of[instance]].append(instance)
        return True

    def take_down(self, now: float, instance: int) -> None:
        """Mark an instance as down and retry its job, if attempts are left."""
        self.down.add(instance)
        job = self._running.pop(instance, None)
        if job is None:
            self._idle[self.pool_of[instance]].remove(instance)
        else:
            self.occupied[job.pool] += now - job.began
            self.retry(job)

    def restore(self, instance: int) -> None:
        """Mark an instance that was down as idle."""
        self.down.remove(instance)
        self._idle[self.pool_of[instance]].append(instance)

    def retry(self, job: Job) -> None:
        """Put a failed job at the front of its queue, if attempts are left."""
        if job.tries < self.limits.attempts and job.needed:
            self.counts["retried"] += 1
            self._queues[job.pool].appendleft(job)

    def hanging(self, now: float) -> Iterator[int]:
        """Yield each instance that has been running a job for too long."""
        while self._hanging:
            at, instance, job = self._hanging[0]
            hangs = self._running.get(instance) is job
            if hangs and at > now:
                return
            self._hanging.popleft()
            if hangs:
                yield instance

    @property
    def next_hang(self) -> float:
        """Earliest time at which ``hanging`` may find an instance."""
        return self._hanging[0][0] if self._hanging else inf
