"""Instances that are servers of the Open Inference Protocol, whoever wrote them."""

import asyncio
import logging
from typing import Any

import aiohttp
import numpy as np
import torch
from torch import Tensor

from parmtrain.serving.fleet import Endpoint
from parmtrain.serving.open_inference import LENGTH, read, write
from parmtrain.serving.tensors import TYPES

log = logging.getLogger(__name__)
MOST_DOUBLED = 10
FIRST, LONGEST = 0.05, 1.0  # seconds between two looks at a server that is not ready
PATIENCE = 2.0  # seconds that a server may take to say whether it is ready
BINARY = "binary_tensor_data"


class InstanceError(Exception):
    """A server did not answer a query as it must."""


class RemoteInstance:
    """Run one model on a server, one batch at a time.

    Args:
        session: HTTP connections, which are kept alive.
        endpoint: The server and its model.
        shape: Shape of a query of this model.
        most: Queries that it is given at a time, at most.
    """

    def __init__(
        self, session: aiohttp.ClientSession, endpoint: Endpoint, shape: tuple[int, ...], most: int = 1
    ) -> None:
        self._session, self.endpoint, self._shape, self._most = session, endpoint, shape, most
        self._running: asyncio.Task[Any] | None = None
        self._input, self._output, self._type, self._binary = "", "", np.dtype("<f4"), True
        self._same: dict[int, tuple[bytes, dict[str, str]]] = {}
        self._said, self._failures = "", 0

    async def run(self, queries: Tensor) -> Any:
        """Run queries ``[b, *query]`` as one request.

        Raises:
            InstanceError: If the server refuses them, or answers otherwise.
            aiohttp.ClientError: If it cannot be reached.
        """
        self._running = asyncio.current_task()
        try:
            output = await self._ask(queries)
        except Exception as fault:
            self._failures += 1
            self._tell(f"{self.endpoint} failed: {type(fault).__name__}: {fault}")
            raise
        finally:
            self._running = None
        self._failures = 0
        return output

    def _tell(self, sentence: str) -> None:
        """Log a sentence, unless it was the last one."""
        if sentence != self._said:
            log.warning("%s", sentence)
        self._said = sentence

    async def _ask(self, queries: Tensor) -> Tensor:
        numbers = queries.numpy().astype(self._type, copy=False)
        body, headers = self._request(numbers)
        try:
            tensors = await self._post(body, headers)
        except aiohttp.ServerDisconnectedError:  # a server may close a connection just as it is used again
            tensors = await self._post(body, headers)
        got = {name: list(tensor.shape) for name, tensor in tensors.items()}
        if got.get(self._output, [])[:1] != [len(queries)]:
            raise InstanceError(f"the answer must have {self._output} for {len(queries)} queries, got {got or 'none'}")
        return torch.from_numpy(tensors[self._output].astype(np.float32))

    def _request(self, numbers: np.ndarray) -> tuple[bytes, dict[str, str]]:
        """Return the body and the headers of a request; of binary ones, the part before the numbers is kept."""
        count = len(numbers)
        if count not in self._same or not self._binary:
            wanted = self._output if self._binary else None
            body, headers = write("inputs", {self._input: (numbers, self._binary)}, wanted=wanted)
            self._same[count] = body[: int(headers.get(LENGTH, 0))], headers
            return body, headers
        header, headers = self._same[count]
        return header + numbers.tobytes(), headers

    async def _post(self, body: bytes, headers: dict[str, str]) -> dict[str, np.ndarray]:
        async with self._session.post(f"{self.endpoint}/infer", data=body, headers=headers) as response:
            content = await response.read()
            if response.status != 200:
                raise InstanceError(f"status {response.status}, {content[:200]!r}")
            return read(content, response.headers.get(LENGTH), "outputs").tensors

    async def restart(self) -> None:
        """Give up what the server runs, and wait until it says that it is ready."""
        if self._running is not None:
            self._running.cancel()  # which closes its connection
        if self._failures > 1:  # ready, and yet it fails
            await asyncio.sleep(min(FIRST * 2 ** min(self._failures, MOST_DOUBLED), LONGEST))
        wait = FIRST
        while True:
            why = await self._wrong()
            if why is None:
                return
            self._tell(f"{self.endpoint} is not ready: {why}")
            await asyncio.sleep(wait)
            wait = min(2 * wait, LONGEST)

    async def _wrong(self) -> str | None:
        """Return why the server is not ready; None if it is."""
        timeout = aiohttp.ClientTimeout(total=PATIENCE)
        try:
            for path in ("/v2/health/ready", f"/v2/models/{self.endpoint.model}/ready"):
                async with self._session.get(f"{self.endpoint.server}{path}", timeout=timeout) as response:
                    if response.status != 200:
                        return f"{path} returns {response.status}"
            async with self._session.get(f"{self.endpoint.server}/v2", timeout=timeout) as response:
                about = await response.json(content_type=None) if response.status == 200 else {}
            async with self._session.get(str(self.endpoint), timeout=timeout) as response:
                return self._take(about, await response.json(content_type=None))
        except (aiohttp.ClientError, TimeoutError, ValueError) as fault:
            return f"{type(fault).__name__}: {fault}".rstrip(": ")

    def _take(self, server: Any, model: Any) -> str | None:
        """Take names and types from the metadata of a model; return what is wrong with them, if anything."""
        try:
            (given,), outputs = model["inputs"], model["outputs"]
            self._input, kind, shape = given["name"], given["datatype"], [int(size) for size in given["shape"]]
            self._output = outputs[0]["name"]
            self._binary, self._same = BINARY in server.get("extensions", []), {}
        except (KeyError, IndexError, TypeError, ValueError, AttributeError):
            return f"its metadata must name one input and an output, got {str(model)[:200]}"
        if not kind.startswith("FP") or kind not in TYPES:
            return f"its input must hold floating-point numbers, FP32, FP64 or FP16, got {kind}"
        self._type = np.dtype(TYPES[kind])
        wanted = (1, *self._shape)
        fits = len(shape) == len(wanted) and all(size in (-1, own) for size, own in zip(shape, wanted, strict=True))
        if fits and shape[0] == 1 and self._most > 1:
            return f"it takes one query at a time, shape {shape}, and not batch_max={self._most}"
        return None if fits else f"its input must have shape [-1, {', '.join(map(str, self._shape))}], got {shape}"
