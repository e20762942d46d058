"""Embedding: map a query to a vector that is compared with others by its direction."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from parmtrain.bounds import Count, Name
from parmtrain.drawing import GREY, ORANGE
from parmtrain.errors import UnsupportedError
from parmtrain.metrics.embeddings import MEASURES
from parmtrain.metrics.measures import Measures
from parmtrain.tasks.base import Task, TaskInput
from parmtrain.tasks.source import Source

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from parmtrain.tasks.decoded_group import DecodedGroup


class Embedding(Task):
    """Prediction of a vector, for queries without labels.

    Args:
        name: Name of the task on the command line.
        query_shape: Shape of one query as the deployed model takes it.
        outputs: Length of one embedding.
        source: Where queries come from.
        input: Turns stored queries into what the deployed model expects.
        augment: Random augmentation of stored queries in training.
        augment_query: Random augmentation of queries in training.
    """

    prediction_width = 2.2

    def __init__(
        self,
        name: Name,
        query_shape: Sequence[Count],
        outputs: Count,
        source: Source,
        input: TaskInput,
        augment: nn.Module | None = None,
        augment_query: nn.Module | None = None,
    ) -> None:
        super().__init__(name, query_shape, list(range(outputs)), source, input, augment, augment_query)

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Raise an ``UnsupportedError``: embeddings have no labels to train a deployed model on."""
        raise UnsupportedError("task=embedding trains no deployed model, as its queries have no labels; name one")

    @property
    def measures(self) -> Measures:
        """The cosine with the deployed model's own embedding, and the recall of it among all of a split."""
        return MEASURES

    def blank_labels(self, groups: int, k: int) -> Tensor:
        """Return zeros ``[groups, k, outputs]``."""
        return torch.zeros(groups, k, self.outputs)

    def draw_prediction(self, axes: "Axes", group: "DecodedGroup", lost: int) -> None:
        """Draw the numbers of the deployed model's embedding and of the reconstructed one, and their cosine."""
        own, rebuilt = group.predictions[lost], group.reconstructed[lost]
        axes.plot(own, "-", color=GREY, label="deployed model's own")
        axes.plot(rebuilt, "--", color=ORANGE, linewidth=1.0, label="reconstructed")
        axes.set(
            xlabel=f"numbers of the embedding; cosine of the two {cosine_similarity(own, rebuilt, dim=0).item():.3f}"
        )
