"""A task with predictions of a kind of its own: embeddings, scored by their cosine."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from parmtrain.metrics import Measures
from parmtrain.tasks import QuerySet, Splits, Task, TensorQueries
from parmtrain.tasks.base import TaskInput
from parmtrain.tasks.source import Source

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from parmtrain.tasks.decoded_group import DecodedGroup


class Patterns(Source):
    """Random 6×6 patterns; an embedding is a fixed projection of one."""

    def __init__(self, outputs: int) -> None:
        self.outputs = outputs

    def locate(self) -> None:
        """Do nothing: they are made here."""

    def read(self) -> "Splits[QuerySet]":
        """Make them."""
        random = torch.Generator().manual_seed(0)
        projection = torch.randn(36, self.outputs, generator=random)

        def split(count: int) -> QuerySet:
            patterns = torch.randn(count, 1, 6, 6, generator=random)
            return TensorQueries(patterns, normalize(patterns.flatten(1) @ projection))

        return Splits(split(1200), split(60), split(80))


def closeness(predictions: Tensor, others: Tensor) -> Tensor:
    """Return the cosine of embeddings ``[..., c]``, brought to 0 to 1; 0 where one is NaN."""
    return ((1 + cosine_similarity(predictions, others, dim=-1)) / 2).nan_to_num(0.0)


def mean_embedding(labels: Tensor) -> Tensor:
    """Return the direction ``[c]`` that embeddings ``[n, c]`` have on average."""
    return normalize(labels.mean(dim=0), dim=0)


class Embedding(Task):
    """Inference of an embedding."""

    def __init__(self, name: str, query_shape: Sequence[int], outputs: int, source: Source, input: TaskInput) -> None:
        super().__init__(name, query_shape, [f"coordinate {i}" for i in range(outputs)], source, input)

    @property
    def measures(self) -> Measures:
        """The cosine."""
        return Measures("embeddings", "cosine", closeness, closeness, mean_embedding)

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return 1 − the cosine."""
        return 1 - cosine_similarity(outputs, labels, dim=-1).mean()

    def blank_labels(self, groups: int, k: int) -> Tensor:
        """Return the first direction for all."""
        return torch.eye(self.outputs)[0].expand(groups, k, -1)

    def draw_prediction(self, axes: "Axes", group: "DecodedGroup", lost: int) -> None:
        """Draw the coordinates."""
        axes.plot(group.predictions[lost], label="deployed model's own")
        axes.plot(group.reconstructed[lost], label="reconstructed")
