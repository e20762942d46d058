"""An event loop in which no real time is spent waiting."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any


class Jump(selectors.SelectSelector):
    """A selector that never waits: its time jumps to whatever is due next."""

    def __init__(self) -> None:
        super().__init__()
        self.passed = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "everything waits for nothing"
        self.passed += timeout
        return super().select(0)


class VirtualTime(asyncio.SelectorEventLoop):
    """An event loop that keeps the time of such a selector."""

    def __init__(self) -> None:
        self.jump = Jump()
        super().__init__(self.jump)

    def time(self) -> float:
        return self.jump.passed


def loop_time() -> float:
    return asyncio.get_running_loop().time()


def in_virtual_time(work: Coroutine[Any, Any, Any]) -> Any:
    with asyncio.Runner(loop_factory=VirtualTime) as runner:
        return runner.run(work)
