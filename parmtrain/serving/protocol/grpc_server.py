"""The Open Inference Protocol over gRPC: the same data plane as over HTTP."""

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from parmtrain.errors import ConfigError
from parmtrain.serving.frontend.events import Overloaded
from parmtrain.serving.protocol.admission import SENTENCE, Token
from parmtrain.serving.protocol.dataplane import PREDICTION, TENANT, VERSION, DataPlane
from parmtrain.serving.protocol.grpc_messages import MESSAGE, PACKAGE, SERVICE
from parmtrain.serving.protocol.grpc_tensors import parameters_of, tensors_of
from parmtrain.serving.protocol.listening import CONNECTIONS, Certificate
from parmtrain.serving.protocol.open_inference import Message
from parmtrain.serving.protocol.requests import Refused, most_bytes_at_once

CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    404: grpc.StatusCode.NOT_FOUND,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    503: grpc.StatusCode.RESOURCE_EXHAUSTED,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
"""gRPC's code for each HTTP status of a refusal."""
ONCE = (TENANT, "authorization")
OPEN_CALLS = ("ServerLive", "ServerReady")  # which load balancers make without a token
Call = Callable[[Any, Mapping[str, Any]], Awaitable[dict[str, Any]]]
"""Answers a request, which came with some metadata."""


class GrpcService:
    """The six calls of the protocol.

    Args:
        plane: What they offer.
        refused: Called with the HTTP status of every request that is refused, for metrics.
        token: What requests must carry, except those for health.
    """

    def __init__(
        self,
        plane: DataPlane,
        refused: Callable[[int], None] = lambda status: None,
        token: Token | None = None,
    ) -> None:
        self.plane, self.refused, self.token = plane, refused, token

    @property
    def handlers(self) -> grpc.GenericRpcHandler:
        """The handlers of a server."""
        calls = {
            "ServerLive": self.server_live,
            "ServerReady": self.server_ready,
            "ModelReady": self.model_ready,
            "ServerMetadata": self.server_metadata,
            "ModelMetadata": self.model_metadata,
            "ModelInfer": self.model_infer,
        }
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(
                self._answering(name, call, MESSAGE[f"{name}Response"]),
                request_deserializer=MESSAGE[f"{name}Request"].FromString,
                response_serializer=MESSAGE[f"{name}Response"].SerializeToString,
            )
            for name, call in calls.items()
        }
        return grpc.method_handlers_generic_handler(f"{PACKAGE}.{SERVICE}", handlers)

    def _answering(self, name: str, call: Call, response: Any) -> Any:
        """Return a handler whose refusals are statuses."""
        token = None if name in OPEN_CALLS else self.token

        async def handle(request: Any, context: grpc.aio.ServicerContext) -> Any:
            given = list(context.invocation_metadata() or ())
            about = dict(given)
            try:
                if len(about) < len(given) and any([name for name, _ in given].count(one) > 1 for one in ONCE):
                    raise Refused(400, f"metadata must have {' and '.join(ONCE)} once")
                if token is not None and not token.admits(str(about.get("authorization", ""))):
                    raise Refused(401, SENTENCE)
                return response(**await call(request, about))
            except Refused as fault:
                self.refused(fault.status)
                await context.abort(CODES.get(fault.status, grpc.StatusCode.INTERNAL), str(fault))
            except Overloaded as fault:
                self.refused(503)
                await context.abort(CODES[503], str(fault), (("retry-after", str(fault.retry_after)),))

        return handle

    async def server_live(self, request: Any, about: Mapping[str, Any]) -> dict[str, Any]:
        """Say that the process runs."""
        return {"live": True}

    async def server_ready(self, request: Any, about: Mapping[str, Any]) -> dict[str, Any]:
        """Say whether queries can be answered now."""
        return {"ready": self.plane.ready}

    async def model_ready(self, request: Any, about: Mapping[str, Any]) -> dict[str, Any]:
        """Say whether a model can answer now."""
        return {"ready": self.plane.model(request.name, request.version).ready}

    async def server_metadata(self, request: Any, about: Mapping[str, Any]) -> dict[str, Any]:
        """Return the metadata of the server."""
        return self.plane.server

    async def model_metadata(self, request: Any, about: Mapping[str, Any]) -> dict[str, Any]:
        """Return the metadata of a model."""
        return self.plane.metadata(request.name, request.version)

    async def model_infer(self, request: Any, about: Mapping[str, Any]) -> dict[str, Any]:
        """Answer the queries of a request."""
        model = self.plane.model(request.model_name, request.model_version)
        answered = await self.plane.infer(model, message_of(request), about)
        output = {"name": PREDICTION, "datatype": "FP32", "shape": list(answered.predictions.shape)}
        return {
            "model_name": model.name,
            "model_version": VERSION,
            "id": request.id,
            "parameters": {name: parameter(value) for name, value in answered.parameters.items()},
            "outputs": [output],
            "raw_output_contents": [np.ascontiguousarray(answered.predictions, dtype="<f4").tobytes()],
        }


def message_of(request: Any) -> Message:
    """Return a gRPC request as a message of the protocol.

    Raises:
        Refused: If it holds tensors that are none.
    """
    asked: dict[str, bool | None] | None = {one.name: True for one in request.outputs} or None
    tensors = tensors_of(request, "input")
    return Message(tensors, parameters_of(request.parameters), request.id or None, asked, binary=True)


def parameter(value: Any) -> Any:
    """Return a plain value as a parameter."""
    kind = {bool: "bool_param", int: "int64_param", float: "double_param"}.get(type(value), "string_param")
    return MESSAGE["InferParameter"](**{kind: value if kind != "string_param" else str(value)})


async def grpc_server(
    service: GrpcService, host: str, port: int, certificate: Certificate | None, shared: bool
) -> grpc.aio.Server:
    """Start a server of the protocol; return it.

    Args:
        service: What it serves.
        host: Address.
        port: Port.
        certificate: With which it speaks TLS; None for plain connections.
        shared: Whether another process of this user may take the port as well.

    Raises:
        ConfigError: If another process has the port.
    """
    shapes = [model.query_shape for model in service.plane.models.values()]
    most = max(map(most_bytes_at_once, shapes))
    options = [("grpc.so_reuseport", int(shared)), ("grpc.max_receive_message_length", most)]
    made = grpc.aio.server(options=options, maximum_concurrent_rpcs=CONNECTIONS)
    made.add_generic_rpc_handlers((service.handlers,))
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        if certificate is None:
            made.add_insecure_port(address)
        else:
            pair = Path(certificate.key).read_bytes(), Path(certificate.chain).read_bytes()
            made.add_secure_port(address, grpc.ssl_server_credentials([pair]))
    except RuntimeError as fault:
        raise ConfigError([f"grpc_port={port} must be free on {host}; set grpc_port=… to another"]) from fault
    await made.start()
    return made
