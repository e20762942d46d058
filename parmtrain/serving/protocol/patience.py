"""HTTP connections of clients that take too long."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADERS = 10.0  # seconds from a connection, or from the first byte of a later request, to the end of its headers
LAST = 1.0  # the same for a connection whose request has begun, or may have been sent already, as the server stops


class PatientProtocol(HttpToolsProtocol):
    """HTTP/1.1 whose clients must send the headers of a request in time; uvicorn waits for them without end."""

    _late: asyncio.TimerHandle | None = None
    _stopping = False

    def connection_made(self, transport: Any) -> None:
        """Wait for the first request of a connection."""
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._came()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes; what comes after a response has to lead to another request in time."""
        super().data_received(data)
        if self.cycle is not None and self.cycle.response_complete and not self.transport.is_closing():
            self._wait()

    def on_message_begin(self) -> None:
        """Wait for the headers of a request."""
        super().on_message_begin()
        self._wait()

    def on_headers_complete(self) -> None:
        """Wait no more."""
        self._came()
        super().on_headers_complete()
        if self._stopping and self.cycle is not None:
            self.cycle.keep_alive = False

    def shutdown(self) -> None:
        """Stop after the request that is on its way, also the first of a new connection, at which uvicorn hangs up."""
        if self._late is None:
            super().shutdown()
            return
        self._stopping = True
        self._came()
        self._wait(LAST)

    def _wait(self, seconds: float | None = None) -> None:
        if self._late is None:
            self._late = self.loop.call_later(HEADERS if seconds is None else seconds, self._hang_up)

    def _came(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _hang_up(self) -> None:
        self._late = None
        self.transport.close()
