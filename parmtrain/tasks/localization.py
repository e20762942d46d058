"""Localization: predict one bounding box in an image."""

from collections.abc import Sequence
from inspect import signature
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import smooth_l1_loss

from parmtrain.bounds import Count, Name
from parmtrain.drawing import BLUE, GREEN, ORANGE
from parmtrain.errors import ConfigError
from parmtrain.metrics import boxes
from parmtrain.metrics.measures import Measures
from parmtrain.tasks.base import Task, TaskInput
from parmtrain.tasks.queries import are_labels
from parmtrain.tasks.source import Source

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from parmtrain.tasks.decoded_group import DecodedGroup

NUMBERS = ("centre x", "centre y", "width", "height")
HUBER_BETA = 0.1
PIXEL_BEGINS = 0.5  # before its centre, where plots have integer coordinates


class Localization(Task):
    """Prediction of one bounding box in an image.

    Predictions and labels are scaled boxes, as defined in ``parmtrain.metrics.boxes``: centre x, centre y, width and
    height from −1 to 1.

    Args:
        name: Name of the task on the command line.
        query_shape: ``[c, h, w]`` as the deployed model takes it.
        outputs: 4.
        source: Where images and boxes come from.
        input: Turns stored queries into what the deployed model expects.
        augment: Random augmentation of stored images ``[b, c, h, w]`` and their boxes ``[b, 4]`` in training.
        augment_query: Random augmentation of images in training that does not move boxes.

    Source: Kosaian et al., ParM (SOSP'19), section 4.1 (localization).
    """

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
        if outputs != len(NUMBERS):
            raise ConfigError([f"task.outputs must be {len(NUMBERS)} (the numbers of a box), got {outputs}"])
        if augment is not None and not _takes_two(augment):
            raise ConfigError(
                [
                    "task.augment must map images and boxes to both, like parmtrain.tasks.box_crops.CropFlipBoxes, "
                    f"got {type(augment).__name__}"
                ]
            )
        super().__init__(name, query_shape, NUMBERS, source, input, augment, augment_query)

    def augmented(self, stored: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return stored images ``[b, c, h, w]`` and boxes ``[b, 4]``, changed at random by ``augment``."""
        if self.augment is None:
            return stored, labels
        given = labels if are_labels(labels) else torch.zeros(len(stored), len(NUMBERS), device=stored.device)
        changed, moved = self.augment(stored, given)
        return changed, moved if are_labels(labels) else labels

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return the sum of the smooth L1 distance and 1 − generalized IoU of boxes ``[b, 4]``."""
        return smooth_l1_loss(outputs, labels, beta=HUBER_BETA) + boxes.generalized_iou_loss(outputs, labels)

    @property
    def measures(self) -> Measures:
        """Mean IoU, and the fractions of boxes with an IoU of at least 0.5 and at least 0.75."""
        return boxes.MEASURES

    def prior(self, train: Tensor) -> Tensor:
        """Return the mean of the boxes ``train`` ``[n, 4]``."""
        return boxes.mean_box(train)

    def blank_labels(self, groups: int, k: int) -> Tensor:
        """Return the middle half of the image for all queries ``[groups, k, 4]``."""
        return torch.zeros(groups, k, len(NUMBERS))

    def draw_prediction(self, axes: "Axes", group: "DecodedGroup", lost: int) -> None:
        """Draw the image whose prediction is lost, with the true, the deployed model's and the reconstructed box."""
        self.input.draw(axes, group.queries[lost])
        height, width = self.query_shape[1:]
        axes.set_autoscale_on(False)
        drawn = [
            (group.predictions[lost], "deployed model's own", BLUE, 2, "--"),
            (group.reconstructed[lost], "reconstructed", ORANGE, 2, "-"),
        ]
        if are_labels(group.labels):
            drawn.insert(0, (group.labels[lost], "true", GREEN, 4, "-"))
        for box, label, colour, thick, style in drawn:
            left, top, right, bottom = (boxes.pixels(box, height, width) - PIXEL_BEGINS).tolist()
            xs, ys = [left, right, right, left, left], [top, top, bottom, bottom, top]
            axes.plot(xs, ys, style, color=colour, linewidth=thick, label=label)


def _takes_two(module: nn.Module) -> bool:
    """Return whether a module can be called with two arguments."""
    try:
        signature(module.forward).bind(None, None)
    except TypeError:
        return False
    return True
