"""The service before a fleet that exists already: one process, without Ray."""

import asyncio
import logging
import signal
import threading
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from multiprocessing.synchronize import Event
from pathlib import Path
from socket import socket
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry
from starlette.applications import Starlette

from parmtrain.adaptation.pairs import PairFolder
from parmtrain.bundle.examples import located
from parmtrain.codes.scheme import DEPLOYED
from parmtrain.command import log_to_terminal
from parmtrain.errors import ConfigError
from parmtrain.serving.fleet.connections import Connections
from parmtrain.serving.fleet.endpoints import Endpoint, pool_names
from parmtrain.serving.fleet.following import Fleet, read_share
from parmtrain.serving.fleet.remote import RemoteInstance
from parmtrain.serving.fleet.replaced import Replaced
from parmtrain.serving.front.front import Dialect, Front, routes_of, warm_up
from parmtrain.serving.front.served import Served, read_served
from parmtrain.serving.front.status import Status
from parmtrain.serving.front.version import Version
from parmtrain.serving.frontend.machine import Frontend
from parmtrain.serving.process.descendants import stop_with_parent
from parmtrain.serving.process.event_loop import Watch, collecting_when_idle
from parmtrain.serving.process.link import Link
from parmtrain.serving.process.supervisor import Supervisor
from parmtrain.serving.protocol.admission import Entrance
from parmtrain.serving.protocol.dataplane import DataPlane
from parmtrain.serving.protocol.grpc_host import require_grpc_ports, serving_grpc
from parmtrain.serving.protocol.http import Protocol, application
from parmtrain.serving.protocol.listening import serve_both, taken
from parmtrain.serving.protocol.requests import most_bytes_at_once, most_queries
from parmtrain.serving.service.driver import Service
from parmtrain.serving.service.keeping import Kept
from parmtrain.serving.service.prometheus import PrometheusMetrics
from parmtrain.serving.service.tracing import Tracer
from parmtrain.serving.settings import ServeSettings

SOON = 0.1  # seconds between two looks at a front that starts
log = logging.getLogger(__name__)


class FrontApplication(NamedTuple):
    """The ASGI applications of a front.

    Args:
        app: What clients reach.
        watched: Health and metrics.
        front: The front.
    """

    app: Any
    watched: Starlette
    front: Front


def front_application(
    settings: ServeSettings, served: Served, number: int = 0, patience: float = 0.0
) -> FrontApplication:
    """Return the applications of a front before the fleet that the settings name.

    Args:
        settings: What to serve and how.
        served: The bundle.
        number: Number of this front among ``settings.frontends``, which share the fleet evenly.
        patience: Seconds to wait for instances before queries are taken.

    Raises:
        ConfigError: If the file of the fleet is wrong.
    """
    assert settings.fleet is not None
    pools = pool_names(len(served.models))
    listed = read_share(settings, pools, number)
    counts = [sum(pool == own for own, _ in listed) for pool in range(len(pools))]
    shapes = [served.query_shape, *[served.bundle.parity_shape] * (len(pools) - 1)]
    metrics = PrometheusMetrics(CollectorRegistry(), pools)
    tracer = _tracer(settings, pools)
    frontend = Frontend(served.scheme, counts, served.limits(settings), served.k(settings), served.trust(settings))
    service = Service(
        frontend,
        served.bundle,
        [],
        served.outputs,
        served.width,
        default=served.default,
        observer=metrics,
        tracer=tracer,
        confidence=served.confidence,
        agreement=served.agreement,
        kept=Kept(PairFolder(Path(settings.keep) / str(number)), settings.keep_share) if settings.keep else None,
    )
    version = Version(service, served, settings)
    entrance = Entrance.of(settings)
    front, watch = Front.of(service, served, settings), Watch()
    front.open = False
    metrics.watch(service, watch)
    longest = max(map(most_bytes_at_once, [*shapes, (served.outputs,), (served.width,)]))
    plane, grpc_port = DataPlane(front), settings.grpc_port and settings.grpc_port + number

    @asynccontextmanager
    async def life(app: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            connections = await stack.enter_async_context(Connections(longest))

            replaced = Replaced(service.hold)

            def made(pool: int, endpoint: Endpoint) -> RemoteInstance:
                own, link = version.fingerprints[pool], connections.to(endpoint)
                told = replaced if settings.replaced == "uncoded" and pool == DEPLOYED else None
                return RemoteInstance(link, endpoint, shapes[pool], settings.batch_max, own, told)

            service.instances += [made(pool, endpoint) for pool, endpoint in listed]
            service.await_instances()
            warm_up(served)
            read, left = partial(read_share, settings, pools, number), partial(replaced.hear, other=None)
            fleet = Fleet(settings.fleet or "", read, service, made, listed, left)
            works = [fleet.follow(), watch.follow(), collecting_when_idle(lambda: frontend.waiting == 0)]
            if settings.follow:
                works.append(Link(settings.bundle, partial(read_served, settings), version.take).follow())
            background = [asyncio.create_task(work) for work in works]
            for task in background:
                task.add_done_callback(_tell_of_failure)
            await front.opened(patience)
            async with serving_grpc(plane, settings.host, grpc_port, metrics.refuse, entrance, settings.frontends > 1):
                yield
            for task in background:  # nothing is in flight any more
                task.cancel()
            service.close()
            await asyncio.gather(*background, return_exceptions=True)
            await asyncio.to_thread(tracer.close)

    protocol = Protocol(plane, metrics.refuse)
    dialect = Dialect(front, protocol)
    beside = [metrics.route, Status(front, pools, lambda: version.served.bundle).route]
    shown = [*protocol.health, *dialect.health_routes, *beside]
    app = application([*routes_of(front, protocol), *beside], lifespan=life)
    return FrontApplication(entrance.before(app), application(shown), front)


def _tracer(settings: ServeSettings, pools: list[str]) -> Tracer:
    """Return the tracer that the settings ask for."""
    if not settings.traces:
        return Tracer()
    from parmtrain.serving.service.open_telemetry import Spans, exporting

    return Spans(exporting(), pools)


def _tell_of_failure(task: asyncio.Task[None]) -> None:
    """Log why work in the background ended, which goes on for ever."""
    if not task.cancelled() and (fault := task.exception()) is not None:
        log.error("%s ended: %s: %s", task.get_coro(), type(fault).__name__, fault)


def run_front(
    settings: ServeSettings,
    number: int,
    bound: socket,
    beside: socket,
    ready: Event | None = None,
    patience: float = 0.0,
    served: Served | None = None,
) -> None:
    """Serve one front on two sockets until the process is asked to stop.

    Args:
        settings: What to serve and how.
        number: Number of the front.
        bound: Socket for clients.
        beside: Socket for health and metrics.
        ready: Set once queries can be answered; None for a front that no other process has started.
        patience: Seconds to wait for instances before queries are taken.
        served: The bundle; a process of its own reads it by itself.
    """
    if ready is not None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # it is for the process that started this one
        stop_with_parent()
    log_to_terminal()
    made = front_application(settings, served or read_served(settings), number, patience)
    if ready is not None:
        threading.Thread(target=_tell, args=(made.front, ready), daemon=True).start()
    serve_both(made.app, bound, made.watched, beside, Entrance.of(settings).certificate, made.front.close)


def _tell(front: Front, ready: Event) -> None:
    """Set an event once queries can be answered."""
    while not front.ready:
        time.sleep(SOON)
    ready.set()


def _as_it_is(settings: ServeSettings) -> ServeSettings:
    """Return settings that name the bundle which a link leads to now, whatever it may lead to later."""
    return replace(settings, bundle=str(located(Path(settings.bundle)).expanduser().resolve()))


def require_small_batches(settings: ServeSettings, served: Served) -> None:
    """Raise a ``ConfigError`` if batches would be larger than messages of parmtrain's servers may be."""
    most = min(map(most_queries, (served.query_shape, served.bundle.parity_shape)))
    if settings.batch_max > most:
        raise ConfigError([f"batch_max must be {most} or less for these queries, got {settings.batch_max}"])


def serve_alone(settings: ServeSettings) -> None:
    """Serve before a fleet until the user stops it.

    Raises:
        ConfigError: If a port is taken, or the file of the fleet is wrong.
    """
    entrance, served = Entrance.of(settings), read_served(settings)
    served.thresholds(settings)
    read_share(settings, pool_names(len(served.models)), 0)
    require_small_batches(settings, served)
    if settings.replaced == "uncoded" and not served.scheme.systematic:
        raise ConfigError(["replaced=uncoded needs a code whose queries F runs, too: this one encodes all of them"])
    with ExitStack() as stack:
        bound = stack.enter_context(taken(settings.host, settings.port, "port"))
        ports = [settings.metrics_port + number for number in range(settings.frontends)]
        beside = [stack.enter_context(taken(settings.host, port, "metrics_port")) for port in ports]
        if settings.grpc_port is not None:
            require_grpc_ports(settings.host, [settings.grpc_port + number for number in range(settings.frontends)])
        about = served.bundle.about
        code = f"code={about['code']}, k={settings.k or about['k']}" if settings.coded else "uncoded"
        url = f"http{'' if entrance.certificate is None else 's'}://{settings.host}:{settings.port}"
        shown = ", ".join(f"http://{settings.host}:{port}/metrics" for port in ports)
        print(
            f"{about['task']}, {code}, before the fleet in {settings.fleet}\n"
            f"{url}/v2/models/{settings.name or about['task']}/infer and {url}/ take POST requests; "
            f"metrics for Prometheus: {shown}",
            flush=True,
        )
        if settings.frontends == 1:
            signal.signal(signal.SIGHUP, lambda *_: log.warning("a change in place needs frontends=2 or more"))
            run_front(settings, 0, bound, beside[0], served=served)
        else:
            Supervisor(run_front, partial(_as_it_is, settings), [(bound, one) for one in beside]).work()
