"""How far long work is: a bar in a terminal or a notebook, which disappears, and a line every few seconds elsewhere."""

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import TypeVar

from rich import get_console
from rich.progress import track

T = TypeVar("T")
FIRST, EVERY = 2.0, 10.0  # seconds until the first line, and between two of them
_wanted: ContextVar[bool] = ContextVar("_wanted", default=True)


@contextmanager
def showing(wanted: bool) -> Iterator[None]:
    """Tell of progress inside a block, or do not."""
    token = _wanted.set(wanted)
    try:
        yield
    finally:
        _wanted.reset(token)


def in_bars() -> bool:
    """Return whether bars show progress: standard output is a terminal or a notebook."""
    console = get_console()
    return _wanted.get() and (console.is_interactive or console.is_jupyter)


def in_lines() -> bool:
    """Return whether lines show progress, for logs."""
    return _wanted.get() and not in_bars()


def progress(steps: Iterable[T], title: str, total: int | None = None) -> Iterator[T]:
    """Yield steps, and tell how far they are.

    Args:
        steps: The steps.
        title: What is done.
        total: How many steps there are; None if ``len`` says so, or if nobody knows.

    Example:
        >>> sum(progress([1, 2, 3], "adding"))
        6
    """
    if in_bars():
        yield from track(steps, title, total, transient=True)
    elif in_lines():
        yield from _with_lines(steps, Lines(title, total or (len(steps) if isinstance(steps, Sized) else None)))
    else:
        yield from steps


def _with_lines(steps: Iterable[T], lines: "Lines") -> Iterator[T]:
    done = 0
    for step in steps:
        lines.tell(done)
        yield step
        done += 1
    lines.end(done)


class Lines:
    """Print how far some work is to standard error, the first time after two seconds.

    Args:
        title: What is done.
        total: How many steps there are; None if nobody knows.
        before: How many of them were done before this began.
    """

    def __init__(self, title: str, total: float | None, before: float = 0) -> None:
        self.title, self.total, self.before = title, total, before
        self.begun = time.monotonic()
        self.due = self.begun + FIRST
        self.told = False

    def tell(self, done: float, more: str = "") -> None:
        """Print a line if one is due.

        Args:
            done: Number of steps that are done.
            more: What else to say.
        """
        now = time.monotonic()
        if now < self.due:
            return
        self.due, self.told = now + EVERY, True
        _print(self.line(done, now - self.begun, more))

    def end(self, done: float) -> None:
        """Print how much was done in which time, if a line was printed before.

        Args:
            done: Number of steps that are done.
        """
        if self.told:
            _print(self.last(done, time.monotonic() - self.begun))

    def last(self, done: float, seconds: float) -> str:
        """Return the last line.

        Example:
            >>> Lines("scoring", 40).last(40, 15.0), Lines("epochs", 60, before=50).last(60, 15.0)
            ('scoring: 40 of 40 in 15 s', 'epochs: 10 in 15 s, 60 of 60 in all')
        """
        every = f"{_number(done)} of {_number(self.total)}" if self.total else _number(done)
        if self.before:
            return f"{self.title}: {_number(done - self.before)} in {_time(seconds)}, {every} in all"
        return f"{self.title}: {every} in {_time(seconds)}"

    def line(self, done: float, seconds: float, more: str = "") -> str:
        """Return a line.

        Example:
            >>> Lines("scoring", 40).line(10, 5.0), Lines("scoring", None).line(10, 5.0)
            ('scoring: 10 of 40 (25 %), 5 s so far, about 15 s to go', 'scoring: 10, 5 s so far')
        """
        text = f"{self.title}: {_number(done)}"
        if self.total:
            text += f" of {_number(self.total)} ({100 * done / self.total:.0f} %)"
        text += f", {_time(seconds)} so far"
        if self.total and done > self.before:
            text += f", about {_time(seconds * (self.total - done) / (done - self.before))} to go"
        return f"{text}; {more}" if more else text


def _number(count: float) -> str:
    """Return a count, also a million, as its digits."""
    return f"{count:.15g}"


def _print(line: str) -> None:
    with suppress(OSError):  # the terminal may be gone
        print(line, file=sys.stderr, flush=True)


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
