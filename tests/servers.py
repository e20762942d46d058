"""Servers in threads of their own, on free ports."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from parmtrain.serving.listening import Certificate, server, taken

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
