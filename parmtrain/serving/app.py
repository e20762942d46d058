"""The service on Ray: a Serve deployment that is the frontend, and an actor for each instance.

Ray is imported here and in ``actors`` alone. Instances are actors that the frontend calls one at a time, since
a coding group's work must be placed by the frontend: Serve's own replicas of one deployment are chosen by its router,
which may give both queries of a pair to the same one.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import ray
import torch
from ray import serve
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from parmtrain.serving.actors import ActorInstance, Metrics
from parmtrain.serving.events import Kind, Overloaded
from parmtrain.serving.frontend import Frontend
from parmtrain.serving.requests import RAW, Refused, as_json, check, most_bytes, parse
from parmtrain.serving.served import ServeSettings, pools, read_served
from parmtrain.serving.service import Service
from parmtrain.serving.worker import archive

WARM_UP = 5


class FrontendDeployment:
    """The frontend as a Serve deployment: over HTTP, and through a Python handle.

    Args:
        settings: What to serve, and how.
        waits: For each instance, what slows it, in experiments.
    """

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self, settings: dict[str, Any], waits: list[Callable[[], None] | None] | None = None
    ) -> None:
        self.settings = ServeSettings(**settings)
        self.settings.check()
        served = read_served(self.settings)
        self.shape = served.query_shape
        counts = pools(self.settings, served)
        scheme = served.scheme
        models = [ray.put(archive(model)) for model in served.models]
        pool_of = [pool for pool, count in enumerate(counts) for _ in range(count)]
        waits = waits or [None] * len(pool_of)
        instances = [
            ActorInstance(models[pool], wait, self.settings.cpus) for pool, wait in zip(pool_of, waits, strict=True)
        ]
        await asyncio.gather(*(instance.ready() for instance in instances))
        self.metrics = Metrics()
        self.frontend = Frontend(scheme, counts, self.settings.limits)
        self.service = Service(
            self.frontend,
            served.bundle,
            instances,
            served.outputs,
            served.width,
            default=served.default,
            happened=self.metrics.answered,
            filled=self.metrics.filled,
        )
        torch.set_num_threads(1)
        for _ in range(WARM_UP):  # TorchScript optimises as it runs
            served.bundle.encode(torch.zeros(1, served.bundle.k, *self.shape))
            late = torch.arange(served.bundle.n).eq(0).unsqueeze(0)
            served.bundle.decode(torch.zeros(1, served.bundle.n, served.width), ~late)

    async def predict(self, query: Any) -> dict[str, Any]:
        """Answer a query that comes through a Python handle, a tensor or an array ``[*query]``."""
        return as_json(await self.service.predict(check(query, self.shape)))

    async def __call__(self, request: Request) -> Response:
        """Answer a query that comes over HTTP: POST to any path; GET /healthz asks whether the service is there."""
        if request.method == "GET":
            return self._health(request.url.path)
        if request.method != "POST":
            return self._refuse(405, f"{request.method} is no way to ask; POST is")
        try:
            query = parse(await self._body(request), request.headers.get("content-type", ""), self.shape)
            prediction = await self.service.predict(query)
        except Refused as fault:
            return self._refuse(fault.status, str(fault))
        except Overloaded as fault:
            return self._refuse(503, str(fault), {"Retry-After": "1"})
        if RAW in request.headers.get("accept", "") and prediction.output is not None:
            content = prediction.output.float().numpy().astype("<f4").tobytes()
            return Response(content, media_type=RAW, headers={"X-Parmtrain-Kind": prediction.kind.value})
        status = 504 if prediction.kind is Kind.default else 200
        return JSONResponse(as_json(prediction), status)

    async def _body(self, request: Request) -> bytes:
        """Read a body, and no more of it than a query can have."""
        body, most = bytearray(), most_bytes(self.shape)
        async for chunk in request.stream():
            body += chunk
            if len(body) > most:
                raise Refused(413, f"the body has more than {most} bytes, which is more than a query can have")
        return bytes(body)

    def counts(self) -> dict[str, int]:
        """Return what the frontend counted."""
        return {str(name): count for name, count in self.frontend.counts.items()}

    def _health(self, path: str) -> Response:
        if not path.endswith("/healthz"):
            return self._refuse(404, f"there is nothing at {path}; POST a query, or GET /healthz")
        state = {"waiting": self.frontend.waiting, "counts": self.counts(), "occupied": self.frontend.occupied}
        return JSONResponse({"status": "ok", **state})

    def _refuse(self, status: int, sentence: str, headers: dict[str, str] | None = None) -> Response:
        self.metrics.refused.inc(tags={"status": str(status)})
        return JSONResponse({"error": sentence}, status, headers)


def build(arguments: dict[str, Any]) -> Any:
    """Build the Serve application, for ``import_path`` in a file for ``serve deploy``.

    Args:
        arguments: Fields of ``ServeSettings``; ``bundle`` is needed. Every node must see the bundle's folder.
    """
    return application(ServeSettings(**arguments))


def application(settings: ServeSettings, waits: list[Callable[[], None] | None] | None = None) -> Any:
    """Build the Serve application, for ``serve.run``.

    Args:
        settings: What to serve, and how.
        waits: For each instance, what slows it, in experiments.
    """
    settings.check()
    deployment = serve.deployment(
        FrontendDeployment,
        name="frontend",
        num_replicas=1,  # groups form in one place
        max_ongoing_requests=settings.waiting + 100,
        ray_actor_options={"num_cpus": 0},
    )
    return deployment.bind(vars(settings), waits)
