"""Servers in threads of their own, on free ports."""

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Queue
from typing import Any

from parmtrain.serving.protocol.listening import Certificate, server, taken

STARTING = 30


@contextmanager
def serving(app: Any, port: int = 0, certificate: Certificate | None = None) -> Iterator[str]:
    """Serve an ASGI application; yield its address."""
    with taken("127.0.0.1", port, "port") as bound:
        made = server(app, certificate)
        thread = threading.Thread(target=made.run, args=([bound],), daemon=True)
        thread.start()
        until = time.monotonic() + STARTING
        while not made.started:
            assert thread.is_alive()
            assert time.monotonic() < until
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{bound.getsockname()[1]}"
        finally:
            made.should_exit = True
            thread.join(STARTING)


@contextmanager
def serving_over_grpc(handlers: Any, port: int = 0, certificate: tuple[bytes, bytes] | None = None) -> Iterator[int]:
    """Serve handlers over gRPC, with a private key and a certificate over TLS; yield the port. It ends abruptly."""
    import grpc

    started: Queue[tuple[asyncio.AbstractEventLoop, asyncio.Event, int]] = Queue()

    async def work() -> None:
        made = grpc.aio.server(options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", -1)])
        made.add_generic_rpc_handlers((handlers,))
        address, ended = f"127.0.0.1:{port}", asyncio.Event()
        if certificate is None:
            bound = made.add_insecure_port(address)
        else:
            bound = made.add_secure_port(address, grpc.ssl_server_credentials([certificate]))
        await made.start()
        started.put((asyncio.get_running_loop(), ended, bound))
        await ended.wait()
        await made.stop(None)

    thread = threading.Thread(target=lambda: asyncio.run(work()), daemon=True)
    thread.start()
    loop, ended, bound = started.get(timeout=STARTING)
    try:
        yield bound
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(STARTING)


def worker_number() -> int:
    """Return the number of this process among those that run tests, so that each can have ports of its own."""
    return int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 10
