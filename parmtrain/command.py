"""What all commands share: help, one-sentence errors, and the exit status."""

import logging
import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

from parmtrain.errors import Interrupted, ParmtrainError
from parmtrain.settings import help_of, read_settings, require_valid

S = TypeVar("S")
DONE, FAILED, STOPPED = 0, 1, 130


def say(sentence: str) -> None:
    """Print to standard error, at once."""
    print(sentence, file=sys.stderr, flush=True)


def exit_status(work: Callable[[], None], stopped: str = "") -> int:
    """Run a command and return its exit status; a user's mistake prints one sentence, never a traceback.

    Args:
        work: The command.
        stopped: Message to print if the user stops it.

    Example:
        >>> exit_status(lambda: None)
        0
    """
    try:
        work()
    except Interrupted as stop:
        say(stopped or str(stop))
        return STOPPED
    except ParmtrainError as fault:
        say(str(fault))
        return FAILED
    except OSError as fault:
        file = fault.filename or "a file"
        say(f"{file} cannot be read or written: {fault.strerror or fault}; choose another or mend its permissions")
        return FAILED
    except KeyboardInterrupt:
        if stopped:
            say(stopped)
        return STOPPED
    return DONE


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

    def checked() -> None:
        settings = read_settings(kind, given)
        require_valid(settings)
        work(settings)

    return exit_status(checked)


def log_to_terminal() -> None:
    """Print what parmtrain logs, and only warnings from other packages."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("parmtrain").setLevel(logging.INFO)
