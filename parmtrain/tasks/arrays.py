"""Your own data: memory-mapped NumPy arrays, so a data set may be larger than memory."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from parmtrain.bounds import Count
from parmtrain.cache import read_array
from parmtrain.errors import DataError, MissingDataError, reason_of
from parmtrain.tasks.classification import check_labels
from parmtrain.tasks.queries import QuerySet, Splits, TensorQueries, no_labels
from parmtrain.tasks.source import Source

AT_ONCE = 2**24  # numbers


class MappedQueries(TensorQueries):
    """Queries in a memory-mapped file: read when accessed, and cached by the operating system as memory permits.

    They stay in the file when a module moves to another device; each batch is moved separately.
    """

    def to(self, device: torch.device) -> "MappedQueries":
        """Return the same queries."""
        return self


class Arrays(Source):
    """Files ``{train,val,test}_queries.npy``, and ``{train,val,test}_labels.npy`` of the splits that have labels.

    Args:
        root: Folder of the files.
        stored: Shape of one stored query, without the axis of queries.
        classes: Number of classes; labels are integers from 0.
        labels: Whether files of labels are read, if there are any.
    """

    def __init__(self, root: str, stored: list[Count], classes: Count, labels: bool = True) -> None:
        self.root, self.stored, self.classes, self.labels = Path(root).expanduser(), list(stored), classes, labels

    def locate(self) -> None:
        """Raise a ``DataError`` that names the missing files of queries, if any."""
        names = [f"{split}_queries.npy" for split in Splits._fields]
        missing = [name for name in names if not (self.root / name).is_file()]
        if missing:
            raise MissingDataError(f"missing in {self.root}: {', '.join(missing)}; set data.root=… to their folder")
        for split, later in pairwise(Splits._fields):
            if self._has_labels(split) and not self._has_labels(later):
                raise DataError(
                    f"missing in {self.root}: {self._labels(later).name}, since {self._labels(split).name} is there; "
                    "labels are those of all splits, of val and test, of test alone, or none"
                )

    @property
    def labelled(self) -> bool:
        """Whether there are labels of the training split."""
        return self._has_labels("train")

    def _has_labels(self, split: str) -> bool:
        return self.labels and self._labels(split).is_file()

    def _labels(self, split: str) -> Path:
        return self.root / f"{split}_labels.npy"

    def read(self) -> "Splits[QuerySet]":
        """Memory-map the queries and read the labels."""
        self.locate()
        return Splits(*map(self._split, Splits._fields))

    def _split(self, split: str) -> MappedQueries:
        queries, labels = self.root / f"{split}_queries.npy", self._labels(split)
        stored = mapped(queries)
        if list(stored.shape[1:]) != self.stored or not stored.dim():
            wanted = ", ".join(["n", *map(str, self.stored)])
            raise DataError(f"{queries} must have shape [{wanted}], got {list(stored.shape)}")
        require_finite(stored, str(queries))
        if not self._has_labels(split):
            return MappedQueries(stored, no_labels(len(stored)))
        classes = mapped(labels)
        if classes.shape != stored.shape[:1]:
            raise DataError(f"{labels} must have shape {[len(stored)]}, one label per query, got {list(classes.shape)}")
        if classes.is_floating_point():
            raise DataError(f"{labels} must hold integers, got {str(classes.dtype).removeprefix('torch.')}")
        check_labels(classes, self.classes, str(labels))
        return MappedQueries(stored, classes.long())


def require_finite(stored: Tensor, where: str) -> None:
    """Raise a ``DataError`` if a query ``[n, *stored]`` has a number that is NaN or infinite as float32.

    Args:
        stored: Queries, which may be larger than memory.
        where: Name of the queries in the error message.
    """
    if not stored.is_floating_point():
        return
    at_once = max(1, AT_ONCE // max(1, stored[:1].numel()))
    for begin in range(0, len(stored), at_once):
        finite = stored[begin : begin + at_once].float().flatten(1).isfinite().all(dim=1)
        if not finite.all():
            first = begin + int((~finite).nonzero()[0])
            raise DataError(f"{where} must hold finite numbers, got NaN or infinity in query {first}")


def mapped(path: Path) -> Tensor:
    """Memory-map an array of numbers as a tensor.

    Raises:
        DataError: If the file is damaged or does not hold real numbers in the byte order of this machine.
    """
    try:
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(loaded, np.ndarray):
            raise ValueError("it is an archive of several arrays")
        kind = loaded.dtype
        if kind.kind not in "uif":
            raise DataError(f"{path} must hold real numbers, got {kind.name if kind.kind in 'bc' else kind.str}")
        if not kind.isnative:
            raise DataError(
                f"{path} must hold numbers in this machine's byte order; save it with .astype('{kind.name}')"
            )
        return read_array(path)
    except DataError:
        raise
    except Exception as fault:  # NumPy on a damaged header can raise anything
        raise DataError(f"{path} must be an intact .npy file of numbers: {reason_of(fault)}") from fault
