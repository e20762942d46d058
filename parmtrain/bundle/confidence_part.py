"""The confidence in a bundle, which refuses what it cannot judge."""

from collections.abc import Collection
from pathlib import Path

import torch
from torch import Tensor

from parmtrain.bundle.description import CONFIDENCE
from parmtrain.bundle.formats import ExportFormat, Program
from parmtrain.inputs import require_tensor


class BundleConfidence:
    """Map predictions ``[g, k, c]`` and the workers that arrived ``[g, n]`` (bool) to confidences ``[g, k]``.

    Args:
        program: The program of the bundle, which checks nothing.
        k: Queries in a group.
        n: Workers of a group.
        outputs: Length of one prediction.

    Example:
        >>> confidence = BundleConfidence(lambda predictions, arrived: predictions.amax(2), k=2, n=3, outputs=10)
        >>> confidence(torch.ones(5, 2, 10), torch.ones(5, 3, dtype=torch.bool)).shape
        torch.Size([5, 2])
        >>> confidence(torch.ones(5, 2, 10), torch.ones(3, dtype=torch.bool))
        Traceback (most recent call last):
        ...
        parmtrain.errors.InputError: arrived must have shape [5, 3], got [3]
    """

    def __init__(self, program: Program, k: int, n: int, outputs: int) -> None:
        self.program = program
        self._shapes = (k, outputs), n

    def __call__(self, predictions: Tensor, arrived: Tensor) -> Tensor:
        """Return the confidences.

        Raises:
            InputError: If predictions or workers have another shape or type.
        """
        each, workers = self._shapes
        require_tensor("predictions", predictions, ("g", *each), torch.float32)
        require_tensor("arrived", arrived, (len(predictions), workers), torch.bool)
        return self.program(predictions, arrived)


def read_confidence(
    folder: Path, files: Collection[str], k: int, n: int, outputs: int, format: ExportFormat
) -> BundleConfidence | None:
    """Return the confidence that a bundle holds; None if it holds none, as in older versions.

    Args:
        folder: Folder of the bundle.
        files: Names of its files.
        k: Queries in a group.
        n: Workers of a group.
        outputs: Length of one prediction.
        format: Format of its parts.
    """
    name = f"{CONFIDENCE}{format.suffix}"
    return BundleConfidence(format.load(folder / name), k, n, outputs) if name in files else None
