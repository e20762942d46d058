"""Instances that are servers of the Open Inference Protocol, whoever wrote them and however they are reached."""

import asyncio
import logging
from collections.abc import Collection, Mapping
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from parmtrain.serving.fleet.endpoints import Endpoint
from parmtrain.serving.fleet.replaced import Replaced
from parmtrain.serving.protocol.dataplane import FINGERPRINT
from parmtrain.serving.protocol.open_inference import Message
from parmtrain.serving.protocol.tensors import TYPES

log = logging.getLogger(__name__)
MOST_DOUBLED = 10
SHOWN = 12  # digits of a fingerprint
FIRST, LONGEST = 0.05, 1.0  # seconds between two looks at a server that is not ready
PATIENCE = 2.0  # seconds that a server may take to say whether it is ready


class InstanceError(Exception):
    """A server cannot be reached, or did not answer as it must."""


class Transport(Protocol):
    """A way to one model of a server.

    Its methods raise an ``InstanceError`` if the server cannot be reached or refuses, and ``infer`` raises a
    ``Refused`` if an answer is malformed. They are cancelled like any coroutine, and then give up the call.
    """

    async def require_ready(self) -> None:
        """Return if the server and its model say that they are ready, within ``PATIENCE`` seconds each."""

    async def metadata(self) -> Any:
        """Return the metadata of the model, as plain values, within ``PATIENCE`` seconds."""

    async def infer(self, queries: np.ndarray, given: str, wanted: str) -> Message:
        """Run the model.

        Args:
            queries: Queries ``[b, *query]``, little-endian numbers of the type that the model takes.
            given: Name of its input.
            wanted: Name of the output that is asked for.

        Returns:
            Its outputs, and what it says of them.
        """


class RemoteInstance:
    """Run one model on a server, one batch at a time.

    Args:
        transport: How the server is reached.
        endpoint: The server and its model.
        shape: Shape of a query of this model.
        most: Queries that it is given at a time, at most.
        fingerprints: What its model may be, if its server states it, as parmtrain's do; empty for anything. Whoever
            gives these may change them.
        replaced: Is told if its server states another model, which is then used nevertheless; by default it is not.
    """

    def __init__(
        self,
        transport: Transport,
        endpoint: Endpoint,
        shape: tuple[int, ...],
        most: int = 1,
        fingerprints: Collection[str] = (),
        replaced: Replaced | None = None,
    ) -> None:
        self._transport, self.endpoint, self._shape, self._most = transport, endpoint, shape, most
        self._fingerprints, self._replaced = fingerprints, replaced
        self._running: asyncio.Task[Any] | None = None
        self._input, self._output, self._type = "", "", np.dtype("<f4")
        self._said, self._failures = "", 0

    async def run(self, queries: Tensor) -> Any:
        """Run queries ``[b, *query]`` as one request.

        Raises:
            InstanceError: If the server cannot be reached, refuses them, or answers otherwise.
            Refused: If its answer is malformed.
        """
        self._running = asyncio.current_task()
        try:
            output = await self._ask(queries)
        except Exception as fault:
            self._failures += 1
            self._tell(f"{self.endpoint} failed: {named(fault)}")
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
        answer = await self._transport.infer(numbers, self._input, self._output)
        if (other := self._another(answer.parameters)) is not None:
            raise InstanceError(other)
        tensors = answer.tensors
        got = {name: list(tensor.shape) for name, tensor in tensors.items()}
        if got.get(self._output, [])[:1] != [len(queries)]:
            raise InstanceError(f"the answer must have {self._output} for {len(queries)} queries, got {got or 'none'}")
        return torch.from_numpy(tensors[self._output].astype(np.float32))

    async def restart(self) -> None:
        """Give up what the server runs, and wait until it says that it is ready."""
        if self._running is not None:
            self._running.cancel()
        if self._failures > 1:  # ready, and yet it fails
            await asyncio.sleep(min(FIRST * 2 ** min(self._failures, MOST_DOUBLED), LONGEST))
        if self._replaced is not None:
            self._replaced.hear(self.endpoint, None)  # it is not used until it is ready
        wait = FIRST
        told: set[str] = set()  # of a server with two addresses, errors may alternate
        while True:
            why = await self._wrong()
            if why is None:
                if told:
                    log.info("%s is ready", self.endpoint)
                    self._said = ""
                return
            if why not in told:
                self._tell(f"{self.endpoint} is not ready: {why}")
            told.add(why)
            await asyncio.sleep(wait)
            wait = min(2 * wait, LONGEST)

    async def _wrong(self) -> str | None:
        """Return why the server is not ready; None if it is."""
        try:
            await self._transport.require_ready()
            return self._take(await self._transport.metadata())
        except InstanceError as fault:
            return named(fault)

    def _another(self, about: Mapping[str, Any]) -> str | None:
        """Return that a server runs another model than it must, if it states one and may not."""
        own, stated = self._fingerprints, about.get(FINGERPRINT)
        another = stated is not None and bool(own) and stated not in own
        if self._replaced is not None:
            self._replaced.hear(self.endpoint, str(stated) if another else None)
            return None
        if not another:
            return None
        wanted = " or ".join(f"{one[:SHOWN]}…" for one in own)
        return f"it must run the model of this bundle, {wanted}, but it runs {str(stated)[:SHOWN]}…"

    def _take(self, model: Any) -> str | None:
        """Take names and types from the metadata of a model; return what is wrong with them, if anything."""
        try:
            (given,), outputs = model["inputs"], model["outputs"]
            self._input, kind, shape = given["name"], given["datatype"], [int(size) for size in given["shape"]]
            self._output = outputs[0]["name"]
            known = kind.startswith("FP") and kind in TYPES
            other = self._another(model.get("properties") or {})
        except (KeyError, IndexError, TypeError, ValueError, AttributeError):
            return f"its metadata must name one input and an output, got {str(model)[:200]}"
        if other is not None:
            return other
        if not known:
            return f"its input must hold floating-point numbers, FP32, FP64 or FP16, got {kind}"
        self._type = np.dtype(TYPES[kind])
        wanted = (1, *self._shape)
        fits = len(shape) == len(wanted) and all(size in (-1, own) for size, own in zip(shape, wanted, strict=True))
        if fits and shape[0] == 1 and self._most > 1:
            return f"it takes one query at a time, shape {shape}, and not batch_max={self._most}"
        return None if fits else f"its input must have shape [-1, {', '.join(map(str, self._shape))}], got {shape}"


def named(fault: BaseException) -> str:
    """Return what is wrong in words: the sentence of an ``InstanceError``, and other exceptions after their type.

    Example:
        >>> named(InstanceError("status 500")), named(TimeoutError())
        ('status 500', 'TimeoutError')
    """
    return str(fault) if isinstance(fault, InstanceError) else f"{type(fault).__name__}: {fault}".rstrip(": ")
