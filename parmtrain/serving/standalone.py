"""The service before a fleet that exists already: one process, without Ray."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette

from parmtrain.errors import ConfigError
from parmtrain.serving.event_loop import Watch, collecting_when_idle
from parmtrain.serving.fleet import Endpoint, pool_names, read_fleet
from parmtrain.serving.front import Front, routes_of, warm_up
from parmtrain.serving.frontend import Frontend
from parmtrain.serving.http import application
from parmtrain.serving.listening import serve, taken
from parmtrain.serving.model_server import parity_shape
from parmtrain.serving.prometheus import PrometheusMetrics
from parmtrain.serving.remote import RemoteInstance
from parmtrain.serving.served import Served, ServeSettings, read_served
from parmtrain.serving.service import Service

LOOK = 1.0  # seconds between two looks at the file of the fleet
log = logging.getLogger(__name__)


class Fleet:
    """The instances of a service, as a file names them: it is read again when it changes.

    Args:
        path: The file.
        pools: Names of the pools.
        service: The service; its frontend has the instances that the file names now.
        made: Makes an instance of an endpoint and a pool.
        listed: What the file names now.
    """

    def __init__(
        self, path: str, pools: list[str], service: Service, made: Any, listed: list[tuple[int, Endpoint]]
    ) -> None:
        self.path, self.pools, self.service, self.made = path, pools, service, made
        self._known = self._changed()
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
                self.take(read_fleet(self.path, self.pools))
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


def front_application(settings: ServeSettings, served: Served) -> Starlette:
    """Return the ASGI application of a front before the fleet that the settings name.

    Raises:
        ConfigError: If the file of the fleet is wrong.
    """
    assert settings.fleet is not None
    pools = pool_names(len(served.models))
    listed = sorted(read_fleet(settings.fleet, pools), key=lambda one: one[0])
    counts = [sum(pool == own for own, _ in listed) for pool in range(len(pools))]
    shapes = [served.query_shape, *[parity_shape(served.bundle)] * (len(pools) - 1)]
    metrics = PrometheusMetrics(CollectorRegistry())
    frontend = Frontend(served.scheme, counts, served.limits(settings), served.k(settings))
    service = Service(
        frontend,
        served.bundle,
        [],
        served.outputs,
        served.width,
        default=served.default,
        happened=metrics.answered,
        filled=metrics.filled,
    )
    front, watch = Front.of(service, served, settings), Watch()
    metrics.watch(frontend, pools, watch)

    @asynccontextmanager
    async def life(app: Starlette) -> AsyncIterator[None]:
        connector = aiohttp.TCPConnector(limit=0, ttl_dns_cache=60)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False) as session:

            def made(pool: int, endpoint: Endpoint) -> RemoteInstance:
                return RemoteInstance(session, endpoint, shapes[pool])

            service.instances += [made(pool, endpoint) for pool, endpoint in listed]
            service.await_instances()
            warm_up(served)
            fleet = Fleet(str(settings.fleet), pools, service, made, listed)
            background = [
                asyncio.create_task(work)
                for work in (fleet.follow(), watch.follow(), collecting_when_idle(lambda: frontend.waiting == 0))
            ]
            yield
            for task in background:
                task.cancel()

    routes = [*routes_of(front, metrics.refuse), metrics.route]
    return application(routes, lifespan=life)


def serve_alone(settings: ServeSettings) -> None:
    """Serve before a fleet until the user stops it.

    Raises:
        ConfigError: If a port is taken, or the file of the fleet is wrong.
    """
    with taken(settings.host, settings.port, "port") as bound:
        served = read_served(settings)
        app = front_application(settings, served)
        about = served.bundle.about
        code = f"code={about['code']}, k={settings.k or about['k']}" if settings.coded else "uncoded"
        url = f"http://{settings.host}:{settings.port}"
        print(
            f"{about['task']}, {code}, before the fleet in {settings.fleet}\n"
            f"{url}/v2/models/{settings.name or about['task']}/infer and {url}/ take POST requests; metrics for "
            f"Prometheus: {url}/metrics",
            flush=True,
        )
        serve(app, bound)
