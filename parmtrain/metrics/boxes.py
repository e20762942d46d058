"""Bounding boxes: conversion between formats, and how well two boxes agree.

Models use *scaled* boxes: centre x, centre y, width and height, where −1 stands for 0 and 1 for the image's full width
or height. Elsewhere, boxes are in pixels: left, top, right and bottom.

Source: the targets of Kosaian et al., ParM (SOSP'19), section 4.1 (localization).
"""

from functools import partial

import torch
from torch import Tensor

from parmtrain.metrics.measures import Measures


def scaled(pixels: Tensor, height: int, width: int) -> Tensor:
    """Convert boxes ``[..., 4]`` from pixels to scaled boxes.

    Args:
        pixels: Left, top, right and bottom.
        height: Height of the image in pixels.
        width: Width of the image in pixels.

    Example:
        >>> scaled(torch.tensor([0.0, 0.0, 64.0, 32.0]), height=64, width=64)
        tensor([ 0.0000, -0.5000,  1.0000,  0.0000])
    """
    from torchvision.ops import box_convert

    boxes: Tensor = box_convert(pixels / _sides(pixels, height, width), "xyxy", "cxcywh") * 2 - 1
    return boxes


def corners(boxes: Tensor) -> Tensor:
    """Return left, top, right and bottom of scaled boxes ``[..., 4]`` as fractions of the image from 0 to 1.

    Negative widths and heights count as 0.

    Example:
        >>> corners(torch.tensor([0.0, -0.5, 1.0, 0.0]))
        tensor([0.0000, 0.0000, 1.0000, 0.5000])
    """
    from torchvision.ops import box_convert

    shares = (boxes + 1) / 2
    sides: Tensor = box_convert(torch.cat([shares[..., :2], shares[..., 2:].clamp_min(0)], dim=-1), "cxcywh", "xyxy")
    return sides


def pixels(boxes: Tensor, height: int, width: int) -> Tensor:
    """Convert scaled boxes ``[..., 4]`` to pixels: left, top, right and bottom.

    Example:
        >>> pixels(scaled(torch.tensor([3.0, 5.0, 10.0, 20.0]), 64, 48), 64, 48).round(decimals=3)
        tensor([ 3.,  5., 10., 20.])
    """
    return corners(boxes) * _sides(boxes, height, width)


def iou(boxes: Tensor, others: Tensor) -> Tensor:
    """Return the intersection over union of each pair of scaled boxes ``[..., 4]``: ``[...]``, 0 where a box is NaN.

    Example:
        >>> left, all_of_it = torch.tensor([-0.5, 0.0, 0.0, 1.0]), torch.tensor([0.0, 0.0, 1.0, 1.0])
        >>> iou(torch.stack([left, all_of_it, all_of_it * torch.nan]), all_of_it.expand(3, 4))
        tensor([0.5000, 1.0000, 0.0000])
    """
    from torchvision.ops import box_iou

    pairs: Tensor = box_iou(corners(boxes).unsqueeze(-2), corners(others).unsqueeze(-2))
    return pairs[..., 0, 0].nan_to_num(0.0)


def iou_reaches(boxes: Tensor, others: Tensor, share: float) -> Tensor:
    """Return 1 for each pair of scaled boxes ``[..., 4]`` whose IoU is at least ``share``, otherwise 0: ``[...]``.

    Example:
        >>> iou_reaches(torch.tensor([-0.5, 0.0, 0.0, 1.0]), torch.tensor([0.0, 0.0, 1.0, 1.0]), share=0.5)
        tensor(1.)
    """
    return (iou(boxes, others) >= share).to(boxes.dtype)


def mean_box(labels: Tensor) -> Tensor:
    """Return the mean ``[4]`` of scaled boxes ``[n, 4]``."""
    return labels.mean(dim=0)


BOXES = "boxes"
MEASURES = Measures(
    BOXES,
    "iou",
    iou,
    iou,
    mean_box,
    {"iou_50": partial(iou_reaches, share=0.5), "iou_75": partial(iou_reaches, share=0.75)},
)
"""Mean IoU, and the fractions of boxes with an IoU of at least 0.5 and at least 0.75."""


def generalized_iou_loss(predicted: Tensor, wanted: Tensor) -> Tensor:
    """Return the mean of 1 − generalized IoU over pairs of scaled boxes ``[..., 4]``.

    Source: Rezatofighi et al., Generalized Intersection over Union (arXiv 1902.09630), algorithm 1.

    Example:
        >>> apart = torch.tensor([[-0.75, 0.0, -0.5, 1.0], [0.75, 0.0, -0.5, 1.0]])  # the left and the right quarter
        >>> generalized_iou_loss(apart[:1], apart[1:])
        tensor(1.5000)
    """
    from torchvision.ops import generalized_box_iou_loss

    loss: Tensor = generalized_box_iou_loss(corners(predicted), corners(wanted), reduction="mean")
    return loss


def _sides(like: Tensor, height: int, width: int) -> Tensor:
    return torch.tensor([width, height, width, height], dtype=like.dtype, device=like.device)
