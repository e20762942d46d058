"""The frontend's data: queries, coding groups and jobs, and the actions that it asks for."""

from enum import StrEnum
from typing import Any, NamedTuple

from parmtrain.errors import ParmtrainError


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
    uncertain = "uncertain"  # reconstructed, with less confidence than is asked for


class Reason(StrEnum):
    """Why a query got a default answer."""

    deadline = "deadline"
    attempts = "attempts"  # what ran it failed as often as a job is tried
    decoding = "decoding"  # what was reconstructed is no prediction


class Guess(NamedTuple):
    """A decoded prediction.

    Args:
        prediction: The prediction.
        confidence: How far it can be trusted, 0 to 1.
        late: Number of workers whose outputs had not arrived.
    """

    prediction: Any
    confidence: float
    late: int


class Query:
    """A query that the frontend accepted.

    Attributes:
        number: Its number, in order of arrival.
        payload: The query itself.
        at: Time of its arrival.
        group: Its coding group.
        position: Its position in the group.
        answered: Whether it has been answered.
        asked: Whether its prediction was asked for.
        judged: Whether it was decoded, or cannot be.
        guess: What was decoded.
        heard: Whether the deployed model's own prediction has come.
    """

    __slots__ = ("answered", "asked", "at", "group", "guess", "heard", "judged", "number", "payload", "position")

    def __init__(self, number: int, payload: Any, at: float, group: "Group", position: int) -> None:
        self.number, self.payload, self.at = number, payload, at
        self.group, self.position, self.answered = group, position, False
        self.asked = self.judged = self.heard = False
        self.guess: Guess | None = None


class Group:
    """A coding group.

    Attributes:
        number: Its number, in order of first queries.
        tenant: Whose queries it holds.
        queries: Its queries so far.
        outputs: Outputs of its n workers; None for those that have not arrived.
        arrived: Bit mask of the workers whose outputs have arrived.
        closed: Whether it takes no more queries and is encoded: it is full, or was not filled in time.
        audited: Whether one of its predictions is decoded although nothing is late.
        compared: Whether one of its reconstructions was compared with F's own prediction.
        jobs: Its jobs that are queued or running.
        deaths: How many instances died of its jobs.
        failed: Whether a job of it is not tried again, or a prediction of it was decoded in vain.
        coded: Whether its coded queries were queued.
        lazy: Whether it is full and may be encoded later.
        coded_queries: Its coded queries, cached by the driver.
    """

    __slots__ = (
        "arrived", "audited", "closed", "coded", "coded_queries", "compared", "deaths", "failed", "jobs", "lazy",
        "number", "outputs", "queries", "tenant"
    )  # fmt: skip

    def __init__(self, number: int, n: int, tenant: str = "") -> None:
        self.number, self.tenant = number, tenant
        self.queries: list[Query] = []
        self.outputs: list[Any] = [None] * n
        self.arrived, self.closed = 0, False
        self.jobs: set[Job] = set()
        self.deaths, self.failed, self.coded, self.lazy = 0, False, False, False
        self.audited = self.compared = False
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
        return self.group.waits or self.group.audited if self.query is None else not self.query.answered


Jobs = tuple[Job, ...]


class Dispatch(NamedTuple):
    """Give ``jobs`` to ``instance``, which is idle, as one batch: jobs of one pool and of different groups."""

    instance: int
    jobs: Jobs


class Decode(NamedTuple):
    """Decode the prediction of ``query``, and say how far it can be trusted (``Frontend.decoded``).

    Args:
        query: The query.
        outputs: The outputs of its group's n workers; None where missing.
        arrived: Bit mask of the workers whose outputs have arrived.
        payload: The query itself, as it was submitted.
        size: Number of queries in its group.
        own: The deployed model's own prediction, in an audit: nothing is late, and the other outputs are decoded.
    """

    query: Query
    outputs: tuple[Any, ...]
    arrived: int
    payload: Any
    size: int
    own: Any = None


class Compare(NamedTuple):
    """Compare a decoded prediction with the deployed model's own, which came later (``Frontend.compared``).

    Args:
        group: The group.
        position: Position of the query in it.
        guess: What was decoded.
        own: The deployed model's own prediction.
        audit: Whether nothing was late.
    """

    group: Group
    position: int
    guess: Guess
    own: Any
    audit: bool = False


class Answer(NamedTuple):
    """Answer ``query``.

    Args:
        query: The query to answer.
        kind: How the answer is made.
        output: The deployed model's prediction, or the decoded one; None for a default answer.
        payload: The query itself, as it was submitted.
        reason: Why it is a default answer; None for others.
        confidence: How far a decoded prediction can be trusted, 0 to 1; None for others.
    """

    query: Query
    kind: Kind
    output: Any
    payload: Any
    reason: Reason | None = None
    confidence: float | None = None


class Restart(NamedTuple):
    """Replace ``instance``, which hangs."""

    instance: int


Action = Dispatch | Decode | Compare | Answer | Restart
