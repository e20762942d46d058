"""Pauses of an event loop: measured, and kept from garbage collection."""

import asyncio
import gc
import time
from collections import deque
from collections.abc import Callable

STEP = 0.01  # seconds
MINUTE = 60.0
LOOK = 0.05  # seconds between two looks for an idle moment
LONGEST = 30.0  # seconds after which garbage is collected, idle or not


class Watch:
    """Measure how long the event loop does nothing else: the longest pause of the last minute.

    Example:
        >>> async def blocked():
        ...     watch = Watch()
        ...     task = asyncio.create_task(watch.follow())
        ...     await asyncio.sleep(0.03)
        ...     time.sleep(0.1)
        ...     await asyncio.sleep(0.03)
        ...     task.cancel()
        ...     return watch.longest
        >>> 0.05 < asyncio.run(blocked()) < 1
        True
    """

    def __init__(self) -> None:
        self._pauses: deque[tuple[float, float]] = deque()  # times and pauses, each longer than all behind it

    @property
    def longest(self) -> float:
        """The longest pause of the last minute in seconds."""
        self._forget(time.monotonic())
        return self._pauses[0][1] if self._pauses else 0.0

    async def follow(self) -> None:
        """Measure, again and again."""
        while True:
            before = time.monotonic()
            await asyncio.sleep(STEP)
            now = time.monotonic()
            pause = now - before - STEP
            while self._pauses and self._pauses[-1][1] <= pause:
                self._pauses.pop()
            self._pauses.append((now, pause))
            self._forget(now)

    def _forget(self, now: float) -> None:
        while self._pauses and self._pauses[0][0] < now - MINUTE:
            self._pauses.popleft()


def freeze() -> None:
    """Collect garbage once, and never look at again what is left: the modules and models of the process."""
    gc.collect()
    gc.freeze()


async def collecting_when_idle(idle: Callable[[], bool]) -> None:
    """Collect garbage while nothing waits, and never look at what was there before.

    A full collection of a heap with PyTorch in it stops a process for 100 ms and more, which is the tail of everything
    that it serves.

    Args:
        idle: Whether nothing waits.
    """
    freeze()
    gc.disable()
    collected = time.monotonic()
    try:
        while True:
            await asyncio.sleep(LOOK)
            now = time.monotonic()
            if (idle() and now - collected > 1.0) or now - collected > LONGEST:
                gc.collect()
                collected = now
    finally:
        gc.enable()
        gc.unfreeze()
