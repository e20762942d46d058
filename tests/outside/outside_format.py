"""An export format: whole modules, pickled."""

from pathlib import Path

import torch
from torch import Tensor, nn


class Pickled:
    """Write parts of a bundle as pickled modules."""

    suffix = ".pickle"

    def save(self, part: nn.Module, example: tuple[Tensor, ...], path: Path) -> None:
        """Write one part."""
        torch.save(part, path)

    def load(self, path: Path) -> nn.Module:
        """Read a part back."""
        part: nn.Module = torch.load(path, weights_only=False)
        return part
