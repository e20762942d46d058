"""Load batches that a data set fetches as a whole, in worker processes whose errors stay what they were."""

from collections.abc import Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from parmtrain.errors import DataError, ParmtrainError

T = TypeVar("T")


class WholeBatches(DataLoader[T]):
    """Load batches of a data set.

    PyTorch turns an error in a worker process into a text with its traceback, and raises it anew. Here, the data set
    returns a ``ParmtrainError`` in place of a batch, and it is raised where the batch is used.

    Args:
        dataset: Returns a whole batch for a tensor of indices.
        sampler: Yields these tensors.
        workers: Number of worker processes; 0 loads in this one.

    Raises:
        DataError: If a worker process dies.
    """

    def __init__(self, dataset: Dataset[T], sampler: Any, workers: int = 0) -> None:
        super().__init__(
            _Fetched(dataset),
            batch_size=None,
            sampler=sampler,
            num_workers=workers,
            collate_fn=_as_it_is,
            persistent_workers=workers > 0,
            pin_memory=workers > 0 and torch.cuda.is_available(),
        )

    def __iter__(self) -> Any:
        """Yield the batches."""
        return self._batches(super().__iter__())

    def _batches(self, fetched: Iterator[Any]) -> Iterator[T]:
        try:
            for batch in fetched:
                if isinstance(batch, ParmtrainError):
                    raise batch
                yield batch
        except RuntimeError as fault:
            if "DataLoader worker (pid" not in str(fault):
                raise
            raise DataError(
                f"a process that loads queries died, perhaps for lack of memory ({fault}); try data.workers=0"
            ) from fault


class _Fetched(Dataset[Any]):
    """Return a data set's batches, or its errors."""

    def __init__(self, dataset: Dataset[Any]) -> None:
        self.dataset = dataset

    def __getitem__(self, index: Tensor) -> Any:
        try:
            return self.dataset[index]
        except ParmtrainError as fault:
            return fault

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]


def _as_it_is(batch: Any) -> Any:
    return batch
