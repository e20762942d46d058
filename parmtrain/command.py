"""What all commands share: help, version, progress, one-sentence errors, signals, and the exit status."""

import errno
import logging
import os
import select
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from rich.console import Console

from parmtrain.arguments import VERSION
from parmtrain.errors import Interrupted, ParmtrainError, interruptions
from parmtrain.files import FULL, existing
from parmtrain.progress import showing
from parmtrain.settings import help_of, read_settings, require_valid

P = ParamSpec("P")
S = TypeVar("S")
T = TypeVar("T")
DONE, FAILED, STOPPED = 0, 1, 130
UNREAD = 128 + signal.SIGPIPE
OF_FILES = (errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.EFBIG)
SIGNALS = (signal.SIGTERM, signal.SIGHUP)


def say(sentence: str) -> None:
    """Print to standard error, at once."""
    with suppress(OSError):  # the terminal may be gone
        print(sentence, file=sys.stderr, flush=True)


def ending_quietly(main: Callable[P, int]) -> Callable[P, int]:
    """Decorate a command so that it ends without a word where nobody reads what it prints: ``… | head -1``."""

    @wraps(main)
    def quiet(*args: P.args, **kwargs: P.kwargs) -> int:
        try:
            try:
                return main(*args, **kwargs)
            finally:
                if sys.stdout is not None:
                    sys.stdout.flush()  # Python itself would do so too late for this
        except OSError as fault:
            if fault.errno not in (errno.EPIPE, *FULL):
                raise
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is still to be written
            if fault.errno == errno.EPIPE:
                return UNREAD
            say(sentence_of(fault))
            return FAILED

    return quiet


def nobody_reads() -> bool:
    """Return whether standard output is a pipe that nobody reads any more."""
    with suppress(OSError, ValueError):
        watched = select.poll()
        watched.register(sys.stdout.fileno(), 0)  # errors alone
        return bool(watched.poll(0))
    return False


class Terminal(Console):
    """Standard output for tables, which are 190 characters wide unless they go to a terminal or ``COLUMNS`` is set."""

    def __init__(self, wide: bool = False) -> None:
        super().__init__()
        if wide and not self.is_terminal and not os.environ.get("COLUMNS", "").isdigit():
            self.width = 190

    def on_broken_pipe(self) -> None:
        """Leave it to ``ending_quietly``."""
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def exit_status(work: Callable[[], None], stopped: str = "") -> int:
    """Run a command and return its exit status; a user's mistake prints one sentence, never a traceback.

    Args:
        work: The command.
        stopped: Message to print if the user stops it.

    Example:
        >>> exit_status(lambda: None)
        0
    """
    with stopping_signals() as received:
        try:
            with interruptions():
                work()
        except Interrupted as stop:
            say(stopped or str(stop))
            return _stopped_by(received)
        except ParmtrainError as fault:
            say(str(fault))
            return FAILED
        except OSError as fault:
            if isinstance(fault, BrokenPipeError) and nobody_reads():
                raise
            say(sentence_of(fault))
            return FAILED
        except KeyboardInterrupt:
            if stopped:
                say(stopped)
            return _stopped_by(received)
    return DONE


@contextmanager
def stopping_at_once() -> Iterator[None]:
    """Have Ctrl-C end the process without a word inside a block in which nothing starts that must end, as imports."""
    before = signal.getsignal(signal.SIGINT)
    try:
        if before is signal.default_int_handler:
            signal.signal(signal.SIGINT, lambda *_: os._exit(STOPPED))
    except ValueError:  # only the main thread may handle signals
        before = None
    try:
        yield
    finally:
        if before is signal.default_int_handler:
            signal.signal(signal.SIGINT, before)


@contextmanager
def stopping_signals() -> Iterator[list[int]]:
    """Treat SIGTERM and SIGHUP like Ctrl-C inside a block, unless they are ignored or handled already.

    Yields:
        The signals that were received.
    """
    received: list[int] = []

    def stop(number: int, frame: Any) -> None:
        received.append(number)
        raise KeyboardInterrupt

    try:
        taken = [one for one in SIGNALS if signal.getsignal(one) is signal.SIG_DFL]
        for one in taken:
            signal.signal(one, stop)
    except ValueError:  # only the main thread may handle signals
        taken = []
    try:
        yield received
    finally:
        for one in taken:
            signal.signal(one, signal.SIG_DFL)


def _stopped_by(received: Sequence[int]) -> int:
    return 128 + received[0] if received else STOPPED


def sentence_of(fault: OSError) -> str:
    """Return a sentence for a file or a folder that cannot be read or written.

    Example:
        >>> sentence_of(NotADirectoryError(20, "Not a directory", "/dev/null/run"))
        '/dev/null/run cannot be written: /dev/null is a file; choose another'
    """
    if not isinstance(fault.filename, str):
        reason = fault.strerror or str(fault)
        return f"a file cannot be read or written: {reason}" if fault.errno in OF_FILES else reason
    name = fault.filename
    there = existing(Path(name))
    if not there.is_dir() and there != Path(name).absolute():
        return f"{name} cannot be written: {there} is a file; choose another"
    verb = "read or written"
    if isinstance(fault, PermissionError):
        effective = os.access in os.supports_effective_ids
        may_read = os.access(there, os.R_OK | (os.X_OK if there.is_dir() else 0), effective_ids=effective)
        verb = "written" if may_read else "read"
    return f"{name} cannot be {verb}: {fault.strerror or fault}; choose another or mend its permissions"


def settings_command(kind: type[S], help: str, work: Callable[[S], None], arguments: Sequence[str] | None) -> int:
    """Run a command whose arguments are ``key=value`` settings; return the exit status.

    Args:
        kind: Dataclass of its settings; a method ``faults`` may yield more faults.
        help: Text of ``--help``, with ``{settings}`` in place of one line per setting.
        work: The command.
        arguments: The command line; None for the process's own.
    """
    given = sys.argv[1:] if arguments is None else arguments
    if any(argument in ("-h", "--help") for argument in given):
        print(help.format(settings=help_of(kind)))
        return DONE
    if "--version" in given:
        print(VERSION)
        return DONE

    def checked() -> None:
        settings = read_settings(kind, given)
        require_valid(settings)
        with showing(getattr(settings, "progress", True)):
            work(settings)

    return exit_status(checked)


def log_to_terminal() -> None:
    """Print what parmtrain logs, and only warnings from other packages."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("parmtrain").setLevel(logging.INFO)
