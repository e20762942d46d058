"""The service before a fleet that exists already: one process, without Ray."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from functools import partial
from socket import socket

from prometheus_client import CollectorRegistry
from starlette.applications import Starlette

from parmtrain.command import log_to_terminal
from parmtrain.errors import ConfigError
from parmtrain.serving.connections import Connections
from parmtrain.serving.dataplane import DataPlane
from parmtrain.serving.event_loop import Watch, collecting_when_idle
from parmtrain.serving.fleet import Endpoint, pool_names, read_fleet
from parmtrain.serving.front import Dialect, Front, routes_of, warm_up
from parmtrain.serving.frontend import Frontend
from parmtrain.serving.grpc_host import require_grpc_ports, serving_grpc
from parmtrain.serving.http import HEADER_BYTES, Protocol, application
from parmtrain.serving.listening import serve_both, taken
from parmtrain.serving.prometheus import PrometheusMetrics
from parmtrain.serving.remote import RemoteInstance
from parmtrain.serving.requests import most_bytes
from parmtrain.serving.served import Served, ServeSettings, read_served
from parmtrain.serving.service import Instance, Service
from parmtrain.serving.supervisor import Supervisor

LOOK = 1.0  # seconds between two looks at the file of the fleet
log = logging.getLogger(__name__)


class Fleet:
    """The instances of a service, as a file names them: it is read again when it changes.

    Args:
        path: The file.
        read: Reads it; raises a ``ConfigError`` if it is wrong.
        service: The service; its frontend has the instances that the file names now.
        made: Makes an instance of an endpoint and a pool.
        listed: What the file names now.
    """

    def __init__(
        self,
        path: str,
        read: Callable[[], list[tuple[int, Endpoint]]],
        service: Service,
        made: Callable[[int, Endpoint], Instance],
        listed: list[tuple[int, Endpoint]],
    ) -> None:
        self.path, self.read, self.service, self.made = path, read, service, made
        self._known: tuple[int, int] | None = None  # it may have changed since it was listed
        self._numbers = dict(enumerate(listed))

    def _changed(self) -> tuple[int, int]:
        with suppress(OSError):
            state = os.stat(self.path)
            return state.st_mtime_ns, state.st_size
        return 0, 0

    async def follow(self) -> None:
        """Look at the file again and again."""
        while True:
            await asyncio.sleep(LOOK)
            now = self._changed()
            if now == self._known:
                continue
            self._known = now
            try:
                self.take(self.read())
            except ConfigError as fault:
                log.warning("%s; the fleet stays as it is", fault)

    def take(self, listed: list[tuple[int, Endpoint]]) -> None:
        """Add the instances that are new, and remove those that are not listed any more."""
        wanted = list(listed)
        for number, one in list(self._numbers.items()):
            if one in wanted:
                wanted.remove(one)
            else:
                log.info("%s leaves the fleet", one[1])
                self.service.remove(number)
                del self._numbers[number]
        for pool, endpoint in wanted:
            log.info("%s joins the fleet", endpoint)
            self._numbers[self.service.add(pool, self.made(pool, endpoint))] = (pool, endpoint)


def front_application(settings: ServeSettings, served: Served, number: int = 0) -> tuple[Starlette, Starlette]:
    """Return the ASGI application of a front before the fleet that the settings name, and that of health and metrics.

    Args:
        settings: What to serve and how.
        served: The bundle.
        number: Number of this front among ``settings.frontends``, which share the fleet evenly.

    Raises:
        ConfigError: If the file of the fleet is wrong.
    """
    assert settings.fleet is not None
    pools = pool_names(len(served.models))
    listed = read_share(settings, pools, number)
    counts = [sum(pool == own for own, _ in listed) for pool in range(len(pools))]
    shapes = [served.query_shape, *[served.bundle.parity_shape] * (len(pools) - 1)]
    metrics = PrometheusMetrics(CollectorRegistry(), pools)
    frontend = Frontend(served.scheme, counts, served.limits(settings), served.k(settings))
    service = Service(
        frontend,
        served.bundle,
        [],
        served.outputs,
        served.width,
        default=served.default,
        observer=metrics,
    )
    front, watch = Front.of(service, served, settings), Watch()
    metrics.watch(frontend, watch)
    longest = HEADER_BYTES + settings.batch_max * max(map(most_bytes, [*shapes, (served.outputs,), (served.width,)]))
    plane, grpc_port = DataPlane(front), settings.grpc_port and settings.grpc_port + number

    @asynccontextmanager
    async def life(app: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            connections = await stack.enter_async_context(Connections(longest))

            def made(pool: int, endpoint: Endpoint) -> RemoteInstance:
                return RemoteInstance(connections.to(endpoint), endpoint, shapes[pool], settings.batch_max)

            service.instances += [made(pool, endpoint) for pool, endpoint in listed]
            service.await_instances()
            warm_up(served)
            fleet = Fleet(settings.fleet or "", partial(read_share, settings, pools, number), service, made, listed)
            await stack.enter_async_context(serving_grpc(plane, settings.host, grpc_port, metrics.refuse))
            background = [
                asyncio.create_task(work)
                for work in (fleet.follow(), watch.follow(), collecting_when_idle(lambda: frontend.waiting == 0))
            ]
            for task in background:
                task.add_done_callback(_tell_of_failure)
            yield
            for task in background:
                task.cancel()
            service.close()
            await asyncio.gather(*background, return_exceptions=True)

    protocol = Protocol(plane, metrics.refuse)
    dialect = Dialect(front, protocol)
    shown = [*protocol.health, *dialect.health_routes, metrics.route]
    return application([*routes_of(front, protocol), metrics.route], lifespan=life), application(shown)


def _tell_of_failure(task: asyncio.Task[None]) -> None:
    """Log why work in the background ended, which goes on for ever."""
    if not task.cancelled() and (fault := task.exception()) is not None:
        log.error("%s ended: %s: %s", task.get_coro(), type(fault).__name__, fault)


def read_share(settings: ServeSettings, pools: list[str], number: int) -> list[tuple[int, Endpoint]]:
    """Return the endpoints of one of several fronts: every so many of each pool.

    Raises:
        ConfigError: If the file of the fleet is wrong, or a pool has fewer endpoints than there are fronts.
    """
    assert settings.fleet is not None
    listed, share = read_fleet(settings.fleet, pools), settings.frontends
    found = []
    for pool, name in enumerate(pools):
        own = [endpoint for one, endpoint in listed if one == pool]
        if len(own) < share:
            raise ConfigError(
                [
                    f"fleet={settings.fleet}: {name} must list {share} servers or more for frontends={share}, got "
                    f"{len(own)}"
                ]
            )
        found += [(pool, endpoint) for endpoint in own[number::share]]
    return found


def run_front(
    settings: ServeSettings, number: int, bound: socket, beside: socket, served: Served | None = None
) -> None:
    """Serve one front on two sockets until the process is asked to stop; a process of its own reads its own bundle."""
    log_to_terminal()
    app, watched = front_application(settings, served or read_served(settings), number)
    serve_both(app, bound, watched, beside)


def serve_alone(settings: ServeSettings) -> None:
    """Serve before a fleet until the user stops it.

    Raises:
        ConfigError: If a port is taken, or the file of the fleet is wrong.
    """
    served = read_served(settings)
    read_share(settings, pool_names(len(served.models)), 0)
    with ExitStack() as stack:
        bound = stack.enter_context(taken(settings.host, settings.port, "port"))
        ports = [settings.metrics_port + number for number in range(settings.frontends)]
        beside = [stack.enter_context(taken(settings.host, port, "metrics_port")) for port in ports]
        if settings.grpc_port is not None:
            require_grpc_ports(settings.host, [settings.grpc_port + number for number in range(settings.frontends)])
        about = served.bundle.about
        code = f"code={about['code']}, k={settings.k or about['k']}" if settings.coded else "uncoded"
        url = f"http://{settings.host}:{settings.port}"
        shown = ", ".join(f"http://{settings.host}:{port}/metrics" for port in ports)
        print(
            f"{about['task']}, {code}, before the fleet in {settings.fleet}\n"
            f"{url}/v2/models/{settings.name or about['task']}/infer and {url}/ take POST requests; "
            f"metrics for Prometheus: {shown}",
            flush=True,
        )
        if settings.frontends == 1:
            run_front(settings, 0, bound, beside[0], served)
        else:
            Supervisor(run_front, [settings], [(bound, one) for one in beside]).work()
