"""What the experiments share: requests that are sent at their times or one after the other, and processes to watch."""

import asyncio
import gc
import os
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np

from parmtrain.serving.protocol.open_inference import LENGTH, Message, read

Requests = Sequence[tuple[bytes, dict[str, str]]]
Heard = Callable[[int, float, int, Message | None], None]
LEAD = 1.0  # seconds before the first query


def wait_for(url: str) -> None:
    """Wait until an address answers with status 200."""
    for _ in range(900):
        try:
            urllib.request.urlopen(url, timeout=2).close()
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise SystemExit(f"{url} does not answer")


def ticks(process: int) -> float:
    """Return the processor time of a process in seconds."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(process: int) -> float:
    """Return the resident memory of a process in MiB."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


class Sender:
    """Send queries to a model, and hear what comes of each.

    Args:
        model: Address of the model.
        requests: Bodies and headers; query i is the one at i modulo their number.
        heard: Called with the number of a query, its seconds, the status and, for status 200, the message.
    """

    def __init__(self, model: str, requests: Requests, heard: Heard) -> None:
        self.model, self.requests, self.heard = model, requests, heard
        gc.collect()
        gc.freeze()  # a full collection would stop the sender for 100 ms

    async def _ask(self, session: aiohttp.ClientSession, number: int, due: float) -> None:
        body, headers = self.requests[number % len(self.requests)]
        async with session.post(f"{self.model}/infer", data=body, headers=headers) as response:
            content = await response.read()
        seconds = time.monotonic() - due
        message = read(content, response.headers.get(LENGTH), "outputs") if response.status == 200 else None
        self.heard(number, seconds, response.status, message)

    def _session(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=3)
        return aiohttp.ClientSession(connector=connector, auto_decompress=False)

    async def at(
        self,
        arrivals: np.ndarray,
        begins: Callable[[float], None] = lambda at: None,
        sent: Callable[[int], None] = lambda number: None,
    ) -> None:
        """Send each query at its time, whatever became of those before; seconds count from when it was due.

        Args:
            arrivals: Seconds from the beginning.
            begins: Called with the time of the beginning before it.
            sent: Called with the number of each query.
        """
        async with self._session() as session:
            began, asked = time.monotonic() + LEAD, set[asyncio.Task[None]]()
            begins(began)
            for number, at in enumerate(arrivals):
                wait = began + at - time.monotonic()
                if wait > 0:
                    await asyncio.sleep(wait)
                task = asyncio.create_task(self._ask(session, number, began + at))
                asked.add(task)
                task.add_done_callback(asked.discard)
                sent(number)
            await asyncio.gather(*asked, return_exceptions=True)

    async def together(self, count: int, clients: int) -> None:
        """Let some clients send ``count`` queries, each one after the other."""
        numbers = iter(range(count))

        async def client(session: aiohttp.ClientSession) -> None:
            for number in numbers:
                await self._ask(session, number, time.monotonic())

        async with self._session() as session:
            await asyncio.gather(*(client(session) for _ in range(clients)))


def ended(processes: Sequence[Any]) -> None:
    """Stop processes, and wait until they have ended."""
    for process in processes:
        process.terminate()
    for process in processes:
        process.wait()


@contextmanager
def ending(process: Any) -> Iterator[None]:
    """Stop a process in the end, whatever happens."""
    try:
        yield
    finally:
        process.terminate()
