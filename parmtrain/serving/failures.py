"""What failed jobs mean for the queries of a group: which of them nothing can answer any more."""

from parmtrain.codes.scheme import Scheme
from parmtrain.serving.events import Group, Limits, Query


def spoiled(group: Group, limits: Limits) -> bool:
    """Return whether as many instances died of a group's jobs as one job may be tried.

    One of its queries may kill whatever runs it, also as part of a coded query, so the group is not coded any more.
    """
    return group.deaths >= limits.attempts


def drop_coded(group: Group) -> None:
    """Drop the coded queries of a group that no instance runs yet."""
    for job in [job for job in group.jobs if job.query is None and not job.running]:
        job.dropped = True
        group.jobs.discard(job)


def hopeless(group: Group, scheme: Scheme, limits: Limits) -> list[Query]:
    """Return the queries of a group that nothing which is queued, runs or may still be encoded can answer.

    Args:
        group: A group of which a job is not tried again.
        scheme: The scheme of the code.
        limits: How often a job is tried.
    """
    workers = sum({1 << job.worker for job in group.jobs if job.worker is not None})
    possible = scheme.recoverable(group.arrived | workers) if group.closed else 0
    may_fill = not group.closed and bool(scheme.pools) and not spoiled(group, limits)
    own = {job.query for job in group.jobs}
    return [
        query
        for query in group.queries
        if not (query.answered or query in own or may_fill or possible >> query.position & 1)
    ]
