"""Classification: the task of saying which class a query is of, whatever queries are."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from parmtrain.errors import ConfigError, DataError
from parmtrain.measures import Measures, of_classes
from parmtrain.tasks.base import Task, TaskInput
from parmtrain.tasks.queries import QuerySet, Splits


class Source(ABC):
    """Where labelled queries come from."""

    @abstractmethod
    def locate(self) -> None:
        """Raise a ``DataError`` if the data is missing or incomplete."""

    def download(self) -> None:
        """Fetch the data, or raise a ``DataError`` if that is impossible."""
        self.locate()

    @abstractmethod
    def read(self) -> "Splits[QuerySet]":
        """Read the data, or raise a ``DataError``."""


class Classification(Task):
    """Inference of one class out of several.

    Args:
        name: Its name on the command line.
        query_shape: Shape of one query as the deployed model takes it.
        outputs: Number of classes.
        classes: A word for each.
        source: Where the queries come from.
        input: What the deployed model expects of its input.
        augment: Random change of stored queries in training.
        augment_query: Random change of queries in training.
    """

    def __init__(
        self,
        name: str,
        query_shape: Sequence[int],
        outputs: int,
        classes: Sequence[str],
        source: Source,
        input: TaskInput,
        augment: nn.Module | None = None,
        augment_query: nn.Module | None = None,
    ) -> None:
        if len(classes) != outputs:
            raise ConfigError([f"task.classes has {len(classes)} words; task.outputs={outputs} is right"])
        self.name, self.query_shape, self.classes = name, tuple(query_shape), [str(word) for word in classes]
        self.source, self.input = source, input
        self.augment, self.augment_query = augment, augment_query

    def locate(self) -> None:
        """Raise a ``DataError`` if the data is missing or incomplete."""
        self.source.locate()

    def download(self) -> None:
        """Fetch the data, or raise a ``DataError`` if that is impossible."""
        self.source.download()

    def splits(self) -> "Splits[QuerySet]":
        """Read the data, or raise a ``DataError``."""
        return self.source.read()

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return the cross-entropy of logits ``[b, c]`` and labels ``[b]``."""
        return cross_entropy(outputs, labels)

    @property
    def measures(self) -> Measures:
        """Accuracy, and whether the label is among the five largest outputs."""
        return of_classes(self.outputs)

    def default(self, train: Tensor, labels: Tensor) -> float:
        """Return one in the number of classes: the accuracy of answering always the same."""
        return 1 / self.outputs

    def blank_labels(self, groups: int, k: int) -> Tensor:
        """Return the first class for all ``[groups, k]``."""
        return torch.zeros(groups, k, dtype=torch.long)


def check_labels(labels: Tensor, classes: int, where: str) -> None:
    """Raise a ``DataError`` if a label is none of the classes."""
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        given = sorted({int(labels.min()), int(labels.max())})
        raise DataError(f"{where}: labels reach {given}; 0 to {classes - 1} is right")
