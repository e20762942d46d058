"""Connections of a front to its fleet, over HTTP and gRPC."""

import os
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self

import aiohttp

from parmtrain.serving.fleet.endpoints import Endpoint
from parmtrain.serving.fleet.over_http import HttpTransport
from parmtrain.serving.fleet.remote import Transport

IDLE = 3.0  # seconds that a connection over HTTP is kept, less than servers do
CONNECT = 5.0  # seconds that one may take


class Connections:
    """Reach the servers of a fleet; a context manager, which closes all connections in the end.

    gRPC is imported once an endpoint needs it.

    Args:
        longest: Bytes of the longest message over gRPC.
    """

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._stack = AsyncExitStack()
        self._session: aiohttp.ClientSession | None = None
        self._channels: Any = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(limit=0, ttl_dns_cache=60, keepalive_timeout=IDLE)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT)
        session = aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False)
        self._session = await self._stack.enter_async_context(session)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def to(self, endpoint: Endpoint) -> Transport:
        """Return a way to an endpoint."""
        if not endpoint.over_grpc:
            assert self._session is not None
            return HttpTransport(self._session, endpoint)
        os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # what its library has to say is logged here, and once
        from parmtrain.serving.fleet.over_grpc import Channels, GrpcTransport

        if self._channels is None:
            self._channels = Channels(self._longest)
            self._stack.push_async_callback(self._channels.close)
        return GrpcTransport(self._channels, endpoint)
