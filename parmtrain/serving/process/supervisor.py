"""Several fronts on one port, each a process: one that dies is started again, and loses no more than it held."""

import logging
import signal
import socket
import time
from collections.abc import Callable, Sequence
from math import inf
from multiprocessing import get_context
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from multiprocessing.synchronize import Event
from typing import Any

log = logging.getLogger(__name__)
PAUSE = 1.0  # seconds between two starts of a front
LOOK = 0.1  # seconds between two looks at a front that starts
REVIVAL = 10.0  # seconds after which a front that was started again takes queries, ready or not
PATIENCE = 120.0  # seconds that a front may take until it is ready to take the place of another


class Supervisor:
    """Run copies of a function in processes of their own until this one is asked to stop.

    The signal SIGHUP changes them one by one: a new copy is started on the same sockets, and once it is ready the old
    one is asked to stop, which answers what it holds.

    Args:
        run: Called in a new process with what ``given`` returned, the number of its copy, its sockets, an event that it
            has to set once it is ready, and the seconds after which it has to take queries if it is not.
        given: Returns what copies are given; called again for each change.
        sockets: Sockets for each copy; the others are closed in its process.
    """

    def __init__(
        self, run: Callable[..., None], given: Callable[[], Any], sockets: Sequence[tuple[socket.socket, ...]]
    ) -> None:
        self.run, self.given, self.sockets = run, given, list(sockets)
        self._given = given()
        self._context = get_context("spawn")
        self._stopping = self._changing = False
        self._processes: list[SpawnProcess] = []
        self._leaving: list[SpawnProcess] = []
        self._events: dict[str, Event] = {}  # each must live until its process has opened it

    def _start(self, number: int, given: Any, patience: float) -> tuple[SpawnProcess, Event]:
        ready = self._context.Event()
        process = self._context.Process(
            target=self.run, args=(given, number, *self.sockets[number], ready, patience), name=f"front {number}"
        )
        process.start()
        self._events[process.name] = ready
        return process, ready

    def work(self) -> None:
        """Run all copies; return once they have ended."""
        handlers = {signal.SIGTERM: self._stop, signal.SIGINT: self._stop, signal.SIGHUP: self._change}
        before = {one: signal.signal(one, handler) for one, handler in handlers.items()}
        self._processes = [self._start(number, self._given, 0.0)[0] for number in range(len(self.sockets))]
        try:
            while not self._stopping:
                wait([process.sentinel for process in self._processes], timeout=PAUSE)
                self._revive()
                if self._changing:
                    self._changing = False
                    self._change_all()
        finally:
            every = [*self._processes, *self._leaving]
            for process in every:
                process.terminate()
            for process in every:
                process.join()
            for one, before_handler in before.items():
                signal.signal(one, before_handler)

    def _revive(self) -> None:
        """Start the copies again that have ended."""
        self._leaving = [process for process in self._leaving if process.is_alive()]
        for number, process in enumerate(self._processes):
            if not process.is_alive() and not self._stopping:
                log.warning("%s ended with status %s and is started again", process.name, process.exitcode)
                self._processes[number], _ = self._start(number, self._given, REVIVAL)
                time.sleep(PAUSE)

    def _change_all(self) -> None:
        """Replace the copies one by one; keep those that are left as soon as a new one does not become ready."""
        given = self.given()
        for number in range(len(self._processes)):
            new, ready = self._start(number, given, inf)
            until = time.monotonic() + PATIENCE
            while not ready.wait(LOOK) and new.is_alive() and time.monotonic() < until and not self._stopping:
                self._revive()
            if not ready.is_set():
                new.terminate()
                self._leaving.append(new)
                left = "no front" if number == 0 else f"{number} of {len(self._processes)} fronts"
                log.warning("%s changed, since the new one did not become ready; the others stay as they are", left)
                return
            self._given = given
            self._processes[number].terminate()
            self._leaving.append(self._processes[number])
            self._processes[number] = new
        log.warning("all fronts were changed")

    def _stop(self, *_: Any) -> None:
        self._stopping = True

    def _change(self, *_: Any) -> None:
        self._changing = True
