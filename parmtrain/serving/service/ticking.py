"""A call at a time that may move forward."""

import asyncio
from collections.abc import Callable
from math import inf


class Ticker:
    """Call a function at the earliest of the times that were asked for, once.

    Args:
        clock: Time in seconds.
        call: The function.
    """

    def __init__(self, clock: Callable[[], float], call: Callable[[], None]) -> None:
        self.clock, self.call = clock, call
        self._next: tuple[float, asyncio.TimerHandle] | None = None

    def at(self, moment: float) -> None:
        """Ask for a call at a time; infinite asks for none."""
        if moment == inf or (self._next is not None and self._next[0] <= moment):
            return
        if self._next is not None:
            self._next[1].cancel()
        handle = asyncio.get_running_loop().call_later(max(moment - self.clock(), 0.0), self._due)
        self._next = (moment, handle)

    def _due(self) -> None:
        self._next = None
        self.call()
