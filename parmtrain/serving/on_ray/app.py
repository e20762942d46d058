"""Run the service on Ray: the frontend as a Serve deployment, and one actor per instance.

Only this module, ``actors`` and ``life`` import Ray. Instances are actors rather than Serve replicas, because the
frontend must choose where each query of a coding group runs: Serve's router could send both queries of a pair to the
same replica. Several frontends are replicas of the deployment. Each starts instances of its own, which end with it: Ray
ends the actors that a process has started when it is gone.
"""

import asyncio
from collections.abc import MutableMapping
from typing import Any

import ray
from ray import serve
from starlette.requests import Request
from starlette.responses import Response

from parmtrain.programs import pack
from parmtrain.serving.fleet.endpoints import pool_names
from parmtrain.serving.front.front import Front, routes_of, warm_up
from parmtrain.serving.front.served import instance_counts, read_served, share_of
from parmtrain.serving.front.status import Status
from parmtrain.serving.frontend.machine import Frontend
from parmtrain.serving.instances.runner import precision_of
from parmtrain.serving.on_ray.actors import ActorInstance, Metrics
from parmtrain.serving.process.event_loop import collecting_when_idle
from parmtrain.serving.protocol.dataplane import DataPlane
from parmtrain.serving.protocol.http import Protocol
from parmtrain.serving.protocol.http import application as application_of
from parmtrain.serving.protocol.requests import as_json
from parmtrain.serving.service.driver import Service
from parmtrain.serving.settings import ServeSettings


class FrontendDeployment:
    """Serve the frontend over HTTP and through a Python handle.

    Args:
        settings: What to serve and how.
    """

    async def __init__(self, settings: dict[str, Any]) -> None:  # type: ignore[misc]  # Serve awaits it
        self.settings = ServeSettings(**settings)
        self.settings.check()
        served = read_served(self.settings)
        rank = serve.get_replica_context().rank.rank  # a replica that replaces another has its rank
        counts = share_of(instance_counts(self.settings, served), rank, self.settings.frontends)
        self.precision = precision_of(served.bundle.about, "cuda" if self.settings.gpus else "cpu")
        scheme = served.scheme
        models = [ray.put(pack(model)) for model in served.models]
        pool_of = [pool for pool, count in enumerate(counts) for _ in range(count)]
        instances = [self.instance(number, pool, models[pool]) for number, pool in enumerate(pool_of)]
        await asyncio.gather(*(instance.ready() for instance in instances))
        self.metrics = Metrics()
        limits, trust = served.limits(self.settings), served.trust(self.settings)
        self.frontend = Frontend(scheme, counts, limits, served.k(self.settings), trust)
        self.service = Service(
            self.frontend,
            served.bundle,
            instances,
            served.outputs,
            served.width,
            default=served.default,
            observer=self.metrics,
            confidence=served.confidence,
            agreement=served.agreement,
        )
        self.front = Front.of(self.service, served, self.settings)
        status = Status(self.front, pool_names(len(served.models)), lambda: served.bundle)
        self.app = application_of(
            [*routes_of(self.front, Protocol(DataPlane(self.front), self._refused)), status.route]
        )
        warm_up(served)
        self._collecting = asyncio.create_task(collecting_when_idle(lambda: self.frontend.waiting == 0))

    def instance(self, number: int, pool: int, model: Any) -> ActorInstance:
        """Return a new instance of a pool that runs ``model``, a reference to a ``Packed`` network."""
        settings = self.settings
        return ActorInstance(model, settings.cpus, settings.gpus, self.precision)

    async def predict(self, query: Any) -> dict[str, Any]:
        """Answer a query sent through a Python handle: a tensor or an array ``[*query]``."""
        return as_json(await self.front.predict(query))

    async def __call__(self, request: Request) -> Response:
        """Answer an HTTP request as the application does that a front alone serves."""
        sent: list[MutableMapping[str, Any]] = []

        async def keep(message: MutableMapping[str, Any]) -> None:
            sent.append(message)

        await self.app(request.scope, request.receive, keep)
        start, *rest = sent
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in start["headers"]}
        return Response(b"".join(part.get("body", b"") for part in rest), start["status"], headers)

    def counts(self) -> dict[str, int]:
        """Return the frontend's counts."""
        return {str(name): count for name, count in self.frontend.counts.items()}

    def _refused(self, status: int) -> None:
        self.metrics.refused.inc(tags={"status": str(status)})


def build(arguments: dict[str, Any]) -> Any:
    """Build the Serve application that ``import_path`` in a configuration of ``serve deploy`` names.

    Args:
        arguments: Fields of ``ServeSettings``; ``bundle`` is required. Every node must be able to read its folder.
    """
    return application(ServeSettings(**arguments))


def application(settings: ServeSettings, frontend: type[FrontendDeployment] = FrontendDeployment, **more: Any) -> Any:
    """Build the Serve application to pass to ``serve.run``.

    Args:
        settings: What to serve and how.
        frontend: The class of the frontend.
        more: Further arguments of that class.
    """
    settings.check()
    deployment = serve.deployment(
        frontend,
        name="frontend",
        num_replicas=settings.frontends,  # groups form within one
        max_ongoing_requests=settings.waiting + 100,
        ray_actor_options={"num_cpus": 0},
    )
    return deployment.bind(vars(settings), **more)
