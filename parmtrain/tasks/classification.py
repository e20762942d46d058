"""Classification: predict the class of a query of any kind."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from parmtrain.bounds import Count, Name
from parmtrain.drawing import BLACK, ORANGE, PALE
from parmtrain.errors import ConfigError, DataError
from parmtrain.metrics.measures import Measures, of_classes
from parmtrain.tasks.base import Task, TaskInput
from parmtrain.tasks.queries import are_labels
from parmtrain.tasks.source import Source

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from parmtrain.tasks.decoded_group import DecodedGroup

MOST_NAMED, MOST_LETTERS = 40, 16
TOP = {"top5": 5}


class Classification(Task):
    """Prediction of one class out of several.

    Args:
        name: Name of the task on the command line.
        query_shape: Shape of one query as the deployed model takes it.
        outputs: Number of classes.
        classes: Names of the classes; their numbers by default.
        source: Where the queries come from.
        input: Turns stored queries into what the deployed model expects.
        augment: Random augmentation of stored queries in training.
        augment_query: Random augmentation of queries in training.
    """

    prediction_width: ClassVar[float] = 2.2

    def __init__(
        self,
        name: Name,
        query_shape: Sequence[Count],
        outputs: Count,
        classes: Sequence[str | int] | None,
        source: Source,
        input: TaskInput,
        augment: nn.Module | None = None,
        augment_query: nn.Module | None = None,
    ) -> None:
        classes = list(range(outputs)) if classes is None else classes
        if len(classes) != outputs:
            raise ConfigError([f"task.classes must have {outputs} names (task.outputs), got {len(classes)}"])
        super().__init__(name, query_shape, classes, source, input, augment, augment_query)

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return the cross-entropy between logits ``[b, c]`` and labels ``[b]``."""
        return cross_entropy(outputs, labels)

    @property
    def measures(self) -> Measures:
        """Accuracy, and top-5 accuracy for ten or more classes."""
        return of_classes(self.outputs)

    def default(self, train: Tensor, labels: Tensor) -> dict[str, float]:
        """Return what a constant prediction scores if all classes are equally frequent: 1 / classes for accuracy."""
        return {name: TOP.get(name, 1) / self.outputs for name in self.measures.every}

    def blank_labels(self, groups: int, k: int) -> Tensor:
        """Return the first class for all queries ``[groups, k]``."""
        return torch.zeros(groups, k, dtype=torch.long)

    def caption(self, label: Tensor) -> str:
        """Return the true class of a query, as it stands above its picture; nothing without a label."""
        return f"true class: {self.classes[int(label)]}" if label.numel() == 1 else ""

    def draw_prediction(self, axes: "Axes", group: "DecodedGroup", lost: int) -> None:
        """Draw one bar per class for the deployed model's outputs and for the reconstructed ones.

        The name of the true class is bold, and the classes that both say are below.
        """
        places = torch.arange(self.outputs)
        own, rebuilt = group.predictions[lost], group.reconstructed[lost]
        axes.bar(places - 0.2, own, 0.4, label="deployed model's own", color=PALE, edgecolor=BLACK, linewidth=0.5)
        axes.bar(places + 0.2, rebuilt, 0.4, label="reconstructed", color=ORANGE, edgecolor=BLACK, linewidth=0.5)
        axes.axhline(0, color=BLACK, linewidth=0.8)
        highest, again = (_shortened(self.classes[int(one.argmax())]) for one in (own, rebuilt))
        labelled = are_labels(group.labels)
        classes = "class; the true one is bold" if labelled and self.outputs <= MOST_NAMED else "class"
        axes.set(ylabel="output", xlabel=f"{classes}\nhighest: {highest} (own), {again} (reconstructed)")
        if self.outputs > MOST_NAMED:
            axes.set_xticks([])
            return
        names = [_shortened(name) for name in self.classes]
        axes.set_xticks(places, names, rotation=0 if max(map(len, names)) < 4 else 60)
        if labelled:
            axes.get_xticklabels()[int(group.labels[lost])].set(weight="bold", size="large")


def _shortened(name: str) -> str:
    """Return a name of a class that fits below a bar."""
    return name if len(name) <= MOST_LETTERS else name[: MOST_LETTERS - 1] + "…"


def check_labels(labels: Tensor, classes: int, where: str) -> None:
    """Raise a ``DataError`` if a label is outside 0 to ``classes`` − 1."""
    if not len(labels):
        return
    low, high = int(labels.numpy().min()), int(labels.numpy().max())  # PyTorch cannot compare all types of integers
    if not 0 <= low <= high < classes:
        given = sorted({low, high})
        raise DataError(f"{where}: labels must be from 0 to {classes - 1}, got {given}")
