"""What a task is: queries with labels in three splits, what F takes of them, and what F is trained for."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from parmtrain.metrics.measures import Measures
from parmtrain.tasks.queries import QuerySet, Splits
from parmtrain.tasks.source import Source

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from parmtrain.tasks.decoded_group import DecodedGroup


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

    def draw(self, axes: "Axes", query: Tensor) -> None:
        """Draw a query, or a coded query of a like shape."""
        raise NotImplementedError


class Task(ABC):
    """An inference task.

    Args:
        name: Its name on the command line.
        query_shape: Shape of one query as F takes it.
        classes: A word for each of the outputs that make one prediction.
        source: Where queries and labels come from.
        input: From stored queries to what F takes.
        augment: Random change of stored queries ``[b, *stored]`` in training.
        augment_query: Random change of queries ``[b, *query]`` in training.

    Attributes:
        prediction_width: How wide a drawn prediction is beside a drawn query.
    """

    prediction_width: ClassVar[float] = 1.0

    def __init__(
        self,
        name: str,
        query_shape: Sequence[int],
        classes: Sequence[str],
        source: Source,
        input: TaskInput,
        augment: nn.Module | None = None,
        augment_query: nn.Module | None = None,
    ) -> None:
        self.name, self.query_shape, self.classes = name, tuple(query_shape), [str(word) for word in classes]
        self.source, self.input = source, input
        self.augment, self.augment_query = augment, augment_query

    @property
    def outputs(self) -> int:
        """Length of one prediction."""
        return len(self.classes)

    @property
    def augments(self) -> bool:
        """Whether training queries differ from epoch to epoch."""
        return self.augment is not None or self.augment_query is not None

    def splits(self) -> "Splits[QuerySet]":
        """Read the data.

        Raises:
            DataError: If it is missing, incomplete or damaged.
        """
        return self.source.read()

    @abstractmethod
    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return the scalar loss that a deployed model is trained with, of outputs ``[b, c]`` and labels ``[b]``."""

    @property
    @abstractmethod
    def measures(self) -> Measures:
        """What predictions are scored by."""

    @abstractmethod
    def default(self, train: Tensor, labels: Tensor) -> dict[str, float]:
        """Return every measure of a fixed answer, known from the labels ``train``, where ``labels`` are true."""

    def prior(self, train: Tensor) -> Tensor | None:
        """Return the prediction ``[c]`` that models begin with, known from the labels ``train``, if there is one."""
        return None

    @abstractmethod
    def blank_labels(self, groups: int, k: int) -> Tensor:
        """Return labels ``[groups, k]`` or ``[groups, k, l]`` that say nothing, to try things out with."""

    @abstractmethod
    def draw_prediction(self, axes: "Axes", group: "DecodedGroup", lost: int) -> None:
        """Draw the prediction of one query of a group: what is true, the deployed model's own, and the rebuilt one."""
