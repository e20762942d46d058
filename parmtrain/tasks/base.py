"""Base class of tasks: queries with labels in three splits, the input of F, and its training loss."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from parmtrain.bounds import Count, Name, twice
from parmtrain.errors import ConfigError
from parmtrain.metrics.measures import Measures
from parmtrain.tasks.queries import QuerySet, Splits, no_labels
from parmtrain.tasks.source import Source

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from parmtrain.tasks.decoded_group import DecodedGroup


class TaskInput(nn.Module):
    """Map stored queries ``[b, *stored]`` to queries ``[b, *query]``, the input of F.

    Attributes:
        flatten: Whether F takes each query as a vector; queries keep their shape until ``preprocess`` flattens them.
    """

    flatten: bool = False

    @property
    def features(self) -> nn.Module | None:
        """Feature extraction inside F and parity models, such as a spectrogram of a waveform; None without one."""
        return None

    @property
    def preprocess(self) -> nn.Module:
        """Module that prepares queries ``[b, *query]`` for F."""
        parts = [self.features] if self.features is not None else []
        return nn.Sequential(*parts, *([nn.Flatten()] if self.flatten else []))

    def after_features(self, model: nn.Module) -> nn.Module:
        """Return a parity model that extracts features from a parity query as F does from a query."""
        return model if self.features is None else nn.Sequential(self.features, model)

    def model_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the input shape of a model, after features, for queries or parity queries of ``shape``."""
        if self.features is None:
            return shape
        return tuple(self.features(torch.zeros(1, *shape)).shape[1:])

    @property
    def settings(self) -> dict[str, Any]:
        """Preprocessing of a stored query, as plain values for a server."""
        raise NotImplementedError

    def draw(self, axes: "Axes", query: Tensor) -> None:
        """Draw a query, or a coded query of a similar shape."""
        raise NotImplementedError


class Task(ABC):
    """An inference task.

    Args:
        name: Name of the task on the command line.
        query_shape: Shape of one query as F takes it.
        classes: Names of the outputs of a prediction.
        source: Where queries and labels come from.
        input: Turns stored queries into the input of F.
        augment: Random augmentation of stored queries ``[b, *stored]`` in training.
        augment_query: Random augmentation of queries ``[b, *query]`` in training.

    Raises:
        ConfigError: If two outputs have the same name.

    Attributes:
        prediction_width: Width of a drawn prediction relative to a drawn query.
    """

    prediction_width: ClassVar[float] = 1.0

    def __init__(
        self,
        name: Name,
        query_shape: Sequence[Count],
        classes: Sequence[str | int],
        source: Source,
        input: TaskInput,
        augment: nn.Module | None = None,
        augment_query: nn.Module | None = None,
    ) -> None:
        self.name, self.query_shape, self.classes = name, tuple(query_shape), [str(word) for word in classes]
        if (again := twice(self.classes)) is not None:
            raise ConfigError([f"task.classes must differ from each other, got {again} twice"])
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

    def augmented(self, stored: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return stored queries ``[b, …]``, changed at random by ``augment``, and their labels then."""
        if self.augment is None:
            return stored, labels
        try:
            changed = self.augment(stored)
        except TypeError as fault:
            raise ConfigError([f"task.augment must map queries to queries, but raised: {fault}"]) from fault
        return changed, labels

    def splits(self) -> "Splits[QuerySet]":
        """Read the data.

        Raises:
            DataError: If it is missing, incomplete or damaged.
        """
        return self.source.read()

    @abstractmethod
    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return the scalar loss for training a deployed model, given outputs ``[b, c]`` and labels ``[b]``."""

    @property
    @abstractmethod
    def measures(self) -> Measures:
        """The kind of predictions, and the measures that score them."""

    def default(self, train: Tensor, labels: Tensor) -> dict[str, float]:
        """Return all measures of the constant prediction chosen on ``train``, scored against ``labels``."""
        return self.measures.means(self.measures.constant(train).expand(*labels.shape[:1], -1), labels)

    def prior(self, train: Tensor) -> Tensor | None:
        """Return the initial prediction ``[c]`` of models, chosen on the labels ``train``; None without one."""
        return None

    @abstractmethod
    def blank_labels(self, groups: int, k: int) -> Tensor:
        """Return placeholder labels ``[groups, k]`` or ``[groups, k, l]`` for trial runs."""

    def trial_labels(self, groups: int, k: int) -> Tensor:
        """Return placeholder labels for trial runs, as the training split has them: none, perhaps."""
        return self.blank_labels(groups, k) if self.source.labelled else no_labels(groups, k)

    def caption(self, label: Tensor) -> str:
        """Return what stands above the picture of a query, such as its true class; nothing by default."""
        return ""

    @abstractmethod
    def draw_prediction(self, axes: "Axes", group: "DecodedGroup", lost: int) -> None:
        """Draw the label of one query in a group, the deployed model's prediction, and the reconstructed one."""
