"""Localization: the task of saying where in an image something is, as one box."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import smooth_l1_loss

from parmtrain.drawing import BLUE, GREEN, ORANGE
from parmtrain.errors import ConfigError
from parmtrain.metrics import boxes
from parmtrain.metrics.measures import Measures
from parmtrain.tasks.base import Task, TaskInput
from parmtrain.tasks.source import Source

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from parmtrain.tasks.decoded_group import DecodedGroup

NUMBERS = ("centre x", "centre y", "width", "height")
BEND = 0.1
PIXEL_BEGINS = 0.5  # before its middle, where pictures have their whole numbers


class Localization(Task):
    """Inference of one box in an image.

    Predictions and labels are scaled boxes, as ``parmtrain.metrics.boxes`` says: centre x, centre y, width and
    height, each as a share of the image from −1 to 1.

    Args:
        name: Its name on the command line.
        query_shape: ``[c, h, w]`` as the deployed model takes it.
        outputs: 4.
        source: Where images and boxes come from.
        input: What the deployed model expects of its input.
        augment_query: Random change of images in training that leaves boxes where they are.

    Source: Kosaian et al., ParM (SOSP'19), section 4.1 (localization).
    """

    def __init__(
        self,
        name: str,
        query_shape: Sequence[int],
        outputs: int,
        source: Source,
        input: TaskInput,
        augment_query: nn.Module | None = None,
    ) -> None:
        if outputs != len(NUMBERS):
            raise ConfigError([f"task.outputs={outputs}: a box is {len(NUMBERS)} numbers"])
        super().__init__(name, query_shape, NUMBERS, source, input, augment_query=augment_query)

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return the smooth L1 distance and 1 − generalized IoU of boxes ``[b, 4]``, added."""
        return smooth_l1_loss(outputs, labels, beta=BEND) + boxes.generalized_iou_loss(outputs, labels)

    @property
    def measures(self) -> Measures:
        """Mean IoU, and the shares of boxes with an IoU of 0.5 or more and 0.75 or more."""
        return boxes.MEASURES

    def default(self, train: Tensor, labels: Tensor) -> dict[str, float]:
        """Return what answering always with the mean training box is worth."""
        answer = self.prior(train).expand_as(labels)
        return {name: measure(answer, labels).double().mean().item() for name, measure in self.measures.every.items()}

    def prior(self, train: Tensor) -> Tensor:
        """Return the mean of the boxes ``train`` ``[n, 4]``."""
        return train.mean(dim=0)

    def blank_labels(self, groups: int, k: int) -> Tensor:
        """Return the middle half of the image for all ``[groups, k, 4]``."""
        return torch.zeros(groups, k, len(NUMBERS))

    def draw_prediction(self, axes: "Axes", group: "DecodedGroup", lost: int) -> None:
        """Draw the lost image with the true box, the deployed model's own and the rebuilt one."""
        self.input.draw(axes, group.queries[lost])
        height, width = self.query_shape[1:]
        axes.set_autoscale_on(False)
        for box, label, colour, thick in (
            (group.labels[lost], "true", GREEN, 4),
            (group.predictions[lost], "deployed model's own", BLUE, 2),
            (group.reconstructed[lost], "reconstructed", ORANGE, 2),
        ):
            left, top, right, bottom = (boxes.pixels(box, height, width) - PIXEL_BEGINS).tolist()
            xs, ys = [left, right, right, left, left], [top, top, bottom, bottom, top]
            axes.plot(xs, ys, color=colour, linewidth=thick, label=label)
