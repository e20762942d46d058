"""The frontend's data: queries, coding groups and jobs, and the actions that it asks for."""

from dataclasses import dataclass, fields
from enum import StrEnum
from math import inf
from typing import Any, NamedTuple

from parmtrain.errors import ParmtrainError
from parmtrain.settings import setting


class Overloaded(ParmtrainError):
    """A query was refused because the queue is full.

    Args:
        sentence: What is full.
        retry_after: Whole seconds after which it may be accepted.
    """

    def __init__(self, sentence: str, retry_after: int = 1) -> None:
        self.retry_after = retry_after
        super().__init__(sentence)


class Kind(StrEnum):
    """How an answer was made."""

    deployed = "deployed"
    reconstructed = "reconstructed"
    default = "default"


@dataclass(kw_only=True)
class Limits:
    """How long a frontend waits, and how many queries it accepts. Times are in seconds.

    With k > 1, ``fill_after`` protects the queries of groups that do not fill if the code allows it, and ``copy_after``
    does so for any code. Without a code, 0 is replication and the
    95th percentile of latency is hedging.
    """

    deadline: float = setting(10.0, "seconds until a default answer is sent", above=0, infinite=True)
    copy_after: float = setting(
        inf, "seconds until a query whose group is not full is sent again", least=0, infinite=True
    )
    fill_after: float = setting(
        inf, "seconds until a group that is not full is encoded as it is, by codes that can", least=0, infinite=True
    )
    reconstruct_after: float = setting(0.0, "seconds to wait for F's own prediction before a reconstruction", least=0)
    hung_after: float = setting(
        inf, "seconds until an instance that does not respond is replaced", above=0, infinite=True
    )
    waiting: int = setting(10_000, "queries that may wait for an answer; further ones are refused", above=0)
    overloaded_after: float = setting(
        inf, "estimated seconds in the queue from which on further queries are refused", above=0, infinite=True
    )
    attempts: int = setting(2, "how often a job is tried when instances fail", above=0)
    batch_max: int = setting(1, "queries that an instance may be given at a time, each of another group", above=0)
    batch_wait: float = setting(
        0.0, "seconds that a query may wait until a batch is full; 0 batches those that wait anyway", least=0
    )

    @property
    def limits(self) -> "Limits":
        """These settings alone, without those of a subclass."""
        return Limits(**{one.name: getattr(self, one.name) for one in fields(Limits)})


class Reason(StrEnum):
    """Why a query got a default answer."""

    deadline = "deadline"
    attempts = "attempts"  # what ran it failed as often as a job is tried
    decoding = "decoding"  # what was reconstructed is no prediction


class Query:
    """A query that the frontend accepted.

    Attributes:
        number: Its number, in order of arrival.
        payload: The query itself.
        at: Time of its arrival.
        group: Its coding group.
        position: Its position in the group.
        answered: Whether it has been answered.
    """

    __slots__ = ("answered", "at", "group", "number", "payload", "position")

    def __init__(self, number: int, payload: Any, at: float, group: "Group", position: int) -> None:
        self.number, self.payload, self.at = number, payload, at
        self.group, self.position, self.answered = group, position, False


class Group:
    """A coding group.

    Attributes:
        number: Its number, in order of first queries.
        tenant: Whose queries it holds.
        queries: Its queries so far.
        outputs: Outputs of its n workers; None for those that have not arrived.
        arrived: Bit mask of the workers whose outputs have arrived.
        closed: Whether it takes no more queries and is encoded: it is full, or was not filled in time.
        jobs: Its jobs that are queued or running.
        deaths: How many instances died of its jobs.
        failed: Whether a job of it is not tried again.
        coded: Whether its coded queries were queued.
        coded_queries: Its coded queries, cached by the driver.
    """

    __slots__ = (
        "arrived", "closed", "coded", "coded_queries", "deaths", "failed", "jobs", "number", "outputs", "queries",
        "tenant"
    )  # fmt: skip

    def __init__(self, number: int, n: int, tenant: str = "") -> None:
        self.number, self.tenant = number, tenant
        self.queries: list[Query] = []
        self.outputs: list[Any] = [None] * n
        self.arrived, self.closed = 0, False
        self.jobs: set[Job] = set()
        self.deaths, self.failed, self.coded = 0, False, False
        self.coded_queries: Any = None

    @property
    def waits(self) -> bool:
        """Whether some query has no answer yet."""
        return any(not query.answered for query in self.queries)

    def forget_if_done(self) -> None:
        """Drop queries and outputs once nothing can use them: they are large, and refer back to the group."""
        if self.closed and not self.jobs and not self.waits:
            for query in self.queries:
                query.payload = None
            self.queries, self.outputs, self.coded_queries = [], [], None


class Job:
    """Work for one instance: a query, or a coded query of a group.

    Attributes:
        number: Its number, in order of creation.
        group: The group that it belongs to.
        query: The query to run; None for a coded query.
        worker: The worker of the group whose output this is; None for a plain query under a code whose workers run
            only coded queries.
        pool: The pool of instances that can run it.
        tries: How often it was dispatched.
        queued: Time from which on it waits for an instance.
        began: Time of its last dispatch.
        running: Whether an instance runs it.
        alone: Whether it must not share a batch: it was in one of which an instance died.
        dropped: Whether it must not be dispatched any more.
    """

    __slots__ = (
        "alone",
        "began",
        "dropped",
        "group",
        "number",
        "pool",
        "query",
        "queued",
        "running",
        "tries",
        "worker",
    )

    def __init__(
        self, number: int, group: Group, query: Query | None, worker: int | None, pool: int, queued: float = 0.0
    ) -> None:
        self.number, self.group, self.query = number, group, query
        self.worker, self.pool, self.tries, self.queued, self.began = worker, pool, 0, queued, 0.0
        self.running = self.alone = self.dropped = False

    @property
    def needed(self) -> bool:
        """Whether its output can still answer a query."""
        if self.dropped:
            return False
        return self.group.waits if self.query is None else not self.query.answered


Jobs = tuple[Job, ...]


class Dispatch(NamedTuple):
    """Give ``jobs`` to ``instance``, which is idle, as one batch: jobs of one pool and of different groups."""

    instance: int
    jobs: Jobs


class Answer(NamedTuple):
    """Answer ``query``.

    Args:
        query: The query to answer.
        kind: How the answer is made.
        output: The deployed model's prediction; for a reconstruction, the outputs of the group's n workers (None where
            missing), from which ``query.position`` is to be decoded; None for a default answer.
        payload: The query itself, as it was submitted.
        reason: Why it is a default answer; None for others.
    """

    query: Query
    kind: Kind
    output: Any
    payload: Any
    reason: Reason | None = None


class Restart(NamedTuple):
    """Replace ``instance``, which hangs."""

    instance: int


Action = Dispatch | Answer | Restart
