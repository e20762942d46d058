"""Sets of queries: a tensor in memory, or any other source that yields queries by index."""

import hashlib
from abc import ABC, abstractmethod
from functools import cached_property
from typing import Generic, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.utils.data import Dataset

T_co = TypeVar("T_co", covariant=True)


class Splits(NamedTuple, Generic[T_co]):
    """One item for each of the three splits."""

    train: T_co
    val: T_co
    test: T_co


class QuerySet(Dataset[tuple[Tensor, Tensor]], ABC):
    """Stored queries and their labels.

    Attributes:
        labels: True labels ``[n, …]``; ``[n, 0]``, as ``no_labels`` returns them, if there are none.
        streams: Whether queries are read one by one when accessed.
    """

    labels: Tensor
    streams: bool

    @property
    @abstractmethod
    def digest(self) -> str:
        """Fingerprint of the content."""

    @property
    def labelled(self) -> bool:
        """Whether there are labels."""
        return are_labels(self.labels)

    def __len__(self) -> int:
        return len(self.labels)

    @abstractmethod
    def __getitem__(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return stored queries ``[*index, *stored]`` and labels ``[*index]`` for an index tensor of any shape."""

    def to(self, device: torch.device) -> "QuerySet":
        """Return the queries on ``device``; unchanged if they stream."""
        return self


class TensorQueries(QuerySet):
    """Queries in memory, as one tensor.

    Args:
        stored: Stored queries ``[n, *stored]`` of any type.
        labels: Labels ``[n, …]``.

    Example:
        >>> queries = TensorQueries(torch.arange(6.0).view(3, 2), torch.tensor([0, 1, 2]))
        >>> queries[torch.tensor([[2, 0]])]
        (tensor([[[4., 5.],
                 [0., 1.]]]), tensor([[2, 0]]))
    """

    streams = False

    def __init__(self, stored: Tensor, labels: Tensor) -> None:
        self.stored, self.labels = stored, labels

    def __getitem__(self, index: Tensor) -> tuple[Tensor, Tensor]:
        index = index.to(self.stored.device)
        return self.stored[index], self.labels[index]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the stored bytes and the labels."""
        digest = hashlib.sha256()
        for content in (self.stored, self.labels):
            digest.update(content.cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def to(self, device: torch.device) -> "TensorQueries":
        """Return the queries on ``device``."""
        if self.stored.device == device:
            return self
        return TensorQueries(self.stored.to(device), self.labels.to(device))

    def subset(self, index: Tensor) -> "TensorQueries":
        """Return the queries at ``index`` ``[m]``."""
        return TensorQueries(self.stored[index], self.labels[index])


class Answered(QuerySet):
    """Queries without labels, in whose place are the deployed model's own predictions.

    Args:
        queries: The queries.
        predictions: The predictions ``[n, c]``.

    Example:
        >>> queries = TensorQueries(torch.arange(6.0).view(3, 2), no_labels(3))
        >>> queries.labelled, Answered(queries, torch.rand(3, 4))[torch.tensor([2, 0])][1].shape
        (False, torch.Size([2, 4]))
    """

    def __init__(self, queries: QuerySet, predictions: Tensor) -> None:
        self.queries, self.labels, self.streams = queries, predictions, queries.streams

    @property
    def digest(self) -> str:
        """Fingerprint of the queries."""
        return self.queries.digest

    def __getitem__(self, index: Tensor) -> tuple[Tensor, Tensor]:
        stored, _ = self.queries[index]
        return stored, self.labels[index.to(self.labels.device)]

    def to(self, device: torch.device) -> "Answered":
        """Return the queries on ``device``; unchanged if they stream."""
        return self if self.streams else Answered(self.queries.to(device), self.labels.to(device))


def no_labels(*shape: int) -> Tensor:
    """Return the labels of queries without any: ``[*shape, 0]``."""
    return torch.zeros(*shape, 0)


def are_labels(labels: Tensor) -> bool:
    """Return whether labels ``[..., l]`` or ``[...]`` are any.

    Example:
        >>> are_labels(torch.tensor([3, 1])), are_labels(no_labels(2))
        (True, False)
    """
    return labels.dim() == 0 or labels.size(-1) > 0 or not len(labels)


def hold_out(queries: TensorQueries, count: int) -> tuple[TensorQueries, TensorQueries]:
    """Hold out ``count`` random queries, always the same ones.

    Returns:
        The remaining queries, and those held out.

    Example:
        >>> rest, held = hold_out(TensorQueries(torch.arange(10), torch.arange(10)), 3)
        >>> len(rest), len(held)
        (7, 3)
    """
    order = torch.randperm(len(queries), generator=torch.Generator().manual_seed(0))
    return queries.subset(order[count:].sort().values), queries.subset(order[:count].sort().values)
