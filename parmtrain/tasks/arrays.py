"""Your own data: memory-mapped NumPy arrays, so a data set may be larger than memory."""

from pathlib import Path

import torch
from torch import Tensor

from parmtrain.bounds import Count
from parmtrain.cache import read_array
from parmtrain.errors import DataError
from parmtrain.tasks.classification import check_labels
from parmtrain.tasks.queries import QuerySet, Splits, TensorQueries
from parmtrain.tasks.source import Source


class MappedQueries(TensorQueries):
    """Queries in a memory-mapped file: read when accessed, and cached by the operating system as memory permits.

    They stay in the file when a module moves to another device; each batch is moved separately.
    """

    def to(self, device: torch.device) -> "MappedQueries":
        """Return the same queries."""
        return self


class Arrays(Source):
    """Six files, ``{train,val,test}_{queries,labels}.npy``.

    Args:
        root: Folder of the files.
        stored: Shape of one stored query, without the axis of queries.
        classes: Number of classes; labels are integers from 0.
    """

    def __init__(self, root: str, stored: list[Count], classes: Count) -> None:
        self.root, self.stored, self.classes = Path(root).expanduser(), list(stored), classes

    def locate(self) -> None:
        """Raise a ``DataError`` that names the missing files, if any."""
        names = [f"{split}_{part}.npy" for split in Splits._fields for part in ("queries", "labels")]
        missing = [name for name in names if not (self.root / name).is_file()]
        if missing:
            raise DataError(f"missing in {self.root}: {', '.join(missing)}; set data.root=… to their folder")

    def read(self) -> "Splits[QuerySet]":
        """Memory-map the queries and read the labels."""
        self.locate()
        return Splits(*map(self._split, Splits._fields))

    def _split(self, split: str) -> MappedQueries:
        queries, labels = self.root / f"{split}_queries.npy", self.root / f"{split}_labels.npy"
        stored, classes = mapped(queries), mapped(labels)
        if list(stored.shape[1:]) != self.stored or classes.shape != stored.shape[:1]:
            raise DataError(
                f"{queries} and {labels} must have shapes [n, {', '.join(map(str, self.stored))}] and [n], "
                f"got {list(stored.shape)} and {list(classes.shape)}"
            )
        if classes.is_floating_point():
            raise DataError(f"{labels} must hold integers, got {classes.dtype}")
        check_labels(classes, self.classes, str(labels))
        return MappedQueries(stored, classes.long())


def mapped(path: Path) -> Tensor:
    """Memory-map an array of numbers as a tensor.

    Raises:
        DataError: If the file is damaged or does not hold numbers.
    """
    try:
        return read_array(path)
    except (OSError, ValueError, TypeError, EOFError) as fault:
        raise DataError(f"{path} must be an intact .npy file of numbers: {fault}") from fault
