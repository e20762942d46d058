"""Errors that parmtrain raises for its users.

Every one of them carries a sentence that says what was wrong, what was given and what would be right. The command line
prints that sentence alone; a traceback means a fault of parmtrain itself.
"""

from pathlib import Path


class ParmtrainError(Exception):
    """Base of all errors that are a user's to mend."""


class ConfigError(ParmtrainError):
    """All faults that were found in one configuration.

    Args:
        faults: One sentence for each fault, in the order in which they were found.

    Example:
        >>> print(ConfigError(["k=1 is too small", "no such loss"]))
        2 faults in this configuration:
          1. k=1 is too small
          2. no such loss
    """

    def __init__(self, faults: list[str]) -> None:
        self.faults = faults
        if len(faults) == 1:
            super().__init__(faults[0])
            return
        heading = f"{len(faults)} faults in this configuration:"
        super().__init__("\n".join([heading, *(f"  {i}. {fault}" for i, fault in enumerate(faults, 1))]))


class UnsupportedError(ParmtrainError):
    """A code was asked for a k, an r or a query shape that it cannot take."""


class DataError(ParmtrainError):
    """A data set is missing, incomplete or damaged."""


class DeployedModelError(ParmtrainError):
    """A deployed model cannot be read, or does not fit its task."""


class TrainingError(ParmtrainError):
    """Training had to stop."""


class Interrupted(ParmtrainError):
    """The user stopped training; ``checkpoint`` is where it can go on."""

    def __init__(self, checkpoint: Path) -> None:
        self.checkpoint = checkpoint
        super().__init__(f"stopped; what was trained is kept in {checkpoint}")


class ExportError(ParmtrainError):
    """A trained model cannot be exported, or a bundle cannot be read."""
