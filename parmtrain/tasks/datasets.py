"""Your own data sets: objects of PyTorch, one for each split, or one that is shared out here."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from parmtrain.bounds import Count, Share, Whole
from parmtrain.errors import ConfigError, DataError, reason_of
from parmtrain.progress import progress
from parmtrain.tasks.arrays import require_finite
from parmtrain.tasks.classification import check_labels
from parmtrain.tasks.queries import QuerySet, Splits, TensorQueries, no_labels
from parmtrain.tasks.source import Source

MOST_LABEL = 2**31


class Items(Protocol):
    """What is taken from a data set: its length, and items that are a query or a query and its label."""

    def __len__(self) -> int:
        """Return the number of items."""

    def __getitem__(self, index: int) -> Any:
        """Return a query, or a query and its label."""


class Datasets(Source):
    """Queries of PyTorch data sets, read into memory once.

    An item is a query, a tensor or an array of one shape for all, or a pair of a query and its label, a whole number.

    Args:
        train: The training split, or everything if the others are None.
        stored: Shape of one stored query.
        classes: Number of classes.
        val: The validation split.
        test: The test split.
        val_share: Share of the queries in the validation split, if they are shared out.
        test_share: Share of them in the test split.
        seed: Seed of the shares.

    Raises:
        ConfigError: If only one of ``val`` and ``test`` is given, or the shares leave nothing to train on.

    Example:
        >>> queries = torch.utils.data.TensorDataset(torch.rand(20, 4), torch.arange(20) % 2)
        >>> [len(part) for part in Datasets(queries, stored=[4], classes=2).read()]
        [14, 2, 4]
    """

    def __init__(
        self,
        train: Items,
        stored: list[Count],
        classes: Count,
        val: Items | None = None,
        test: Items | None = None,
        val_share: Share = 0.1,
        test_share: Share = 0.2,
        seed: Whole = 0,
    ) -> None:
        if (val is None) != (test is None):
            raise ConfigError(["task.source.val and task.source.test must be given both or neither, got one"])
        if val_share + test_share >= 1:
            raise ConfigError(
                [f"task.source.val_share and test_share must leave queries to train on, got {val_share}, {test_share}"]
            )
        self.train, self.given = train, {"train": train, "val": val, "test": test}
        for name, items in self.given.items():
            if items is not None and not (hasattr(items, "__len__") and hasattr(items, "__getitem__")):
                raise ConfigError([f"task.source.{name} must be a data set with a length, got {type(items).__name__}"])
        self.stored, self.classes = tuple(stored), classes
        self.val_share, self.test_share, self.seed = val_share, test_share, seed

    def locate(self) -> None:
        """Raise a ``DataError`` if a data set is empty, or its first item is no query."""
        for name, items in self.given.items():
            if items is not None:
                if not len(items):
                    raise DataError(f"the {name} data set must hold queries, got none")
                self._query(items, 0, name)

    @property
    def labelled(self) -> bool:
        """Whether items of the training split are pairs."""
        return bool(len(self.train)) and self._query(self.train, 0, Splits._fields[0])[1] is not None

    def read(self) -> "Splits[QuerySet]":
        """Read all queries."""
        self.locate()
        apart = [self._read(items, name) for name, items in self.given.items() if items is not None]
        if apart[1:]:
            return Splits(*apart)
        (everything,) = apart
        count = len(everything)
        sizes = [round(self.val_share * count), round(self.test_share * count)]
        order = torch.randperm(count, generator=torch.Generator().manual_seed(self.seed))
        shares = order.split([count - sum(sizes), *sizes])
        return Splits(*(everything.subset(share.sort().values) for share in shares))

    def _read(self, items: Items, name: str) -> TensorQueries:
        queries, labels = [], []
        for index in progress(range(len(items)), f"reading {name}"):
            query, label = self._query(items, index, name)
            queries.append(query)
            labels.append(label)
        stored = torch.stack(queries)
        require_finite(stored, f"the {name} data set")
        if any(label is None for label in labels):
            if not all(label is None for label in labels):
                raise DataError(f"the {name} data set must hold pairs of a query and its label, or queries alone")
            return TensorQueries(stored, no_labels(len(stored)))
        for index, label in enumerate(labels):
            if not _is_whole(label):
                raise DataError(f"the {name} data set must have whole numbers as labels, got {label} for item {index}")
        whole = torch.tensor([int(label) for label in labels])
        check_labels(whole, self.classes, f"the {name} data set")
        return TensorQueries(stored, whole)

    def _query(self, items: Items, index: int, name: str) -> tuple[Tensor, Any]:
        try:
            item = items[index]
        except Exception as fault:  # a data set can raise anything
            raise DataError(f"the {name} data set must return item {index}, but raised: {reason_of(fault)}") from fault
        query = item[0] if isinstance(item, tuple | list) and item else item
        if isinstance(query, np.ndarray) and query.dtype.kind in "uif":
            query = torch.from_numpy(query.astype(query.dtype.newbyteorder("="), order="C"))
        numbers = isinstance(query, Tensor) and not query.is_complex() and query.dtype is not torch.bool
        if not numbers or query.shape != self.stored:
            shown = (
                f"{'shape ' if numbers else f'{query.dtype} '}{list(query.shape)}" if isinstance(query, Tensor) else ""
            )
            given = shown or type(query).__name__
            raise DataError(
                f"the {name} data set must return tensors or arrays of shape {list(self.stored)} (task.query_shape), "
                f"got {given} for item {index}"
            )
        return query.clone(), self._label(item)  # a data set may use one buffer for all

    @staticmethod
    def _label(item: Any) -> Any:
        return item[1] if isinstance(item, tuple | list) and len(item) > 1 else None


class FromPython(Source):
    """In the configuration of a run whose data sets were given from Python: what takes the place of their source.

    Example:
        >>> FromPython().locate()
        Traceback (most recent call last):
        parmtrain.errors.DataError: the data of this run came from Python; give it again with evaluate(folder, data=…)
    """

    def locate(self) -> None:
        """Raise a ``DataError``, since nothing but the caller has the data."""
        raise DataError("the data of this run came from Python; give it again with evaluate(folder, data=…)")

    def read(self) -> "Splits[QuerySet]":
        """Raise a ``DataError``."""
        self.locate()
        raise AssertionError


def source_of(data: Any, query_shape: Sequence[int], outputs: int) -> Source:
    """Return data that was given from Python as a source.

    Args:
        data: A source; one data set, which is shared out; or three, for training, validation and test, in this order
            or by the names ``train``, ``val`` and ``test``.
        query_shape: Shape of one query.
        outputs: Number of classes.

    Raises:
        ConfigError: If it is none of these.

    Example:
        >>> len(source_of(torch.utils.data.TensorDataset(torch.rand(20, 4)), [4], 2).read().train)
        14
    """
    if isinstance(data, Source):
        return data
    if isinstance(data, dict):
        if set(data) != set(Splits._fields):
            raise ConfigError(
                [f"data must have the names {', '.join(Splits._fields)}, got {', '.join(map(str, data))}"]
            )
        data = [data[name] for name in Splits._fields]
    splits: list[Any] = list(data) if isinstance(data, tuple | list) else [data]
    if len(splits) not in (1, len(Splits._fields)):
        raise ConfigError([f"data must be one data set, or three: {', '.join(Splits._fields)}, got {len(splits)}"])
    train, val, test = splits if splits[1:] else (splits[0], None, None)
    return Datasets(train, list(query_shape), outputs, val, test)


def _is_whole(label: Any) -> bool:
    """Return whether a label is a whole number: an integer, or a tensor or an array of one."""
    if isinstance(label, bool | str | bytes) or getattr(label, "dtype", None) in (torch.bool, np.bool_):
        return False
    try:
        return float(label).is_integer() and abs(float(label)) < MOST_LABEL
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return False
