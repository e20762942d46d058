"""The processes below this one, on Linux: which they are, and the end of all of them."""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Container, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import parent_process
from pathlib import Path

SUBREAPER, DEATH_SIGNAL = 36, 1  # of prctl
PAUSE = 0.05  # seconds between two looks at processes that are being killed
STUBBORN = 10.0  # seconds after which processes that do not die are left to the system


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def stop_with_parent() -> None:
    """Have this process asked to stop (SIGTERM) if the one that started it has ended and, on Linux, when it ends."""
    _prctl(DEATH_SIGNAL, signal.SIGTERM)
    parent = parent_process()
    if parent is not None and not parent.is_alive():  # before it could be told
        os.kill(os.getpid(), signal.SIGTERM)


def _parents() -> dict[int, tuple[int, str]]:
    """Return the parent and the state of every process: Z for one that has ended."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError, IndexError):
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            found[int(folder.name)] = int(parent), state
    return found


def below(root: int) -> set[int]:
    """Return the processes below one that have not ended.

    Example:
        >>> import subprocess
        >>> with subprocess.Popen(["sleep", "9"]) as process:
        ...     print(process.pid in below(os.getpid()))
        ...     process.kill()
        True
    """
    parents, found, more = _parents(), {root}, True
    while more:
        more = False
        for one, (parent, _) in parents.items():
            if parent in found and one not in found:
                found.add(one)
                more = True
    return {one for one in found - {root} if parents[one][1] != "Z"}


def ended(process: int) -> bool:
    """Return whether a process below this one has ended.

    Example:
        >>> ended(os.getpid())
        False
    """
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def named(root: int, name: str) -> set[int]:
    """Return the processes below one that run a program of this name."""
    found = set()
    for one in below(root):
        with suppress(OSError):
            if Path(f"/proc/{one}/comm").read_text().strip() == name:
                found.add(one)
    return found


@contextmanager
def none_left() -> Iterator[None]:
    """Kill every process that was started inside a block when it ends, those too whose parents have ended before."""
    _prctl(SUBREAPER, 1)
    before = below(os.getpid())
    try:
        yield
    finally:
        _without_interruption(before)


def _without_interruption(before: Container[int]) -> None:
    stops = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    signal.pthread_sigmask(signal.SIG_BLOCK, stops)
    try:
        until = time.monotonic() + STUBBORN
        while (left := [one for one in below(os.getpid()) if one not in before]) and time.monotonic() < until:
            for one in left:
                with suppress(OSError):
                    os.kill(one, signal.SIGKILL)
            time.sleep(PAUSE)
        for one, (parent, state) in _parents().items():
            if parent == os.getpid() and state == "Z" and one not in before:
                with suppress(OSError):
                    os.waitpid(one, os.WNOHANG)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, stops)
