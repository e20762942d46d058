"""From a set of queries to batches of coding groups."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler

from parmtrain.errors import DataError
from parmtrain.tasks.queries import QuerySet, Splits
from parmtrain.training.loading import WholeBatches

Augment = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Maps stored queries ``[b, …]`` and their labels ``[b, …]`` to changed ones."""


class GroupBatch(NamedTuple):
    """A batch of coding groups.

    Args:
        queries: Queries ``[g, k, *query]``; as stored, until the data module has prepared them.
        labels: True labels ``[g, k]``.
        predictions: The deployed model's predictions ``[g, k, c]``, if already known.
    """

    queries: Tensor
    labels: Tensor
    predictions: Tensor | None


class GroupSampler(Sampler[Tensor]):
    """Yield batches of coding groups as tensors of query indices ``[g, k]``.

    With shuffling, every epoch draws new random groups, which depend only on the seed and the epoch, so a resumed
    training sees the same groups. A remainder of fewer than k queries is dropped.

    Several processes share each batch; a group is never split, and no two processes see the same group. With
    shuffling, all shares of a batch are equal, so the mean of the processes' gradients is the gradient of the batch; a
    last batch that does not divide evenly is truncated. Without it nothing is dropped, and shares may differ by one.

    Args:
        queries: Number of queries.
        k: Queries per group.
        groups: Groups per batch, over all processes; a multiple of their number.
        seed: Seed of the grouping.
        shuffle: Whether each epoch has its own grouping, for training; otherwise all epochs use one random grouping.
        rank: Rank of this process.
        processes: Number of processes that share each batch.

    Example:
        >>> [batch.shape for batch in GroupSampler(queries=11, k=2, groups=4, seed=0)]
        [torch.Size([4, 2]), torch.Size([1, 2])]
    """

    def __init__(
        self, queries: int, k: int, groups: int, seed: int, shuffle: bool = True, rank: int = 0, processes: int = 1
    ) -> None:
        self.queries, self.k, self.groups = queries, k, groups
        self.seed, self.shuffle, self.rank, self.processes = seed, shuffle, rank, processes
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch whose groups are drawn next; Lightning calls this."""
        self.epoch = epoch

    def __len__(self) -> int:
        whole, rest = divmod(self.queries // self.k, self.groups)
        return whole + (rest >= (self.processes if self.shuffle else self.rank + 1))

    def __iter__(self) -> Iterator[Tensor]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + (self.epoch if self.shuffle else 0))
        order = torch.randperm(self.queries, generator=generator)[: self.queries // self.k * self.k].view(-1, self.k)
        for batch in order.split(self.groups):
            shared = len(batch) // self.processes * self.processes if self.shuffle else len(batch)
            mine = batch[self.rank : shared : self.processes]
            if len(mine):
                yield mine


class GroupDataset(Dataset[GroupBatch]):
    """Fetch queries, labels and known predictions, a whole batch of groups at a time."""

    def __init__(self, queries: QuerySet, predictions: Tensor | None = None) -> None:
        self.queries, self.predictions = queries, predictions

    def to(self, device: torch.device) -> "GroupDataset":
        """Return the groups on ``device``; unchanged if their queries stream: processes without it fetch them."""
        if self.queries.streams:
            return self
        return GroupDataset(self.queries.to(device), None if self.predictions is None else self.predictions.to(device))

    def __getitem__(self, index: Tensor) -> GroupBatch:
        queries, labels = self.queries[index]
        predictions = None if self.predictions is None else self.predictions[index.to(self.predictions.device)]
        return GroupBatch(queries, labels, predictions)


def group_loader(dataset: GroupDataset, sampler: GroupSampler, workers: int = 0) -> DataLoader[GroupBatch]:
    """Return a loader of batches of groups; only streamed queries use worker processes."""
    return WholeBatches(dataset, sampler, workers if dataset.queries.streams else 0)


def require_a_group(splits: "Splits[QuerySet]", k: int) -> None:
    """Raise a ``DataError`` if a split has fewer queries than one group."""
    for name, queries in zip(Splits._fields, splits, strict=True):
        if len(queries) < k:
            raise DataError(f"the {name} split must have at least k={k} queries, got {len(queries)}")


class GroupsDataModule(pl.LightningDataModule):
    """Provide the coding groups of a task, augmented and prepared in batches on the training device.

    Args:
        splits: The task's queries.
        k: Queries per group.
        groups: Groups per batch.
        seed: Seed of the grouping.
        prepare: Maps stored queries ``[b, …]`` to the deployed model's input ``[b, *query]``.
        augment: Random change of stored queries ``[b, …]`` and their labels, in training only.
        augment_query: Random change of queries ``[b, *query]``, in training only.
        predictions: The deployed model's predictions on each split, where known.
        workers: Processes that load streamed queries.

    Raises:
        DataError: If a split has fewer queries than one group.
    """

    def __init__(
        self,
        splits: "Splits[QuerySet]",
        k: int,
        groups: int,
        seed: int,
        prepare: nn.Module,
        augment: Augment | None,
        predictions: "Splits[Tensor | None]",
        workers: int = 0,
        augment_query: nn.Module | None = None,
    ) -> None:
        super().__init__()
        require_a_group(splits, k)
        self.splits, self.k, self.groups, self.seed, self.workers = splits, k, groups, seed, workers
        self.prepare, self.predictions = prepare, predictions
        self.augment, self.augment_query = augment, augment_query

    def setup(self, stage: str) -> None:
        """Move queries and predictions in memory to the training device, once."""
        assert self.trainer is not None
        device = self.trainer.strategy.root_device
        self.prepare.to(device)
        here = [GroupDataset(*both).to(device) for both in zip(self.splits, self.predictions, strict=True)]
        self.splits = Splits(*(one.queries for one in here))
        self.predictions = Splits(*(one.predictions for one in here))

    def train_dataloader(self) -> DataLoader[GroupBatch]:
        """Return a loader that regroups the training queries in each epoch."""
        return self._loader(self.splits.train, self.predictions.train, shuffle=True)

    def val_dataloader(self) -> DataLoader[GroupBatch]:
        """Return a loader of fixed groups of validation queries."""
        return self._loader(self.splits.val, self.predictions.val, shuffle=False)

    def test_dataloader(self) -> DataLoader[GroupBatch]:
        """Return a loader of fixed groups of test queries."""
        return self._loader(self.splits.test, self.predictions.test, shuffle=False)

    def _loader(self, queries: QuerySet, predictions: Tensor | None, shuffle: bool) -> DataLoader[GroupBatch]:
        rank, processes = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        sampler = GroupSampler(len(queries), self.k, self.groups, self.seed, shuffle, rank, processes)
        return group_loader(GroupDataset(queries, predictions), sampler, self.workers)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> GroupBatch:
        """Turn stored queries into the deployed model's input, augmented in training."""
        assert self.trainer is not None
        if self.trainer.training:
            return prepare_batch(batch, self.prepare, self.augment, self.augment_query)
        return prepare_batch(batch, self.prepare)


def some_groups(
    queries: QuerySet, k: int, count: int, seed: int, prepare: nn.Module, device: torch.device
) -> GroupBatch:
    """Return one batch of random, prepared groups, to fit a code without gradients or to draw.

    Args:
        queries: The queries of one split.
        k: Queries per group.
        count: Maximum number of groups.
        seed: Seed of the choice.
        prepare: Maps stored queries ``[b, …]`` to the deployed model's input ``[b, *query]``.
        device: Device of the batch.
    """
    chosen = next(iter(GroupSampler(len(queries), k, count, seed)))
    stored, labels = queries[chosen]
    return prepare_batch(GroupBatch(stored.to(device), labels.to(device), None), prepare.to(device))


def prepare_batch(
    batch: GroupBatch, prepare: nn.Module, augment: Augment | None = None, augment_query: nn.Module | None = None
) -> GroupBatch:
    """Turn the stored queries of a batch into the deployed model's input."""
    stored, labels = batch.queries.flatten(0, 1), batch.labels.flatten(0, 1)
    if augment is not None:
        stored, labels = augment(stored, labels)
    queries: Tensor = prepare(stored)
    if augment_query is not None:
        queries = augment_query(queries)
    of_groups = batch.labels.shape[:2]
    return batch._replace(queries=queries.unflatten(0, of_groups), labels=labels.unflatten(0, of_groups))
