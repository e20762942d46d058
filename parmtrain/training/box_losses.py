"""Losses for tasks whose predictions are boxes, as functions of one batch of coded groups.

``parmtrain.training.losses.mse`` is the paper's: the squared error of the parity output against the sum of boxes.
"""

from torch import Tensor
from torch.nn import functional

from parmtrain.metrics.boxes import BOXES, generalized_iou_loss
from parmtrain.training.coded_groups import CodedGroups

HUBER_BETA = 0.1


def smooth_l1(groups: CodedGroups) -> Tensor:
    """Return the mean smooth L1 distance between reconstructed boxes and the deployed model's own.

    It is quadratic up to 0.1, a twentieth of the image, and linear beyond.

    Source: Girshick, Fast R-CNN (arXiv 1504.08083), equation 3.

    Example:
        >>> import torch
        >>> from parmtrain.codes import Sum
        >>> boxes = torch.rand(3, 2, 4)
        >>> smooth_l1(CodedGroups(Sum(k=2), boxes, boxes.sum(1, keepdim=True), boxes)) < 1e-6
        tensor(True)
    """
    return functional.smooth_l1_loss(groups.reconstructed, groups.own, beta=HUBER_BETA)


def giou(groups: CodedGroups) -> Tensor:
    """Return the mean of 1 − generalized IoU between reconstructed boxes and the deployed model's own.

    Source: Rezatofighi et al., Generalized Intersection over Union (arXiv 1902.09630), algorithm 1.

    Raises:
        UnsupportedError: If predictions are not boxes.

    Example:
        >>> import torch
        >>> from parmtrain.codes import Sum
        >>> boxes = torch.tensor([[[0.0, 0.0, 0.5, 0.5], [0.1, 0.1, 0.0, 0.0]]])
        >>> giou(CodedGroups(Sum(k=2), boxes, boxes.sum(1, keepdim=True), boxes, BOXES)).abs() < 1e-5
        tensor(True)
    """
    groups.require_kind("giou", BOXES, "loss=kl for class scores, loss=decoded_mse for others")
    return generalized_iou_loss(groups.reconstructed, groups.own)
