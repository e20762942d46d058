"""What a task is: queries with labels in three splits, what F takes of them, and what F is trained for."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from parmtrain.measures import Measures
from parmtrain.tasks.queries import QuerySet, Splits


class TaskInput(nn.Module):
    """What F expects of its input: a module from stored queries ``[b, *stored]`` to queries ``[b, *query]``.

    Attributes:
        flatten: Whether F wants each query as a vector; queries keep their shape up to the model's door.
    """

    flatten: bool = False

    @property
    def features(self) -> nn.Module | None:
        """What F and parity models make of a query first, where they do: of a waveform a spectrogram, say."""
        return None

    @property
    def door(self) -> nn.Module:
        """What a query ``[b, *query]`` passes on its way into F."""
        parts = [self.features] if self.features is not None else []
        return nn.Sequential(*parts, *([nn.Flatten()] if self.flatten else []))

    def model_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of what a model is given for queries, or parity queries, of ``shape``."""
        if self.features is None:
            return shape
        return tuple(self.features(torch.zeros(1, *shape)).shape[1:])

    @property
    def settings(self) -> dict[str, Any]:
        """What a server must do to a stored query, as plain values."""
        raise NotImplementedError


class Task(ABC):
    """An inference task.

    Attributes:
        name: Its name on the command line.
        query_shape: Shape of one query as F takes it.
        classes: A word for each of the outputs that make one prediction.
        input: From stored queries to what F takes.
        augment: Random change of stored queries ``[b, *stored]`` in training, or None.
        augment_query: Random change of queries ``[b, *query]`` in training, or None.
    """

    name: str
    query_shape: tuple[int, ...]
    classes: list[str]
    input: TaskInput
    augment: nn.Module | None = None
    augment_query: nn.Module | None = None

    @property
    def outputs(self) -> int:
        """Length of one prediction."""
        return len(self.classes)

    @property
    def augments(self) -> bool:
        """Whether training queries differ from epoch to epoch."""
        return self.augment is not None or self.augment_query is not None

    @abstractmethod
    def locate(self) -> None:
        """Look whether the data is there, without reading it through.

        Raises:
            DataError: If it is missing or incomplete; the sentence says what, and where it was looked for.
        """

    @abstractmethod
    def download(self) -> None:
        """Fetch what ``locate`` did not find.

        Raises:
            DataError: If that is impossible.
        """

    @abstractmethod
    def splits(self) -> "Splits[QuerySet]":
        """Read the data.

        Raises:
            DataError: If it is missing, incomplete or damaged.
        """

    @abstractmethod
    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return the scalar loss that a deployed model is trained with, of outputs ``[b, c]`` and labels ``[b]``."""

    @property
    @abstractmethod
    def measures(self) -> Measures:
        """What predictions are scored by."""

    @abstractmethod
    def default(self, train: Tensor, labels: Tensor) -> float:
        """Return the main measure of a fixed answer, known from the labels ``train``, where ``labels`` are true."""

    @abstractmethod
    def blank_labels(self, groups: int, k: int) -> Tensor:
        """Return labels ``[groups, k]`` or ``[groups, k, l]`` that say nothing, to try things out with."""
