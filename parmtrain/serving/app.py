"""Run the service on Ray: the frontend as a Serve deployment, and one actor per instance.

Only this module and ``actors`` import Ray. Instances are actors rather than Serve replicas, because the frontend must
choose where each query of a coding group runs: Serve's router could send both queries of a pair to the same replica.
"""

import asyncio
from typing import Any

import ray
import torch
from ray import serve
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from parmtrain.programs import pack
from parmtrain.serving.actors import ActorInstance, Metrics
from parmtrain.serving.events import Kind, Overloaded
from parmtrain.serving.frontend import Frontend
from parmtrain.serving.requests import RAW, Refused, as_json, as_query, most_bytes, parse
from parmtrain.serving.served import ServeSettings, instance_counts, read_served
from parmtrain.serving.service import Service

WARM_UP = 5


class FrontendDeployment:
    """Serve the frontend over HTTP and through a Python handle.

    Args:
        settings: What to serve and how.
    """

    async def __init__(self, settings: dict[str, Any]) -> None:  # type: ignore[misc]  # Serve awaits it
        self.settings = ServeSettings(**settings)
        self.settings.check()
        served = read_served(self.settings)
        self.shape = served.query_shape
        counts = instance_counts(self.settings, served)
        scheme = served.scheme
        models = [ray.put(pack(model)) for model in served.models]
        pool_of = [pool for pool, count in enumerate(counts) for _ in range(count)]
        instances = [self.instance(number, pool, models[pool]) for number, pool in enumerate(pool_of)]
        await asyncio.gather(*(instance.ready() for instance in instances))
        self.metrics = Metrics()
        self.frontend = Frontend(scheme, counts, served.limits(self.settings), served.k(self.settings))
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
        for _ in range(WARM_UP):  # TorchScript optimizes during the first calls
            served.bundle.encode(torch.zeros(1, served.bundle.k, *self.shape))
            late = torch.arange(served.bundle.n).eq(0).unsqueeze(0)
            served.bundle.decode(torch.zeros(1, served.bundle.n, served.width), ~late)

    def instance(self, number: int, pool: int, model: Any) -> ActorInstance:
        """Return a new instance of a pool that runs ``model``, a reference to a ``Packed`` network."""
        return ActorInstance(model, self.settings.cpus)

    async def predict(self, query: Any) -> dict[str, Any]:
        """Answer a query sent through a Python handle: a tensor or an array ``[*query]``."""
        return as_json(await self.service.predict(as_query(query, self.shape)))

    async def __call__(self, request: Request) -> Response:
        """Answer an HTTP request: POST a query to any path, or GET /healthz for the state of the service."""
        if request.method == "GET":
            return self._health(request.url.path)
        if request.method != "POST":
            return self._refuse(405, f"method {request.method} is not allowed; use POST")
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
        """Read the body, up to the largest size that a query can have."""
        body, most = bytearray(), most_bytes(self.shape)
        async for chunk in request.stream():
            body += chunk
            if len(body) > most:
                raise Refused(413, f"the body must have at most {most} bytes, the largest size of a query")
        return bytes(body)

    def counts(self) -> dict[str, int]:
        """Return the frontend's counts."""
        return {str(name): count for name, count in self.frontend.counts.items()}

    def _health(self, path: str) -> Response:
        if not path.endswith("/healthz"):
            return self._refuse(404, f"unknown path {path}; POST a query, or GET /healthz")
        state = {"waiting": self.frontend.waiting, "counts": self.counts(), "occupied": self.frontend.occupied}
        return JSONResponse({"status": "ok", **state})

    def _refuse(self, status: int, sentence: str, headers: dict[str, str] | None = None) -> Response:
        self.metrics.refused.inc(tags={"status": str(status)})
        return JSONResponse({"error": sentence}, status, headers)


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
        num_replicas=1,  # all groups form in one process
        max_ongoing_requests=settings.waiting + 100,
        ray_actor_options={"num_cpus": 0},
    )
    return deployment.bind(vars(settings), **more)
