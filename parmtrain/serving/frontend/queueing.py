"""The queue of a pool: jobs that wait for an instance, and the batches that they are given out in."""

from collections import deque
from collections.abc import Callable
from math import inf

from parmtrain.serving.frontend.events import Group, Job, Jobs
from parmtrain.serving.frontend.limits import Limits


class Queue:
    """Jobs in order of arrival, given out in batches.

    A batch never holds two jobs of one coding group, neither two of its queries nor a query and the parity query that
    covers it: a slow or lost batch then costs each group one output, as a slow instance does without batches.

    Args:
        limits: How many jobs a batch may hold, and how long a job may wait until it is full.
        dropped: Called with each job that is not given out, since it can no longer answer a query.

    Example:
        >>> from parmtrain.serving.frontend.events import Query
        >>> groups = [Group(number, 2) for number in range(2)]
        >>> queue = Queue(Limits(batch_max=2, batch_wait=0.5), print)
        >>> for number in range(4):  # two queries of one group, then two of another
        ...     query = Query(number, "", 0.0, groups[number // 2], number % 2)
        ...     query.group.queries.append(query)
        ...     queue.add(Job(number, query.group, query, query.position, 0, queued=0.0))
        >>> [[job.number for job in queue.take(now=0.1)] for _ in range(2)]
        [[0, 2], [1, 3]]
    """

    def __init__(self, limits: Limits, dropped: Callable[[Job], None]) -> None:
        self.most, self.patience, self.dropped = limits.batch_max, limits.batch_wait, dropped
        self._jobs: deque[Job] = deque()

    def __len__(self) -> int:
        return len(self._jobs)

    def add(self, job: Job) -> None:
        """Queue a job behind all others."""
        self._jobs.append(job)

    def add_first(self, job: Job) -> None:
        """Queue a job before all others."""
        self._jobs.appendleft(job)

    def take(self, now: float) -> Jobs:
        """Take the next batch; it is empty if there is no job, or if it is worth waiting for further ones."""
        batch: list[Job] = []
        groups: set[Group] = set()
        skipped: list[Job] = []
        while self._jobs and len(batch) < self.most:
            job = self._jobs.popleft()
            if not job.needed:
                self.dropped(job)
            elif batch and (job.alone or job.group in groups):
                skipped.append(job)
            else:
                batch.append(job)
                groups.add(job.group)
                if job.alone:
                    break
        self._jobs.extendleft(reversed(skipped))
        if batch and len(batch) < self.most and self._due(batch[0]) > now:
            self._jobs.extendleft(reversed(batch))
            return ()
        return tuple(batch)

    @property
    def due(self) -> float:
        """Time from which on ``take`` gives a batch that is not full; infinite if there is no job."""
        return self._due(self._jobs[0]) if self._jobs else inf

    def _due(self, first: Job) -> float:
        """Return until when a job waits for others; one that is tried again does not."""
        return first.queued if first.tries or first.alone else first.queued + self.patience
