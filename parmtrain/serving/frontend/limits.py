"""How long a frontend waits, how many queries it accepts, and when it does more than ask F once."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from enum import StrEnum
from math import inf

from parmtrain.settings import setting


class Parity(StrEnum):
    """When full groups are encoded."""

    at_once = "at_once"
    idle = "idle"  # at once where an instance is idle, lazily otherwise
    lazy = "lazy"  # once several of their queries are late


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
    copy_percentile: float | None = setting(
        None,
        "percentile of recent latencies after which a query is sent again, in place of copy_after",
        above=0,
        most=100,
    )
    copy_budget: float = setting(
        inf, "copies of queries that may be sent, as a share of all queries", least=0, infinite=True
    )
    copy_coded: bool = setting(False, "whether queries of groups that are encoded are sent again, too")
    parity: str = setting(
        "at_once",
        "when full groups are encoded: at_once | idle: at once where an instance is idle, else as lazy | lazy: once "
        "two queries of a group are late; a single late one is sent again",
    )
    parity_worth: float = setting(
        0.0,
        "reconstructions that an encoded group must give on average; with fewer, no groups are encoded for parity_rest",
        least=0,
    )
    parity_rest: float = setting(
        60.0, "seconds for which no groups are encoded after that was found to be of no use", above=0, infinite=True
    )
    fill_after: float = setting(
        inf, "seconds until a group that is not full is encoded as it is, by codes that can", least=0, infinite=True
    )
    reconstruct_after: float = setting(0.0, "seconds to wait for F's own prediction before a reconstruction", least=0)
    audit: float = setting(
        0.0,
        "share of groups of which one prediction is decoded although nothing is late, to compare it with F's own",
        least=0,
        most=1,
    )
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

    def conflicts(self) -> Iterator[str]:
        """Yield what is wrong with these settings beyond their bounds."""
        if self.parity not in list(Parity):
            yield f"parity must be {', '.join(Parity)}, got {self.parity}"
        elif self.parity != Parity.at_once and self.copy_after == inf:
            yield f"parity={self.parity} needs copy_after, which says when a query is late until latencies are known"

    @property
    def limits(self) -> "Limits":
        """These settings alone, without those of a subclass."""
        return Limits(**{one.name: getattr(self, one.name) for one in fields(Limits)})
