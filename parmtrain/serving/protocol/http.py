"""The ASGI application: the Open Inference Protocol, and a dialect of JSON of its own on /."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from parmtrain.serving.frontend.events import Overloaded
from parmtrain.serving.protocol.dataplane import PREDICTION, VERSION, DataPlane
from parmtrain.serving.protocol.open_inference import LENGTH, read, write
from parmtrain.serving.protocol.openapi import document
from parmtrain.serving.protocol.requests import Refused, most_bytes_at_once

Handler = Callable[[Request], Awaitable[Response]]
BODY = 10.0  # seconds that a body may take
LONG = 256 * 1024  # bytes of JSON that are read beside the event loop
READ = ["GET", "HEAD"]


class Protocol:
    """Routes of the Open Inference Protocol over HTTP.

    Args:
        plane: What they offer.
        refused: Called with the status of every request that is refused, for metrics.
    """

    def __init__(self, plane: DataPlane, refused: Callable[[int], None] = lambda status: None) -> None:
        self.plane, self.refused = plane, refused

    @property
    def routes(self) -> list[BaseRoute]:
        """The routes."""
        model = "/v2/models/{name}"
        paths = (model, model + "/versions/{version}")
        return [
            *(Route(f"{path}/infer", self.answering(self.infer), methods=["POST"]) for path in paths),
            Route("/v2", self.answering(self.server), methods=READ),
            Route("/openapi.json", self.answering(self.described), methods=READ),
            *self.health,
            *(Route(path, self.answering(self.metadata), methods=READ) for path in paths),
            *(Route(f"{path}/ready", self.answering(self.model_ready), methods=READ) for path in paths),
        ]

    @property
    def health(self) -> list[BaseRoute]:
        """The routes that say whether the server is live and ready."""
        return [
            Route("/v2/health/live", self.answering(self.live), methods=READ),
            Route("/v2/health/ready", self.answering(self.ready), methods=READ),
        ]

    def answering(self, handler: Handler) -> Handler:
        """Return a handler whose refusals are responses."""

        async def handle(request: Request) -> Response:
            try:
                return await handler(request)
            except ClientDisconnect:
                return Response(status_code=400)
            except Refused as fault:
                return self.refuse(fault.status, str(fault))
            except Overloaded as fault:
                return self.refuse(503, str(fault), {"Retry-After": str(fault.retry_after)})

        return handle

    def refuse(self, status: int, sentence: str, headers: dict[str, str] | None = None) -> Response:
        """Return the response to a request that is refused."""
        self.refused(status)
        return JSONResponse({"error": sentence}, status, headers)

    async def server(self, request: Request) -> Response:
        """Return the metadata of the server."""
        return JSONResponse(self.plane.server)

    async def described(self, request: Request) -> Response:
        """Return the description of this interface."""
        return JSONResponse(document(self.plane))

    async def live(self, request: Request) -> Response:
        """Say that the process runs."""
        return JSONResponse({"live": True})

    async def ready(self, request: Request) -> Response:
        """Return 200 if queries can be answered now, and 503 otherwise."""
        ready = self.plane.ready
        return JSONResponse({"ready": ready}, 200 if ready else 503)

    async def metadata(self, request: Request) -> Response:
        """Return the metadata of a model."""
        return JSONResponse(self.plane.metadata(**request.path_params))

    async def model_ready(self, request: Request) -> Response:
        """Return 200 if a model can answer now, and 503 otherwise."""
        model = self.plane.model(**request.path_params)
        return JSONResponse({"name": model.name, "ready": model.ready}, 200 if model.ready else 503)

    async def infer(self, request: Request) -> Response:
        """Answer the queries of a request."""
        model = self.plane.model(**request.path_params)
        body = await read_body(request, most_bytes_at_once(model.query_shape))
        length = request.headers.get(LENGTH)
        if length is None and len(body) > LONG:  # JSON that would keep everybody else waiting
            message = await asyncio.to_thread(read, body, length, "inputs")
        else:
            message = read(body, length, "inputs")
        answered = await self.plane.infer(model, message, request.headers)
        about: dict[str, Any] = {"model_name": model.name, "model_version": VERSION}
        if message.id is not None:
            about["id"] = message.id
        if answered.parameters:
            about["parameters"] = answered.parameters
        content, headers = write("outputs", {PREDICTION: (answered.predictions, message.as_bytes(PREDICTION))}, about)
        return Response(content, headers=headers)


async def read_body(request: Request, most: int) -> bytes:
    """Read the body of a request.

    Raises:
        Refused: If it is compressed, or larger than ``most`` bytes, before it is read if a header says so.
    """
    encoding = request.headers.get("content-encoding", "identity")
    if encoding.lower() != "identity":
        raise Refused(415, f"Content-Encoding must be identity, got {encoding}")
    stated = request.headers.get("content-length", "")
    if stated.isdigit() and int(stated) > most:
        raise Refused(413, f"the body must have at most {most} bytes, got {stated}")
    body = bytearray()
    try:
        async with asyncio.timeout(BODY):
            async for chunk in request.stream():
                body += chunk
                if len(body) > most:
                    raise Refused(413, f"the body must have at most {most} bytes; send fewer queries at a time")
    except TimeoutError as fault:
        raise Refused(408, f"the body must come within {BODY:g} seconds, got {len(body)} bytes of it") from fault
    return bytes(body)


def application(routes: Sequence[BaseRoute], **more: Any) -> Starlette:
    """Return an ASGI application of routes; other paths are refused with a sentence."""

    async def unknown(request: Request, fault: Exception) -> Response:
        return JSONResponse({"error": f"unknown path {request.url.path}"}, 404)

    async def not_allowed(request: Request, fault: Exception) -> Response:
        return JSONResponse({"error": f"method {request.method} is not allowed for {request.url.path}"}, 405)

    return Starlette(routes=routes, exception_handlers={404: unknown, 405: not_allowed}, **more)
