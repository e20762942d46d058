"""What to serve and how: a bundle, its deployed model, and the number of instances."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf

import torch
from torch import Tensor

from parmtrain.bundle import Bundle
from parmtrain.codes import Scheme
from parmtrain.codes.scheme import uncoded
from parmtrain.deployed import DeployedModel
from parmtrain.errors import ConfigError
from parmtrain.programs import Network
from parmtrain.query_range import QueryRange
from parmtrain.serving.events import Limits
from parmtrain.settings import require_valid, setting

UNUSUAL = ("uncoded", "refuse", "coded")  # what happens to queries out of the range of training


log = logging.getLogger(__name__)


@dataclass
class ServeSettings(Limits):
    """Settings of the service."""

    bundle: str = setting("", "folder of a run, or its export folder")
    k: int | None = setting(
        None, "queries in a group: the bundle's k, or fewer where its code takes groups that are not full", above=0
    )
    deployed: str | None = setting(None, "file of the deployed model, in place of the bundle's own")
    fleet: str | None = setting(
        None, "YAML file of servers that run the models already; without it, Ray runs them on this machine or cluster"
    )
    name: str = setting("", "what clients call the model; the task's name by default")
    coded: bool = setting(True, "false serves the deployed model alone; copy_after=0 then sends each query twice")
    replicas: int = setting(2, "instances of the deployed model, m, of all frontends together", above=0)
    parity_replicas: int | None = setting(
        None, "instances of each parity model, of all frontends together; m/k by default", above=0
    )
    host: str = setting("127.0.0.1", "address to listen on; the default is reachable from this machine only")
    port: int = setting(8000, "port to listen on", least=1, most=65535)
    metrics_port: int = setting(
        8080, "port of metrics for Prometheus and, with a fleet, of health; the first of several frontends",
        least=1, most=65535,
    )  # fmt: skip
    grpc_port: int | None = setting(
        None, "with a fleet, port of the protocol over gRPC, too; the first of several frontends", least=1, most=65535
    )
    frontends: int = setting(1, "processes that answer queries, each with a share of the instances", above=0)
    cpus: float = setting(0.0, "CPUs that Ray reserves for each instance", least=0)
    gpus: float = setting(0.0, "GPUs that Ray reserves for each instance; 0.5 lets two share one", least=0)
    unusual: str = setting(
        "uncoded",
        "queries out of the range of training, which could spoil reconstructions of others: uncoded | refuse | coded",
    )
    copy_after: float = setting(
        1.0, "seconds until a query whose group is not full is sent again", least=0, infinite=True
    )
    fill_after: float = setting(
        0.1, "seconds until a group that is not full is encoded as it is, by codes that can", least=0, infinite=True
    )
    hung_after: float = setting(
        60.0, "seconds until an instance that does not respond is replaced", above=0, infinite=True
    )
    overloaded_after: float = setting(
        5.0, "estimated seconds in the queue from which on further queries get status 503", above=0, infinite=True
    )
    waiting: int = setting(1000, "queries that may wait for an answer; further ones get status 503", above=0)

    def faults(self) -> Iterator[str]:
        """Yield every fault except numbers out of bounds."""
        if not self.bundle:
            yield "bundle must be the folder of a run or its export folder, got none; set bundle=…"
        if self.metrics_port <= self.port < self.metrics_port + (1 if self.fleet is None else self.frontends):
            yield f"metrics_port must be another port than port={self.port}"
        if self.grpc_port is not None and self.fleet is None:
            yield f"grpc_port needs fleet=…, got {self.grpc_port}"
        for name, default in (("replicas", 2), ("parity_replicas", None), ("cpus", 0.0), ("gpus", 0.0)):
            if self.fleet is not None and getattr(self, name) != default:
                yield f"{name} must not be set with fleet=…, whose servers run already, got {getattr(self, name)}"
        if self.gpus > 1 and not self.gpus.is_integer():
            yield f"gpus must be a fraction of one or a whole number, got {self.gpus:g}"
        if self.unusual not in UNUSUAL:
            yield f"unusual must be {', '.join(UNUSUAL[:-1])} or {UNUSUAL[-1]}, got {self.unusual}"
        if not self.host:
            yield "host must be an address, got an empty one"

    def check(self) -> None:
        """Raise a ``ConfigError`` that lists every invalid value."""
        require_valid(self)

    @property
    def local(self) -> bool:
        """Whether the service is reachable from this machine only."""
        return self.host == "localhost" or self.host.startswith("127.")


@dataclass
class Served:
    """A bundle and its deployed model."""

    bundle: Bundle
    deployed: DeployedModel
    coded: bool

    @property
    def query_shape(self) -> tuple[int, ...]:
        """Shape of one query."""
        return self.bundle.query_shape

    @property
    def outputs(self) -> int:
        """Length of one prediction."""
        return self.bundle.outputs

    @property
    def width(self) -> int:
        """Length of an output of a parity model."""
        return self.bundle.width

    @property
    def default(self) -> Tensor | None:
        """The decoder's answer without any worker output ``[c]``; None for codes that have none."""
        n = self.bundle.n
        answer = self.bundle.decode(torch.zeros(1, n, self.width), torch.zeros(1, n, dtype=torch.bool))[0, 0]
        return answer if bool(answer.isfinite().all()) else None

    @property
    def models(self) -> list[Network]:
        """The model of each pool."""
        fresh = [model for model in self.bundle.parity_models if model is not self.deployed] if self.coded else []
        return [self.deployed, *fresh]

    def limits(self, settings: ServeSettings) -> Limits:
        """Return the frontend's limits: groups have to fill unless the parity model was trained for others, too."""
        return settings.limits if takes_partial(self.bundle) else replace(settings.limits, fill_after=inf)

    def k(self, settings: ServeSettings) -> int | None:
        """Return how many queries make a full group; None for all that the scheme has."""
        return settings.k if self.coded else None

    @property
    def ordinary(self) -> QueryRange | None:
        """The range of queries that may be encoded with others; None where none can spoil another's answer."""
        stated = self.bundle.about.get("queries")
        if not self.coded or self.bundle.about.get("independent"):
            return None
        if stated is None:
            log.warning(
                "the bundle does not state the range of ordinary queries, since an older version wrote it: queries out "
                "of scale may spoil reconstructions of others; run its training again to have them kept apart"
            )
            return None
        return QueryRange.from_json(stated)

    @property
    def scheme(self) -> Scheme:
        """Which worker runs what."""
        return self.bundle.scheme if self.coded else uncoded()


def takes_partial(bundle: Bundle) -> bool:
    """Return whether a bundle's parity models take groups that are not full."""
    return bool(bundle.about.get("partial", False))


def read_served(settings: ServeSettings) -> Served:
    """Load the bundle that the settings name, and the deployed model of its run.

    Raises:
        ConfigError: If the bundle has a smaller k, or another and takes full groups alone.
        DataError: If the bundle holds no deployed model, and is not in a run's folder, whose configuration names it.
        DeployedModelError: If the deployed model is not the one that the bundle was trained for.
        ExportError: If the bundle is incomplete or changed.
    """
    from parmtrain.reopened import reopen  # imports all of training, which instances do not need

    given = Bundle(settings.bundle)
    if settings.coded and settings.k not in (None, given.k) and not (takes_partial(given) and settings.k < given.k):
        fewer = " or less" if takes_partial(given) else ""
        raise ConfigError([f"k must be {given.k}{fewer}, the k of the bundle in {settings.bundle}, got {settings.k}"])
    if given.deployed is not None and settings.deployed is None:
        return Served(given, given.deployed, settings.coded)
    prepared, bundle = reopen(settings.bundle, {"deployed.path": settings.deployed})
    return Served(bundle, prepared.deployed, settings.coded)


def instance_counts(settings: ServeSettings, served: Served) -> list[int]:
    """Return the number of instances of each pool: m, and by default m/k (rounded up) for each parity model.

    Raises:
        ConfigError: If a pool has fewer than there are frontends, each of which needs one of its own.
    """
    parity = settings.parity_replicas or -(-settings.replicas // (served.k(settings) or served.bundle.k))
    counts = [settings.replicas, *[parity] * (len(served.models) - 1)]
    few = dict(zip(("replicas", "parity_replicas"), counts, strict=False))
    faults = [
        f"{name} must be {settings.frontends} or more for frontends={settings.frontends}, got {count}"
        for name, count in few.items()
        if count < settings.frontends
    ]
    if faults:
        raise ConfigError(faults)
    return counts


def share_of(counts: Sequence[int], number: int, frontends: int) -> list[int]:
    """Return how many instances of each pool one of several frontends has; their shares differ by one at most.

    Args:
        counts: Instances of each pool.
        number: Number of the frontend, from 0; one that takes the place of another has its share.
        frontends: Number of frontends.

    Example:
        >>> share_of([5, 3], 0, 2), share_of([5, 3], 1, 2)
        ([3, 2], [2, 1])
    """
    return [len(range(number % frontends, count, frontends)) for count in counts]
