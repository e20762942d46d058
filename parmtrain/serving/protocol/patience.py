"""HTTP connections of clients that take too long, and of a server that stops."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADERS = 10.0  # seconds from a connection, or from the first byte of a later request, to the end of its headers
LAST = 1.0  # seconds that a connection without a whole request gets for one, once the server stops
STOPPING = "stopping"  # attribute of uvicorn's state of a server


class PatientProtocol(HttpToolsProtocol):
    """HTTP/1.1 whose clients must send the headers of a request in time; uvicorn waits for them without end.

    As the server stops, a request that is on its way is answered; uvicorn hangs up on it.
    """

    _late: asyncio.TimerHandle | None = None
    _last = False

    def connection_made(self, transport: Any) -> None:
        """Wait for the first request of a connection."""
        super().connection_made(transport)
        self._wait(HEADERS)
        if getattr(self.server_state, STOPPING, False):  # it was accepted before, and is not told otherwise
            self.shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._came()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes; what comes after a response has to lead to another request in time."""
        super().data_received(data)
        if self.cycle is not None and self.cycle.response_complete and not self.transport.is_closing():
            self._wait(HEADERS)

    def on_message_begin(self) -> None:
        """Wait for the headers of a request."""
        super().on_message_begin()
        self._wait(HEADERS)

    def on_headers_complete(self) -> None:
        """Wait no more."""
        self._came()
        super().on_headers_complete()
        if self._last and self.cycle is not None:
            self.cycle.keep_alive = False

    def shutdown(self) -> None:
        """Stop after the request that is answered, or else after one that may have been sent already."""
        self._came()
        if self._answers:
            super().shutdown()
            return
        self._last = True
        self._wait(LAST)

    @property
    def _answers(self) -> bool:
        """Whether a request is being answered."""
        return self.cycle is not None and not self.cycle.response_complete

    def _wait(self, seconds: float) -> None:
        if self._late is None:
            self._late = self.loop.call_later(seconds, self._hang_up)

    def _came(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _hang_up(self) -> None:
        self._late = None
        if self._answers:  # and half of another request has come
            self._wait(HEADERS)
        else:
            self.transport.close()
