"""Several fronts on one port, each a process: one that dies is started again, and loses no more than it held."""

import logging
import signal
import socket
import time
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from typing import Any

log = logging.getLogger(__name__)
PAUSE = 1.0  # seconds between two starts of a front


class Supervisor:
    """Run copies of a function in processes of their own until this one is asked to stop.

    Args:
        run: Called in a new process with ``arguments``, the number of its copy and the sockets.
        arguments: What all copies are given.
        sockets: Sockets for each copy; the others are closed in its process.
    """

    def __init__(
        self, run: Callable[..., None], arguments: Sequence[Any], sockets: Sequence[tuple[socket.socket, ...]]
    ) -> None:
        self.run, self.arguments, self.sockets = run, tuple(arguments), list(sockets)
        self._stopping = False

    def _start(self, number: int) -> SpawnProcess:
        process = get_context("spawn").Process(
            target=self.run, args=(*self.arguments, number, *self.sockets[number]), name=f"front {number}"
        )
        process.start()
        return process

    def work(self) -> None:
        """Run all copies; return once they have ended."""
        before = {one: signal.signal(one, self._stop) for one in (signal.SIGTERM, signal.SIGINT)}
        processes = [self._start(number) for number in range(len(self.sockets))]
        try:
            while not self._stopping:
                wait([process.sentinel for process in processes], timeout=PAUSE)
                for number, process in enumerate(processes):
                    if not process.is_alive() and not self._stopping:
                        log.warning("%s ended with status %s and is started again", process.name, process.exitcode)
                        processes[number] = self._start(number)
                        time.sleep(PAUSE)
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.join()
            for one, handler in before.items():
                signal.signal(one, handler)

    def _stop(self, *_: Any) -> None:
        self._stopping = True
