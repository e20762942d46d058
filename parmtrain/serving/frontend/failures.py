"""What failed jobs mean for the queries of their groups: which are tried again, and which nothing can answer."""

from parmtrain.serving.frontend.events import Action, Group, Job, Query, Reason
from parmtrain.serving.frontend.limits import Limits
from parmtrain.serving.frontend.parts import Parts


def spoiled(group: Group, limits: Limits) -> bool:
    """Return whether as many instances died of a group's jobs as one job may be tried.

    One of its queries may kill whatever runs it, also as part of a coded query, so the group is not coded any more.
    """
    return group.deaths >= limits.attempts


class Failures:
    """Try failed jobs again while attempts are left, and give up the queries that nothing can answer any more.

    Args:
        parts: What the parts of the frontend share.
    """

    def __init__(self, parts: Parts) -> None:
        self.parts = parts

    def died(self, now: float, instance: int) -> list[Action]:
        """Take down an instance, and try the jobs that it ran again, each alone.

        One that kills whatever runs it then takes no further jobs with it. Whose fault the end of a shared batch was is
        not known, so it counts against none of its jobs.
        """
        actions: list[Action] = []
        jobs = self.parts.pools.take_down(now, instance)
        for job in reversed(jobs):  # each is put before all others
            job.alone = True
            if len(jobs) > 1:
                job.tries -= 1
            else:
                job.group.deaths += 1
            if spoiled(job.group, self.parts.limits):
                drop_coded(job.group)
            actions += self.failed(now, job)
        return actions

    def failed(self, now: float, job: Job) -> list[Action]:
        """Try a job again if attempts are left; otherwise answer the queries that nothing can answer any more."""
        if job.query is None:
            self.parts.breaker.ran(now, well=False)
        if self.parts.pools.retry(job):
            return []
        job.group.failed = True
        return self.given_up(job.group)

    def given_up(self, group: Group) -> list[Action]:
        """Answer the queries of a group that nothing can answer any more."""
        lost = self._hopeless(group) if group.failed else []
        if lost:
            self.parts.waiting.counts["failed"] += len(lost)
        return [self.parts.waiting.give_up(query, _reason(query)) for query in lost]

    def _hopeless(self, group: Group) -> list[Query]:
        """Return the queries that nothing which is queued, runs or may still be encoded can answer."""
        left = [job for job in group.jobs if job.running or job.needed]
        workers = sum({1 << job.worker for job in left if job.worker is not None})
        possible = self.parts.scheme.recoverable(group.arrived | workers) if group.closed else 0
        to_come = group.lazy or (not group.closed and bool(self.parts.scheme.pools))
        may_fill = to_come and not spoiled(group, self.parts.limits)
        own = {job.query for job in left}
        return [
            query
            for query in group.queries
            if not (query.answered or query in own or may_fill) and (query.judged or not possible >> query.position & 1)
        ]


def _reason(query: Query) -> Reason:
    """Return why nothing can answer a query: its outputs could not be decoded, or what ran it failed too often."""
    return Reason.decoding if query.judged else Reason.attempts


def drop_coded(group: Group) -> None:
    """Drop the coded queries of a group that no instance runs yet."""
    for job in [job for job in group.jobs if job.query is None and not job.running]:
        job.dropped = True
        group.jobs.discard(job)
