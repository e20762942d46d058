"""Listen on ports that nobody else listens on, with uvicorn."""

import asyncio
import logging
import resource
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import uvicorn

from parmtrain.errors import ConfigError, reason_of
from parmtrain.serving.protocol.patience import STOPPING, PatientProtocol

BACKLOG = 2048
CONNECTIONS = 8192  # further ones get status 503
IDLE = 75  # seconds that a connection without requests is kept: longer than load balancers and clients do
LOOK = 0.05  # seconds between two looks at a server that starts
DRAIN = 30  # seconds that queries in flight get at the end


def taken(host: str, port: int, name: str) -> socket.socket:
    """Return a socket that is bound to a port, which nobody else may share.

    Args:
        host: Address.
        port: Port.
        name: Name of the setting, for the error message.

    Raises:
        ConfigError: If another process has it, or there is no such address.

    Example:
        >>> with taken("127.0.0.1", 0, "port") as free:
        ...     taken("127.0.0.1", free.getsockname()[1], "port")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        parmtrain.errors.ConfigError: port=... must be free on 127.0.0.1: Address already in use; ...
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as fault:
        raise ConfigError([f"host must be an address of this machine, got {host} ({fault.strerror})"]) from fault
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # or the event loop leaves delays on
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(BACKLOG)  # two that are bound may not both listen
    except OSError as fault:
        bound.close()
        raise ConfigError(
            [f"{name}={port} must be free on {host}: {fault.strerror}; set {name}=… to another"]
        ) from fault
    bound.setblocking(False)
    return bound


@dataclass(frozen=True)
class Certificate:
    """What a server shows to its clients, who then reach it over TLS.

    Args:
        chain: PEM file of the certificate, and of those that vouch for it.
        key: PEM file of its private key.
    """

    chain: str
    key: str

    def check(self) -> None:
        """Raise a ``ConfigError`` if the files are none."""
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.chain, self.key)
        except (OSError, ValueError) as fault:  # also ssl.SSLError
            raise ConfigError(
                [f"tls_certificate={self.chain} and tls_key={self.key} must be a certificate and its key as PEM files, "
                 f"but: {reason_of(fault)}"]
            ) from fault  # fmt: skip


def server(app: Any, certificate: Certificate | None = None, **more: Any) -> uvicorn.Server:
    """Return a server of an ASGI application, to be given sockets; with a certificate it speaks TLS."""
    if certificate is not None:
        more |= {"ssl_certfile": certificate.chain, "ssl_keyfile": certificate.key}
    config = uvicorn.Config(
        app,
        http=PatientProtocol,
        ws="none",
        log_level="warning",
        access_log=False,
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=DRAIN,
        timeout_keep_alive=IDLE,
        server_header=False,
        **more,
    )
    return _Server(config)


class _Server(uvicorn.Server):
    """A server whose connections know that it stops, those too that are made only then."""

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Stop; if asked again, end at once, where what is cut off is no error to tell of."""
        if self.should_exit:
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take nothing more, and wait for what is in flight."""
        setattr(self.server_state, STOPPING, True)
        await super().shutdown(sockets)


class _Main(_Server):
    """A server that tells somebody as it is asked to stop, and as it has stopped."""

    told: Callable[[], None]
    ended: Callable[[], Awaitable[None]]

    async def _serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve; what is to be awaited at the end comes before uvicorn repeats the signal that it was stopped by."""
        try:
            await super()._serve(sockets)
        finally:
            await self.ended()

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Stop: answer what is in flight, and take nothing more."""
        self.told()
        super().handle_exit(sig, frame)


class _Beside(_Server):
    """A server that leaves signals to another one."""

    def capture_signals(self) -> Any:
        """Capture none."""
        return nullcontext()


async def _both(
    app: Any,
    bound: socket.socket,
    watched: Any,
    beside: socket.socket,
    certificate: Certificate | None,
    told: Callable[[], None],
) -> None:
    main, other = _Main(server(app, certificate).config), _Beside(server(watched).config)
    main.told = told

    async def watch() -> None:
        while not (main.started or main.should_exit):  # until then another process may answer there
            await asyncio.sleep(LOOK)
        await other.serve([beside])

    task = asyncio.create_task(watch())

    async def end_beside() -> None:
        other.should_exit = True
        await task

    main.ended = end_beside
    await main.serve([bound])


def serve_both(
    app: Any,
    bound: socket.socket,
    watched: Any,
    beside: socket.socket,
    certificate: Certificate | None = None,
    told: Callable[[], None] = lambda: None,
) -> None:
    """Serve an application and, on a socket that clients do not fill, another one for health and metrics.

    Args:
        app: The application.
        bound: Its socket.
        watched: The other one, which answers from when the first takes queries until all in flight are answered.
        beside: Its socket.
        certificate: With which the application speaks TLS.
        told: Called as the process is asked to stop.
    """
    allow_connections()
    with asyncio.Runner(loop_factory=server(app).config.get_loop_factory()) as runner:
        runner.run(_both(app, bound, watched, beside, certificate, told))


def allow_connections() -> None:
    """Let this process have as many connections as the system allows it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def serve(app: Any, bound: socket.socket, **more: Any) -> None:
    """Serve an ASGI application on a socket until the process is asked to stop; queries in flight are answered."""
    allow_connections()
    made = server(app, **more)
    with asyncio.Runner(loop_factory=made.config.get_loop_factory()) as runner:
        runner.run(made.serve([bound]))
