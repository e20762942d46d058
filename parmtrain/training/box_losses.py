"""Losses for tasks whose predictions are boxes, as functions of one batch of coded groups.

``parmtrain.training.losses.mse`` is the paper's: the squared error of the parity output against the sum of boxes.
"""

from torch import Tensor
from torch.nn import functional

from parmtrain.errors import UnsupportedError
from parmtrain.metrics.boxes import generalized_iou_loss
from parmtrain.training.coded_groups import CodedGroups

BEND = 0.1


def smooth_l1(groups: CodedGroups) -> Tensor:
    """Return the smooth L1 distance of reconstructed boxes from the deployed model's own, mean over all four numbers.

    It is quadratic up to 0.1, a twentieth of the image, and linear beyond.

    Source: Girshick, Fast R-CNN (arXiv 1504.08083), equation 3.

    Example:
        >>> import torch
        >>> from parmtrain.codes import Sum
        >>> boxes = torch.rand(3, 2, 4)
        >>> smooth_l1(CodedGroups(Sum(k=2), boxes, boxes.sum(1, keepdim=True), boxes)) < 1e-6
        tensor(True)
    """
    return functional.smooth_l1_loss(groups.reconstructed, groups.own, beta=BEND)


def giou(groups: CodedGroups) -> Tensor:
    """Return 1 − generalized IoU of reconstructed boxes and the deployed model's own, mean over all.

    Source: Rezatofighi et al., Generalized Intersection over Union (arXiv 1902.09630), algorithm 1.

    Raises:
        UnsupportedError: If predictions are no boxes.

    Example:
        >>> import torch
        >>> from parmtrain.codes import Sum
        >>> boxes = torch.tensor([[[0.0, 0.0, 0.5, 0.5], [0.1, 0.1, 0.0, 0.0]]])
        >>> giou(CodedGroups(Sum(k=2), boxes, boxes.sum(1, keepdim=True), boxes)).abs() < 1e-5
        tensor(True)
    """
    if not groups.labels.is_floating_point() or groups.labels.size(-1) != 4:
        raise UnsupportedError(
            "loss=giou compares boxes, and the predictions of this task are none; loss=kl takes scores of classes"
        )
    return generalized_iou_loss(groups.reconstructed, groups.own)
