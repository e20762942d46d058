"""MNIST and its variants in their original format: four ``*-ubyte`` files, gzipped or not."""

import gzip
from math import prod
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from parmtrain.bounds import Count
from parmtrain.errors import DataError, MissingDataError
from parmtrain.tasks.classification import check_labels
from parmtrain.tasks.queries import Splits, TensorQueries, hold_out
from parmtrain.tasks.source import Source

PARTS = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
UNSIGNED_BYTE = 8
TYPES = (8, 9, 11, 12, 13, 14)  # all that the format has


class IdxImages(Source):
    """Images of the MNIST family.

    Args:
        root: Folder of the four files (as Debian's ``dataset-fashion-mnist`` installs them), or the root of
            torchvision's layout, ``root/<variant>/raw``.
        variant: Name of the data set in torchvision: ``MNIST`` or ``FashionMNIST``.
        validation: Number of training images to hold out for validation.

    Source: LeCun et al., The MNIST database; Xiao et al., Fashion-MNIST (arXiv 1708.07747).
    """

    def __init__(self, root: str, variant: str, validation: Count) -> None:
        self.root, self.variant, self.validation = Path(root).expanduser(), variant, validation

    @property
    def folders(self) -> list[Path]:
        """Folders to search for the files, in this order."""
        return [self.root, self.root / self.variant / "raw", self.root / "raw"]

    def locate(self) -> None:
        """Raise a ``DataError`` that names the missing files, if any."""
        self._files()

    def _files(self) -> list[Path]:
        found = {part: self._find(part) for part in PARTS}
        missing = [f"{part}-ubyte.gz" for part, file in found.items() if file is None]
        if missing:
            searched = ", ".join(map(str, self.folders))
            raise MissingDataError(
                f"{self.variant} is {'incomplete' if len(missing) < len(PARTS) else 'missing'}: no "
                f"{', '.join(missing)} in any of the folders {searched}; set data.root=… to the folder of the files"
            )
        return [file for file in found.values() if file is not None]

    def _find(self, part: str) -> Path | None:
        names = (f"{part}-ubyte.gz", f"{part}-ubyte", f"{part.replace('-idx', '.idx')}-ubyte")
        files = (folder / name for folder in self.folders for name in names)
        return next((file for file in files if file.is_file()), None)

    def download(self) -> None:
        """Download with torchvision, in its layout under ``root``."""
        from torchvision import datasets

        from parmtrain.tasks.download import attempt

        attempt(lambda: getattr(datasets, self.variant)(str(self.root), download=True), self.locate)

    def read(self) -> "Splits[TensorQueries]":
        """Read the images, stored as ``[1, h, w]`` bytes."""
        train_images, train_labels, test_images, test_labels = self._files()
        train, test = _labelled(train_images, train_labels), _labelled(test_images, test_labels)
        if train.stored.shape[1:] != test.stored.shape[1:]:
            given = [list(part.stored.shape[2:]) for part in (train, test)]
            raise DataError(
                f"{train_images} and {test_images} must hold images of one size, got {given[0]} and {given[1]}"
            )
        if len(train) <= self.validation:
            raise DataError(
                f"{train_images} must hold more than the {self.validation} training images held out for validation, "
                f"got {len(train)}"
            )
        return Splits(*hold_out(train, self.validation), test)


def _labelled(images: Path, labels: Path) -> TensorQueries:
    stored, classes = read_idx(images), read_idx(labels).long()
    if stored.dim() != 3 or classes.dim() != 1 or len(stored) != len(classes):
        raise DataError(
            f"{images} and {labels} must have shapes [n, h, w] and [n], got {list(stored.shape)} and "
            f"{list(classes.shape)}"
        )
    if not stored.numel():
        raise DataError(f"{images} must hold 1 or more images, got {list(stored.shape)}")
    check_labels(classes, 10, str(labels))
    return TensorQueries(stored.unsqueeze(1), classes)


def read_idx(path: Path) -> Tensor:
    """Read a file of unsigned bytes in the IDX format.

    Returns:
        Bytes (uint8) of the shape in the file's header.

    Raises:
        DataError: If the file is damaged or of another format.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, gzip.zlib.error) as fault:  # type: ignore[attr-defined]
        raise DataError(f"{path} is damaged: {fault}") from fault
    if len(content) < 4 or content[:2] != bytes(2) or content[2] not in TYPES:
        raise DataError(f"{path} is damaged or not an IDX file of unsigned bytes")
    if content[2] != UNSIGNED_BYTE:
        raise DataError(f"{path} must hold unsigned bytes, got type {content[2]}")
    dimensions = content[3]
    start = 4 + 4 * dimensions
    if len(content) < start:
        raise DataError(f"{path} is damaged: it must hold {dimensions} sizes (its header), but it ends before")
    shape = [int(size) for size in np.frombuffer(content[4:start], dtype=">i4")]
    if min(shape, default=-1) < 0 or len(content) - start != prod(shape):
        raise DataError(f"{path} is damaged: it must hold {shape} bytes (its header), got {len(content) - start}")
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=start).copy()).view(shape)
