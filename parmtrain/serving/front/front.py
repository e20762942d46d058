"""A service as a model of the Open Inference Protocol, and the routes through which it is reached."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from parmtrain.query_range import QueryRange
from parmtrain.serving.front.served import Served
from parmtrain.serving.frontend.events import Kind
from parmtrain.serving.protocol.dataplane import Answered, tenant_of
from parmtrain.serving.protocol.http import READ, Protocol, read_body
from parmtrain.serving.protocol.requests import RAW, Refused, as_json, as_query, most_bytes, parse
from parmtrain.serving.service.driver import Service
from parmtrain.serving.service.predictions import Prediction
from parmtrain.serving.settings import ServeSettings

DEADLINE = "deadline_ms"
LONGEST = 1e9  # milliseconds
WARM_UP = 20
SOON = 0.05  # seconds between two looks at whether there are instances


class Front:
    """Answer queries of the protocol, and single ones, through a service.

    Args:
        service: The service.
        name: What the model is called.
        query_shape: Shape of one query.
        ordinary: The range of queries that may be encoded with others; None for all.
        refuses: Whether others are refused; they are answered uncoded otherwise.

    Attributes:
        open: Whether load balancers may send it queries: not while it starts, and not once it is to end.
        ending: Whether it is to end.
    """

    def __init__(
        self,
        service: Service,
        name: str,
        query_shape: tuple[int, ...],
        ordinary: QueryRange | None = None,
        refuses: bool = False,
    ) -> None:
        self.service, self.name, self.query_shape = service, name, query_shape
        self.outputs, self.ordinary, self.fingerprint = service.outputs, ordinary, ""
        self.open, self.ending = True, False
        self.refuses = refuses or not service.frontend.scheme.systematic

    @classmethod
    def of(cls, service: Service, served: Served, settings: ServeSettings) -> "Front":
        """Return the front of a service as settings ask for it."""
        ordinary = served.ordinary if settings.unusual != "coded" else None
        name = settings.name or str(served.bundle.about["task"])
        return cls(service, name, served.query_shape, ordinary, settings.unusual == "refuse")

    @property
    def ready(self) -> bool:
        """Whether further queries can be answered: it is open, and there are instances that can run them."""
        return self.open and self.service.frontend.ready

    async def opened(self, patience: float) -> None:
        """Open it once there are instances that can run queries, or after some seconds, unless it is to end."""
        until = time.monotonic() + patience
        while not (self.ending or self.service.frontend.ready or time.monotonic() >= until):
            await asyncio.sleep(SOON)
        self.open = not self.ending

    def close(self) -> None:
        """Say from now on that it is not ready; queries that come nevertheless are answered."""
        self.open, self.ending = False, True

    async def infer(self, queries: np.ndarray, parameters: Mapping[str, Any], headers: Mapping[str, Any]) -> Answered:
        """Answer queries ``[b, *query]``, each on its own.

        Args:
            queries: The queries.
            parameters: What the request says of them: ``deadline_ms``.
            headers: What came with the request: whose it is (``x-tenant``), and which trace it belongs to.

        Raises:
            Refused: If a parameter is wrong, or there is no answer to give.
        """
        deadline, tenant = _deadline(parameters), tenant_of(headers)
        rows = torch.from_numpy(np.ascontiguousarray(queries))
        coded = [self.may_be_coded(row) for row in rows]
        self.service.frontend.require_room(len(rows))  # for all of them or none
        asked = [
            self.service.predict(row, deadline, one, tenant, self.service.tracer.begin(headers))
            for row, one in zip(rows, coded, strict=True)
        ]
        predictions = [await asked[0]] if len(asked) == 1 else await asyncio.gather(*asked)
        outputs = [one.output for one in predictions if one.output is not None]
        if len(outputs) < len(predictions):
            reasons = sorted({one.reason.value for one in predictions if one.reason is not None})
            raise Refused(504, f"no prediction could be given ({', '.join(reasons)})")
        about = {
            "kind": ",".join(one.kind.value for one in predictions),
            "group": ",".join(str(one.group) for one in predictions),
        }
        if any(one.confidence is not None for one in predictions):
            about["confidence"] = ",".join(_written(one.confidence) for one in predictions)
        return Answered(torch.stack(outputs).float().numpy(), about)

    async def predict(self, query: Any) -> Prediction:
        """Answer a query sent through a Python handle: a tensor or an array ``[*query]``."""
        return await self.one(as_query(query, self.query_shape))

    async def one(self, query: torch.Tensor, headers: Mapping[str, Any] | None = None) -> Prediction:
        """Answer one valid query ``[*query]``."""
        headers = headers or {}
        coded, tenant, trace = self.may_be_coded(query), tenant_of(headers), self.service.tracer.begin(headers)
        return await self.service.predict(query, coded=coded, tenant=tenant, trace=trace)

    def may_be_coded(self, query: torch.Tensor) -> bool:
        """Return whether a query ``[*query]`` may be encoded with those of others.

        Raises:
            Refused: If it may not, and such queries are refused.
        """
        wrong = None if self.ordinary is None else self.ordinary.wrong(query.numpy())
        if wrong is not None and self.refuses:
            raise Refused(422, f"the query must be like those of training: {wrong}")
        return wrong is None


def _written(confidence: float | None) -> str:
    """Return a confidence as text; that of a prediction by the deployed model itself is empty."""
    return "" if confidence is None else f"{confidence:.4f}"


def _deadline(parameters: Mapping[str, Any]) -> float | None:
    """Return the deadline of a request in seconds; None if it has none."""
    given = parameters.get(DEADLINE)
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 < given <= LONGEST:
        raise Refused(400, f"{DEADLINE} must be more than 0 and at most {LONGEST:g}, got {str(given)[:100]}")
    return given / 1000


class Dialect:
    """Single queries as JSON or as bare numbers on /, and the state of the service on /healthz.

    Args:
        front: The front.
        protocol: Routes of the protocol, which count what is refused.
    """

    def __init__(self, front: Front, protocol: Protocol) -> None:
        self.front, self.protocol = front, protocol

    @property
    def routes(self) -> list[BaseRoute]:
        """The routes."""
        return [Route("/", self.protocol.answering(self.query), methods=["POST"]), *self.health_routes]

    @property
    def health_routes(self) -> list[BaseRoute]:
        """The route of the state of the service."""
        return [Route("/healthz", self.protocol.answering(self.health), methods=READ)]

    async def query(self, request: Request) -> Response:
        """Answer one query."""
        shape = self.front.query_shape
        body = await read_body(request, most_bytes(shape))
        query = parse(body, request.headers.get("content-type", ""), shape)
        prediction = await self.front.one(query, request.headers)
        if RAW in request.headers.get("accept", "") and prediction.output is not None:
            content = prediction.output.float().numpy().astype("<f4").tobytes()
            about = {"X-Parmtrain-Kind": prediction.kind.value}
            if prediction.confidence is not None:
                about["X-Parmtrain-Confidence"] = _written(prediction.confidence)
            return Response(content, media_type=RAW, headers=about)
        if prediction.kind is Kind.default:
            self.protocol.refused(504)
        return JSONResponse(as_json(prediction), 504 if prediction.kind is Kind.default else 200)

    async def health(self, request: Request) -> Response:
        """Return what the frontend counts; status 503 while no query can be answered."""
        frontend = self.front.service.frontend
        counts = {str(name): count for name, count in frontend.counts.items()}
        up = [frontend.pools.up(pool) for pool in range(len(frontend.pools.occupied))]
        state = {"waiting": frontend.waiting, "counts": counts, "occupied": frontend.pools.occupied, "up": up}
        ready = self.front.ready
        return JSONResponse({"status": "ok" if ready else "not ready", **state}, 200 if ready else 503)


def routes_of(front: Front, protocol: Protocol) -> list[BaseRoute]:
    """Return all routes of a front."""
    return [*protocol.routes, *Dialect(front, protocol).routes]


def warm_up(served: Served) -> None:
    """Run the encoder and the decoder some times: TorchScript optimizes during the first calls."""
    torch.set_num_threads(1)
    if not served.coded:
        return
    bundle = served.bundle
    late = torch.arange(bundle.n).eq(0).unsqueeze(0)
    with torch.inference_mode():
        for _ in range(WARM_UP):
            bundle.encode(torch.zeros(1, bundle.k, *served.query_shape))
            decoded = bundle.decode(torch.zeros(1, bundle.n, served.width), ~late)
            if bundle.confidence is not None:
                bundle.confidence(decoded, ~late)
