"""The protocol over gRPC beside HTTP, where it is asked for."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from importlib.util import find_spec

from parmtrain.errors import ConfigError
from parmtrain.serving.protocol.admission import Entrance
from parmtrain.serving.protocol.dataplane import DataPlane
from parmtrain.serving.protocol.listening import taken

LEFT = 10.0  # seconds that queries in flight get at the end


@asynccontextmanager
async def serving_grpc(
    plane: DataPlane,
    host: str,
    port: int | None,
    refused: Callable[[int], None] = lambda status: None,
    entrance: Entrance | None = None,
    shared: bool = False,
) -> AsyncIterator[None]:
    """Serve the protocol over gRPC in an event loop; a port of None serves nothing.

    Args:
        plane: What is served.
        host: Address.
        port: Port.
        refused: Called with the HTTP status of every request that is refused.
        entrance: How clients come in.
        shared: Whether another process of this user may take the port as well, as one does that replaces this one.

    Raises:
        ConfigError: If the port is taken.
    """
    if port is None:
        yield
        return
    from parmtrain.serving.protocol.grpc_server import GrpcService, grpc_server

    entrance = entrance or Entrance()
    service = GrpcService(plane, refused, entrance.token)
    started = await grpc_server(service, host, port, entrance.certificate, shared)
    try:
        yield
    finally:
        await started.stop(LEFT)


def require_grpc(what: str) -> None:
    """Raise a ``ConfigError`` that names what needs gRPC unless it is installed."""
    if find_spec("grpc") is None or find_spec("google.protobuf") is None:
        raise ConfigError([f"{what} needs more packages: pip install 'parmtrain[grpc]'"])


def require_grpc_ports(host: str, ports: Sequence[int]) -> None:
    """Raise a ``ConfigError`` unless gRPC is installed, or if a port is taken."""
    require_grpc("grpc_port")
    for port in ports:
        taken(host, port, "grpc_port").close()
