"""Settings of a service."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from parmtrain.files import behind_a_link, cannot_write
from parmtrain.serving.frontend.acceptance import Below
from parmtrain.serving.frontend.limits import Limits
from parmtrain.settings import require_valid, setting

REPLACED = ("unused", "uncoded")  # servers that run another deployed model than the bundle is for
UNUSUAL = ("uncoded", "refuse", "coded")  # what happens to queries out of the range of training
LAST_PORT = 65535
TRACING = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http")


@dataclass
class ServeSettings(Limits):
    """Settings of the service."""

    bundle: str = setting("", "folder of a run, or its export folder")
    k: int | None = setting(
        None, "queries in a group: the bundle's k, or fewer where its code takes groups that are not full", above=0
    )
    deployed: str | None = setting(None, "file of the deployed model, in place of the bundle's own")
    fleet: str | None = setting(
        None,
        "YAML file of servers, http://… or grpc://…, that run the models already; without it, Ray runs them on this "
        "machine or cluster",
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
    token_file: str = setting("", "with a fleet, file of the token that requests must carry (Authorization: Bearer …)")
    tls_certificate: str = setting("", "with a fleet, PEM file of the certificate with which port speaks TLS")
    tls_key: str = setting("", "PEM file of its key")
    traces: bool = setting(
        False, "with a fleet, send a trace of each query to OpenTelemetry, as its OTEL_… variables say"
    )
    frontends: int = setting(1, "processes that answer queries, each with a share of the instances", above=0)
    cpus: float = setting(0.0, "CPUs that Ray reserves for each instance", least=0)
    gpus: float = setting(0.0, "GPUs that Ray reserves for each instance; 0.5 lets two share one", least=0)
    unusual: str = setting(
        "uncoded",
        "queries out of the range of training, which could spoil reconstructions of others: uncoded | refuse | coded",
    )
    replaced: str = setting(
        "unused",
        "with a fleet, servers that state another deployed model than the bundle is for: unused | uncoded: used, and "
        "nothing is encoded until all run its own",
    )
    accept: float | None = setting(
        None,
        "least agreement with F that reconstructions which are sent are promised to have, as the bundle promises; by "
        "default all are sent",
        least=0,
        most=1,
    )
    below: str = setting(
        "wait",
        "queries whose reconstruction is not accepted: wait for F's own prediction | hedge: are sent again at once | "
        "send: get it nevertheless, as uncertain",
    )
    adapt: bool = setting(
        True, "whether more confidence is asked for while accepted reconstructions disagree more often than promised"
    )
    alarm_length: float = setting(
        1e6, "reconstructions until a false alarm that they disagree more often than promised, on average", least=100
    )
    keep: str = setting(
        "", "with a fleet, folder in which served queries and F's own answers are kept, to adapt to them"
    )
    keep_share: float = setting(1.0, "share of queries that is kept", least=0, most=1)
    follow: bool = setting(
        False,
        "with a fleet, whether another version of the bundle is taken as the link that bundle=… names leads to it",
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
        yield from self.conflicts()
        yield from self._faults_of_ports()
        if self.batch_wait and self.batch_max == 1:
            yield f"batch_wait={self.batch_wait:g} needs batch_max=2 or more"
        if "/" in self.name:
            yield f"name must have no /, got {self.name}"
        for name in ("k", "parity_replicas"):
            if not self.coded and getattr(self, name) is not None:
                yield f"{name} must not be set with coded=false, got {getattr(self, name)}"
        if self.gpus > 1 and not self.gpus.is_integer():
            yield f"gpus must be a fraction of one or a whole number, got {self.gpus:g}"
        if self.unusual not in UNUSUAL:
            yield f"unusual must be {', '.join(UNUSUAL[:-1])} or {UNUSUAL[-1]}, got {self.unusual}"
        if self.replaced not in REPLACED:
            yield f"replaced must be {' or '.join(REPLACED)}, got {self.replaced}"
        yield from self._faults_of_acceptance()
        if not self.host:
            yield "host must be an address, got an empty one"
        if bool(self.tls_certificate) != bool(self.tls_key):
            yield "tls_certificate and tls_key must be given together"
        if self.traces and not all(map(_installed, TRACING)):
            yield "traces needs more packages: pip install 'parmtrain[trace]'"
        yield from self._faults_before_ray() if self.fleet is None else self._faults_before_a_fleet()

    def _faults_of_acceptance(self) -> Iterator[str]:
        if self.below not in list(Below):
            yield f"below must be {', '.join(Below)}, got {self.below}"
        elif self.below != Below.wait and self.accept is None:
            yield f"below={self.below} needs accept=…, without which every reconstruction is accepted"
        if not self.coded and self.accept is not None:
            yield f"accept must not be set with coded=false, got {self.accept:g}"

    def _faults_of_ports(self) -> Iterator[str]:
        several = 1 if self.fleet is None else self.frontends
        if self.metrics_port <= self.port < self.metrics_port + several:
            yield f"metrics_port must be another port than port={self.port}"
        for name in ("metrics_port", "grpc_port"):
            first, most = getattr(self, name), LAST_PORT - several + 1
            if first is not None and first > most:
                yield f"{name} must be {most} or less for {several} frontends, got {first}"

    def _faults_before_ray(self) -> Iterator[str]:
        for name in ("grpc_port", "token_file", "tls_certificate", "traces", "keep", "follow"):
            if given := getattr(self, name):
                yield f"{name} needs fleet=…, got {given}"
        if self.replaced == "uncoded":
            yield "replaced=uncoded needs fleet=…"

    def _faults_before_a_fleet(self) -> Iterator[str]:
        for name, default in (("replicas", 2), ("parity_replicas", None), ("cpus", 0.0), ("gpus", 0.0)):
            if getattr(self, name) != default:
                yield f"{name} must not be set with fleet=…, whose servers run already, got {getattr(self, name)}"
        if self.follow and self.bundle and not behind_a_link(Path(self.bundle)):
            yield f"follow=true needs a link to a bundle, as versions/current of parmtrain adapt, got {self.bundle}"
        if self.keep and (why := cannot_write(Path(self.keep).expanduser())) is not None:
            yield f"keep={self.keep}: {why}; name another folder"

    def check(self) -> None:
        """Raise a ``ConfigError`` that lists every invalid value."""
        require_valid(self)

    @property
    def local(self) -> bool:
        """Whether the service is reachable from this machine only."""
        return self.host == "localhost" or self.host.startswith("127.")


def _installed(module: str) -> bool:
    """Return whether a module can be imported; its parents are."""
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False
