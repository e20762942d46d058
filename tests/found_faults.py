"""The faults that the check finds in a configuration."""

from pathlib import Path

from torch import nn

from parmtrain.config.check import check
from parmtrain.config.compose import compose
from parmtrain.run_folder import RunFolder


def faults(folder: Path, *overrides: str, given: nn.Module | None = None) -> list[str]:
    return [fault.sentence for fault in check(compose(*overrides), RunFolder(folder), given)]
