"""Errors that users can fix.

Every message says what must be, what was given and, where it helps, how to fix it. The command line prints only that
message; a traceback means a bug in parmtrain itself.
"""

import os
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class ParmtrainError(Exception):
    """Base class of all errors that users can fix."""


class ConfigError(ParmtrainError):
    """All faults found in one configuration.

    Args:
        faults: One sentence per fault, in the order in which they were found.

    Example:
        >>> print(ConfigError(["k must be 2 or more, got 1", "unknown loss 'm'"]))
        2 faults in this configuration:
          1. k must be 2 or more, got 1
          2. unknown loss 'm'
    """

    def __init__(self, faults: list[str]) -> None:
        self.faults = faults
        if len(faults) == 1:
            super().__init__(faults[0])
            return
        heading = f"{len(faults)} faults in this configuration:"
        super().__init__("\n".join([heading, *(f"  {i}. {fault}" for i, fault in enumerate(faults, 1))]))


class InputError(ParmtrainError):
    """An argument of a call has another type, shape or value than it must have."""


class UnsupportedError(ParmtrainError):
    """A code does not support the given k, r or query shape."""


class DataError(ParmtrainError):
    """A data set is missing, incomplete or damaged."""


class MissingDataError(DataError):
    """A data set, or a part of it, is not there; it may be possible to download it."""


class DeployedModelError(ParmtrainError):
    """A deployed model cannot be read or does not fit its task."""


class TrainingError(ParmtrainError):
    """Training failed."""


class Interrupted(ParmtrainError):
    """The user interrupted training, which can be resumed from ``checkpoint``."""

    def __init__(self, checkpoint: Path) -> None:
        self.checkpoint = checkpoint
        super().__init__(f"interrupted; the training state is saved in {checkpoint}")


class ExportError(ParmtrainError):
    """A trained model cannot be exported or a bundle cannot be read."""


class StorageError(ParmtrainError):
    """A file cannot be written, since its disk is full."""


class ServiceError(ParmtrainError):
    """A service that was started has died."""


@contextmanager
def interruptions() -> Iterator[None]:
    """Have an error that an interruption has caused in a block, as in a file that was being closed, count as one.

    Example:
        >>> try:
        ...     with interruptions():
        ...         try:
        ...             raise KeyboardInterrupt
        ...         finally:
        ...             raise OSError("Bad file descriptor")
        ... except KeyboardInterrupt:
        ...     print("stopped")
        stopped
    """
    try:
        yield
    except ParmtrainError:
        raise
    except Exception as fault:
        before = fault.__context__
        while before is not None and not isinstance(before, KeyboardInterrupt):
            before = before.__context__
        if before is None:
            raise
        raise KeyboardInterrupt from fault


def raised_in(fault: BaseException, package: str) -> bool:
    """Return whether an error was raised in the code of a package, and not in what that called."""
    frames = list(traceback.walk_tb(fault.__traceback__))
    return bool(frames) and f"{os.sep}{package}{os.sep}" in frames[-1][0].f_code.co_filename


_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_NUMBER = re.compile(r"^\[Errno -?\d+\] ")
_INNERMOST = re.compile(r"^(?:\w+\.)*\w+(?:Error|Exception): (.+)$", re.MULTILINE)
_TORCHSCRIPT = "Traceback of TorchScript"


def reason_of(fault: BaseException) -> str:
    r"""Return an error's message in one line: its first line, or the innermost error of a TorchScript program.

    An error without a message is named by its type.

    Example:
        >>> reason_of(ValueError("\ntoo small\nand more")), reason_of(KeyError())
        ('too small', 'KeyError')
        >>> reason_of(RuntimeError("Error downloading a.gz:\nTried https://a, got:\nHTTP Error 404: Not Found"))
        'Error downloading a.gz: Tried https://a, got: HTTP Error 404: Not Found'
        >>> reason_of(FileNotFoundError(2, "No such file or directory", "fleet.yaml"))
        "No such file or directory: 'fleet.yaml'"
        >>> reason_of(RuntimeError("It failed.\nTraceback of TorchScript (most recent …):\nRuntimeError: wrong shapes"))
        'wrong shapes'
    """
    text = _NUMBER.sub("", _COLOUR.sub("", str(fault)))
    inner = _INNERMOST.findall(text) if _TORCHSCRIPT in text else []
    lines = inner[-1:] or [line.strip() for line in text.splitlines() if line.strip()]
    while len(lines) > 1 and lines[0].endswith(":"):  # the reason is in the next line
        lines[:2] = [f"{lines[0]} {lines[1]}"]
    return lines[0][:200] if lines else type(fault).__name__
