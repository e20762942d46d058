"""What a frontend deals in: queries, coding groups and jobs, and what it asks to be done."""

from dataclasses import dataclass
from enum import StrEnum
from math import inf
from typing import Any, NamedTuple

from parmtrain.errors import ParmtrainError


class Overloaded(ParmtrainError):
    """A query was refused, since too many wait for an answer."""


class Kind(StrEnum):
    """How an answer was made."""

    deployed = "deployed"
    reconstructed = "reconstructed"
    default = "default"


@dataclass(frozen=True)
class Limits:
    """What a frontend waits for, and how much it takes. Times are in seconds.

    Args:
        deadline: From a query's arrival to its default answer.
        copy_after: From its arrival to when a query without the protection of a full group is sent to the deployed
            model once more: 0 is replication, the 95th percentile hedging. Where k > 1, that protects groups which do
            not fill.
        reconstruct_after: From its arrival to when it may be answered by a reconstruction; 0 takes whichever comes
            first, more gives the deployed model's own prediction, which is the better one, some time.
        hung_after: From a dispatch to when an instance that has not returned is taken for dead.
        waiting: Queries that may wait for an answer; more are refused.
        attempts: How often the same work is given out, where instances die over it or return garbage.
    """

    deadline: float = 10.0
    copy_after: float = inf
    reconstruct_after: float = 0.0
    hung_after: float = inf
    waiting: int = 10_000
    attempts: int = 2


class Query:
    """A query that was taken.

    Attributes:
        number: Of the query, in the order of arrival.
        payload: The query itself.
        at: When it arrived.
        group: Its coding group.
        position: Its position there.
        answered: Whether its one answer went out.
    """

    __slots__ = ("answered", "at", "group", "number", "payload", "position")

    def __init__(self, number: int, payload: Any, at: float, group: "Group", position: int) -> None:
        self.number, self.payload, self.at = number, payload, at
        self.group, self.position, self.answered = group, position, False


class Group:
    """A coding group.

    Attributes:
        number: Of the group, in the order of their first queries.
        queries: Its queries so far.
        outputs: What its n workers returned; None where nothing did.
        arrived: Bit mask of the workers that returned.
        full: Whether all of its queries are there, so that it is coded.
        coded: What a driver keeps of its encoding.
    """

    __slots__ = ("arrived", "coded", "full", "number", "outputs", "queries")

    def __init__(self, number: int, n: int) -> None:
        self.number = number
        self.queries: list[Query] = []
        self.outputs: list[Any] = [None] * n
        self.arrived, self.full = 0, False
        self.coded: Any = None

    @property
    def waits(self) -> bool:
        """Whether a query has no answer yet."""
        return any(not query.answered for query in self.queries)


class Job:
    """Work for one instance: a query, or a coded query of a group.

    Attributes:
        number: Of the job, in the order in which they were made.
        group: The group that it belongs to.
        query: The query itself, where it is no coded one.
        worker: The worker of the group whose output it is; -1 for a query that no worker of its code runs by itself.
        pool: The pool of instances that can run it.
        tries: How often it was given out.
        began: When it was given out last.
    """

    __slots__ = ("began", "group", "number", "pool", "query", "tries", "worker")

    def __init__(self, number: int, group: Group, query: Query | None, worker: int, pool: int) -> None:
        self.number, self.group, self.query = number, group, query
        self.worker, self.pool, self.tries, self.began = worker, pool, 0, 0.0

    @property
    def needed(self) -> bool:
        """Whether an answer may still come of it."""
        return self.group.waits if self.query is None else not self.query.answered


class Dispatch(NamedTuple):
    """Give ``job`` to ``instance``, which is idle."""

    instance: int
    job: Job


class Answer(NamedTuple):
    """Answer ``query``.

    Args:
        query: What is answered.
        kind: How the answer is made.
        output: The deployed model's prediction; the outputs of the group's n workers, None where they did not arrive,
            of which ``query.position`` is to be decoded; None for a default answer.
    """

    query: Query
    kind: Kind
    output: Any


class Restart(NamedTuple):
    """Replace ``instance``, which hangs."""

    instance: int


Action = Dispatch | Answer | Restart
