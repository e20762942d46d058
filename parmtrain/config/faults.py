"""Faults of a configuration, as a check finds them."""

import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.hydra_config import HydraConfig

from parmtrain.errors import ConfigError, ParmtrainError, StorageError, UnsupportedError, reason_of
from parmtrain.files import require_space


class Fault(NamedTuple):
    """One fault of a configuration.

    Args:
        key: The key that it is about: ``trainer.max_epochs``.
        sentence: What must be, what was given, and how to mend it.
        unsupported: Whether the code does not support this k, r, task or deployed model; another code may.
    """

    key: str
    sentence: str
    unsupported: bool = False

    def is_about(self, key: str) -> bool:
        """Return whether the fault is about a key or one below it.

        Example:
            >>> Fault("optim.lr", "…").is_about("optim"), Fault("optim.lr", "…").is_about("opt")
            (True, False)
        """
        return self.key == key or self.key.startswith((f"{key}.", f"{key}["))


def named(folder: Path) -> str:
    """Return the folder of a run as the user names it: by a key on the command line, by an argument in a call."""
    return f"{'hydra.run.dir' if HydraConfig.initialized() else 'folder'}={folder}"


def any_about(faults: Iterable[Fault], key: str) -> bool:
    """Return whether any of the faults is about a key."""
    return any(fault.is_about(key) for fault in faults)


class Trial:
    """Build parts and record the faults of those that fail.

    Args:
        known: Faults found before; the parts that they are about are not tried.

    Attributes:
        found: Faults found here.
    """

    def __init__(self, known: Iterable[Fault]) -> None:
        self.known, self.found = list(known), list[Fault]()

    def __call__(self, key: str, build: Callable[[], Any]) -> Any:
        """Return the part, or None if it fails or is already known to be faulty."""
        if any_about(self.known, key):
            return None
        try:
            return build()
        except (StorageError, OSError):
            raise
        except ConfigError as fault:
            self.found += [Fault(key, sentence) for sentence in fault.faults]
        except ParmtrainError as fault:
            self.found.append(Fault(key, str(fault), isinstance(fault, UnsupportedError) or key == "parity.model"))
        except Exception as fault:  # a part can raise anything
            require_space(fault, {"temporary files": Path(tempfile.gettempdir())})
            self.found.append(Fault(key, f"{key}: {reason_of(fault)}"))
        return None
