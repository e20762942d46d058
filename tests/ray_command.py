"""The command that serves on Ray, started by tests, and whatever it leaves behind."""

import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

STARTING = 300
MARK = "PARMTRAIN_TEST"  # a variable that all of its processes inherit


def heed_ctrl_c() -> None:
    """Undo what a shell does to its background jobs, which is to have them ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@dataclass
class Command:
    """A command that serves on Ray."""

    process: subprocess.Popen[bytes]
    output: Path
    mark: str
    ports: tuple[int, int]

    @property
    def said(self) -> str:
        return self.output.read_text()

    def running(self, pattern: str = "") -> set[int]:
        """Return its processes whose command line has a pattern, itself among them."""
        found = set()
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if f"{MARK}={self.mark}".encode() not in (folder / "environ").read_bytes():
                    continue
                if re.search(pattern, (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()):
                    found.add(int(folder.name))
        return found

    def wait_for(self, there: Callable[[], object], seconds: float = STARTING) -> None:
        until = time.monotonic() + seconds
        while not there():
            assert self.process.poll() is None, self.said
            assert time.monotonic() < until, self.said
            time.sleep(0.1)

    def wait_until_ready(self) -> None:
        self.wait_for(lambda: "take POST" in self.said)

    def listening(self) -> set[int]:
        """Return those of its ports that somebody listens on."""
        sockets = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        there = {int(socket[1].rpartition(":")[2], 16) for socket in sockets if socket[3] == "0A"}
        return there & set(self.ports)

    def assert_nothing_left(self, seconds: float = 5) -> None:
        """Assert that its processes end within some seconds, and that nobody listens on its ports.

        Both are waited for: the kernel takes a dying process's environment before it closes its sockets.
        """
        until = time.monotonic() + seconds
        while (left := (self.running(), self.listening())) != (set(), set()) and time.monotonic() < until:
            time.sleep(0.1)
        assert left == (set(), set()), self.said
        assert "Traceback" not in self.said


@contextmanager
def on_ray(folder: Path, port: int, *arguments: str) -> Iterator[Command]:
    """Start the command in a session of its own; kill what is left of it at the end."""
    mark, output = uuid.uuid4().hex, folder / "output.txt"
    with open(output, "wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "parmtrain.serve", f"port={port}", f"metrics_port={port + 1}", *arguments],
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, MARK: mark},
            start_new_session=True,
            preexec_fn=heed_ctrl_c,  # noqa: PLW1509
        )
    command = Command(process, output, mark, (port, port + 1))
    try:
        yield command
    finally:
        for one in command.running():
            with suppress(OSError):
                os.kill(one, signal.SIGKILL)
        process.wait(30)
