"""Models of servers that are reached over HTTP."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import aiohttp
import numpy as np

from parmtrain.errors import reason_of
from parmtrain.serving.fleet.endpoints import Endpoint
from parmtrain.serving.fleet.remote import PATIENCE, InstanceError
from parmtrain.serving.protocol.open_inference import LENGTH, Message, read, write

BINARY = "binary_tensor_data"
SOON = aiohttp.ClientTimeout(total=PATIENCE)


class HttpTransport:
    """A model of a server that is reached over HTTP, with bytes if the server takes them, and JSON otherwise.

    Args:
        session: HTTP connections, which are kept alive.
        endpoint: The server and its model.
    """

    def __init__(self, session: aiohttp.ClientSession, endpoint: Endpoint) -> None:
        self._session, self._endpoint = session, endpoint
        self._binary = True
        self._same: dict[int, tuple[bytes, dict[str, str]]] = {}

    async def require_ready(self) -> None:
        """Return if the server and its model say that they are ready.

        Raises:
            InstanceError: If they do not.
        """
        for path in ("/v2/health/ready", f"/v2/models/{self._endpoint.model}/ready"):
            with _reaching():
                async with self._session.get(f"{self._endpoint.server}{path}", timeout=SOON) as response:
                    if response.status != 200:
                        raise InstanceError(f"{path} returns {response.status}")

    async def metadata(self) -> Any:
        """Return the metadata of the model, and take from those of the server whether it takes bytes.

        Raises:
            InstanceError: If the server cannot be reached, or sends something else than JSON.
        """
        with _reaching():
            async with self._session.get(f"{self._endpoint.server}/v2", timeout=SOON) as response:
                about = await response.json(content_type=None) if response.status == 200 else {}
            async with self._session.get(str(self._endpoint), timeout=SOON) as response:
                model = await response.json(content_type=None)
        extensions = about.get("extensions") if isinstance(about, dict) else None
        self._binary, self._same = isinstance(extensions, list) and BINARY in extensions, {}
        return model

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
        body, headers = self._request(queries, given, wanted)
        with _reaching():
            try:
                return await self._post(body, headers)
            except aiohttp.ServerDisconnectedError:  # a server may close a connection just as it is used again
                return await self._post(body, headers)

    def _request(self, queries: np.ndarray, given: str, wanted: str) -> tuple[bytes, dict[str, str]]:
        """Return the body and the headers of a request; of binary ones, the part before the numbers is kept."""
        count = len(queries)
        if count not in self._same or not self._binary:
            inputs = {given: (queries, self._binary)}
            body, headers = write("inputs", inputs, wanted=wanted if self._binary else None)
            self._same[count] = body[: int(headers.get(LENGTH, 0))], headers
            return body, headers
        header, headers = self._same[count]
        return header + queries.tobytes(), headers

    async def _post(self, body: bytes, headers: dict[str, str]) -> Message:
        async with self._session.post(f"{self._endpoint}/infer", data=body, headers=headers) as response:
            content = await response.read()
            if response.status != 200:
                raise InstanceError(f"status {response.status}, {content[:200]!r}")
            return read(content, response.headers.get(LENGTH), "outputs")


@contextmanager
def _reaching() -> Iterator[None]:
    """Raise an ``InstanceError`` in place of what tells that a server cannot be reached, or sends no JSON."""
    try:
        yield
    except (aiohttp.ClientError, TimeoutError, ValueError) as fault:
        raise InstanceError(unreached(fault)) from fault


def unreached(fault: Exception) -> str:
    """Return why a server is not reached, and how to mend it.

    Example:
        >>> key = aiohttp.client_reqrep.ConnectionKey("10.0.0.1", 9000, False, True, None, None, None)
        >>> unreached(aiohttp.ClientConnectorError(key, ConnectionRefusedError(111, "Connect call failed")))
        'a server must listen at 10.0.0.1:9000, got: Connection refused; start it, or name another address'
        >>> unreached(TimeoutError())
        'it must answer in time, and did not'
    """
    if isinstance(fault, aiohttp.ClientSSLError):
        return f"its certificate must be trusted, got: {reason_of(getattr(fault, 'certificate_error', fault))}"
    if isinstance(fault, aiohttp.ClientConnectorError):
        number = fault.os_error.errno
        known = isinstance(number, int) and number in errno.errorcode
        why = os.strerror(number) if known and number is not None else reason_of(fault.os_error)
        return f"a server must listen at {fault.host}:{fault.port}, got: {why}; start it, or name another address"
    if isinstance(fault, TimeoutError):
        return "it must answer in time, and did not"
    if isinstance(fault, ValueError):
        return f"it must answer with JSON, but: {reason_of(fault)}"
    return f"it must answer, but: {reason_of(fault)}"
