"""Faults of a configuration, as a check finds them."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from hydra.core.hydra_config import HydraConfig


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
