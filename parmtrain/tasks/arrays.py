"""Data of one's own: NumPy arrays in files, read a page at a time, so that a data set may be larger than memory."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from parmtrain.errors import DataError
from parmtrain.tasks.classification import check_labels
from parmtrain.tasks.queries import QuerySet, Splits, TensorQueries
from parmtrain.tasks.source import Source


class MappedQueries(TensorQueries):
    """Queries in a memory-mapped file: what is asked for is read, and the system keeps as much of it as it can spare.

    They stay in their file when the rest moves to another device; each batch follows by itself.
    """

    def to(self, device: torch.device) -> "MappedQueries":
        """Return the same queries."""
        return self


class Arrays(Source):
    """Six files, ``{train,val,test}_{queries,labels}.npy``.

    Args:
        root: Their folder.
        stored: Shape of one stored query, behind the number of queries.
        classes: How many there are; labels are whole numbers from 0.
    """

    def __init__(self, root: str, stored: list[int], classes: int) -> None:
        self.root, self.stored, self.classes = Path(root).expanduser(), list(stored), classes

    def locate(self) -> None:
        """Raise a ``DataError`` that names the files that are missing."""
        names = [f"{split}_{part}.npy" for split in Splits._fields for part in ("queries", "labels")]
        missing = [name for name in names if not (self.root / name).is_file()]
        if missing:
            raise DataError(f"no {', '.join(missing)} in {self.root}; data.root=… names another folder")

    def read(self) -> "Splits[QuerySet]":
        """Map the queries and read the labels."""
        self.locate()
        return Splits(*map(self._split, Splits._fields))

    def _split(self, split: str) -> MappedQueries:
        queries, labels = self.root / f"{split}_queries.npy", self.root / f"{split}_labels.npy"
        stored, classes = mapped(queries), mapped(labels)
        if list(stored.shape[1:]) != self.stored or classes.shape != stored.shape[:1]:
            raise DataError(
                f"{queries} holds {list(stored.shape)} and {labels} {list(classes.shape)}; "
                f"[n, {', '.join(map(str, self.stored))}] and [n] are right"
            )
        if classes.is_floating_point():
            raise DataError(f"{labels} holds {classes.dtype}; whole numbers are right")
        check_labels(classes, self.classes, str(labels))
        return MappedQueries(stored, classes.long())


def mapped(path: Path) -> Tensor:
    """Map one array of numbers as a tensor.

    Raises:
        DataError: If the file is damaged, or is of something else than numbers.
    """
    try:
        array = np.load(path, mmap_mode="c", allow_pickle=False)  # c: PyTorch asks for what it could write to
        return torch.from_numpy(array)
    except (OSError, ValueError, TypeError, EOFError) as fault:
        raise DataError(f"{path} is no .npy file of numbers, or damaged: {fault}") from fault
