"""Models of servers that are reached over gRPC; only a fleet that has some imports this."""

import re
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from weakref import WeakValueDictionary

import grpc
import numpy as np

from parmtrain.serving.fleet.endpoints import SECURE, Endpoint
from parmtrain.serving.fleet.remote import LONGEST, PATIENCE, InstanceError
from parmtrain.serving.protocol.grpc_messages import MESSAGE, PACKAGE, SERVICE
from parmtrain.serving.protocol.grpc_tensors import parameters_of, tensors_of
from parmtrain.serving.protocol.open_inference import Message
from parmtrain.serving.protocol.tensors import datatype

CALLS = ("ServerReady", "ModelReady", "ModelMetadata", "ModelInfer")
CONNECT = 1.5  # seconds that a connection may take, so that its own error comes within PATIENCE
KEEPALIVE = 300.0  # seconds of silence during a call until the server is pinged; sooner, servers may hang up
ANSWER = 10.0  # seconds that it has to answer
LEAST, MOST = 4 * 2**20, 2**31 - 1  # bytes of the longest message
SHOWN = 200  # characters of what a server says
ADDRESSED = re.compile(r"failed to connect to all addresses; last error: \w+: \S+: ")  # which address differs each time


class Channels:
    """Connections over gRPC, one for each address, which are closed once nobody uses them any more.

    Args:
        longest: Bytes of the longest message; gRPC's default of 4 MiB if that is more.
    """

    def __init__(self, longest: int) -> None:
        longest = min(max(longest, LEAST), MOST)
        self._options: list[tuple[str, int]] = [
            ("grpc.max_send_message_length", longest),
            ("grpc.max_receive_message_length", longest),
            ("grpc.keepalive_time_ms", int(1000 * KEEPALIVE)),
            ("grpc.keepalive_timeout_ms", int(1000 * ANSWER)),
            ("grpc.initial_reconnect_backoff_ms", int(1000 * LONGEST / 10)),
            ("grpc.max_reconnect_backoff_ms", int(1000 * LONGEST)),
            ("grpc.min_reconnect_backoff_ms", int(1000 * CONNECT)),  # which bounds the time of an attempt
            ("grpc.enable_http_proxy", 0),
        ]
        self._open: WeakValueDictionary[str, grpc.aio.Channel] = WeakValueDictionary()

    def to(self, server: str) -> grpc.aio.Channel:
        """Return the connection to a server, ``grpc://host:port`` or ``grpcs://host:port``."""
        channel = self._open.get(server)
        if channel is None:
            scheme, _, address = server.partition("://")
            target = f"dns:///{address}"
            if scheme == SECURE:
                channel = grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(_roots()), self._options)
            else:
                channel = grpc.aio.insecure_channel(target, self._options)
            self._open[server] = channel
        return channel

    async def close(self) -> None:
        """Close them all, and give up what runs."""
        for channel in list(self._open.values()):
            await channel.close()


class GrpcTransport:
    """A model of a server that is reached over gRPC.

    Args:
        channels: Connections, of which this keeps its own open.
        endpoint: The server and its model.
    """

    def __init__(self, channels: Channels, endpoint: Endpoint) -> None:
        self._channel, self._model = channels.to(endpoint.server), unquote(endpoint.model)
        self._calls = {
            name: self._channel.unary_unary(
                f"/{PACKAGE}.{SERVICE}/{name}",
                request_serializer=MESSAGE[f"{name}Request"].SerializeToString,
                response_deserializer=MESSAGE[f"{name}Response"].FromString,
            )
            for name in CALLS
        }

    async def require_ready(self) -> None:
        """Return if the server and its model say that they are ready.

        Raises:
            InstanceError: If they do not.
        """
        if not (await self._ask("ServerReady", PATIENCE)).ready:
            raise InstanceError("ServerReady returns false")
        if not (await self._ask("ModelReady", PATIENCE, name=self._model)).ready:
            raise InstanceError(f"ModelReady returns false for {self._model}")

    async def metadata(self) -> dict[str, Any]:
        """Return the metadata of the model.

        Raises:
            InstanceError: If the server cannot be reached, or has none.
        """
        about = await self._ask("ModelMetadata", PATIENCE, name=self._model)
        return {"properties": dict(about.properties)} | {
            part: [
                {"name": one.name, "datatype": one.datatype, "shape": list(one.shape)} for one in getattr(about, part)
            ]
            for part in ("inputs", "outputs")
        }

    async def infer(self, queries: np.ndarray, given: str, wanted: str) -> Message:
        """Run the model on queries ``[b, *query]``; return its answer.

        Args:
            queries: The queries.
            given: Name of the input.
            wanted: Name of the output that is asked for.

        Raises:
            InstanceError: If the server cannot be reached, or refuses.
            Refused: If its answer is malformed.
        """
        answer = await self._ask(
            "ModelInfer",
            model_name=self._model,
            inputs=[{"name": given, "datatype": datatype(queries), "shape": queries.shape}],
            outputs=[{"name": wanted}],
            raw_input_contents=[queries.tobytes()],
        )
        return Message(tensors_of(answer, "output"), parameters_of(answer.parameters))

    async def _ask(self, call: str, timeout: float | None = None, **fields: Any) -> Any:
        try:
            return await self._calls[call](MESSAGE[f"{call}Request"](**fields), timeout=timeout)
        except grpc.aio.AioRpcError as fault:
            said = ADDRESSED.sub("", fault.details() or "")[:SHOWN]
            raise InstanceError(f"{call} fails with {fault.code().name}: {said}".rstrip(": ")) from fault
        except grpc.aio.BaseError as fault:
            raise InstanceError(f"{call} fails: {fault}") from fault


def _roots() -> bytes | None:
    """Return the certificates of the authorities that this system trusts; None for gRPC's own if it has none."""
    paths = ssl.get_default_verify_paths()
    if paths.cafile is not None:
        return Path(paths.cafile).read_bytes()
    found = sorted(Path(paths.capath).glob("*.0")) if paths.capath is not None else []
    return b"\n".join(one.read_bytes() for one in found) or None
