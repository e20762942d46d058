"""Random augmentation of images that moves their boxes along."""

import torch
from torch import Tensor, nn
from torchvision.ops import box_convert

from parmtrain.bounds import Whole
from parmtrain.metrics.boxes import corners
from parmtrain.tasks.images import CropFlip


class CropFlipBoxes(nn.Module):
    """Crop and mirror images as ``CropFlip`` does, and move each box with its image; what is cut off is lost.

    An image is not cropped if that took more than half of its box.

    Args:
        padding: Pixels added at each border.
        flip: Whether to mirror images.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> images, boxes = torch.rand(5, 3, 64, 64), torch.zeros(5, 4)
        >>> images, boxes = CropFlipBoxes(padding=8)(images, boxes)
        >>> boxes[0] * 64 / 2  # the centre in pixels from the middle, width and height from half of the image's
        tensor([-4., -7.,  0.,  0.])
    """

    def __init__(self, padding: Whole, flip: bool = True) -> None:
        super().__init__()
        self.crop = CropFlip(padding, flip)

    def forward(self, images: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Map images ``[b, c, h, w]`` and scaled boxes ``[b, 4]`` to augmented ones of the same shapes."""
        cuts, middle = self.crop.cuts(images), self.crop.padding
        before, whole = corners(boxes), torch.tensor([images.size(3), images.size(2)], device=images.device)
        shifts = (middle - torch.stack([cuts.right, cuts.down], dim=1)) / whole
        lost = _area((before + shifts.repeat(1, 2)).clamp(0, 1)) < _area(before) / 2
        cuts = cuts._replace(right=cuts.right.where(~lost, middle), down=cuts.down.where(~lost, middle))
        sides = (before + shifts.masked_fill(lost.unsqueeze(1), 0).repeat(1, 2)).clamp(0, 1)
        moved = box_convert(sides, "xyxy", "cxcywh") * 2 - 1
        centre = torch.where(cuts.mirrored, -moved[:, 0], moved[:, 0])
        return self.crop.cut(images, cuts), torch.cat([centre.unsqueeze(1), moved[:, 1:]], dim=1)


def _area(sides: Tensor) -> Tensor:
    """Return the areas of boxes given by left, top, right and bottom ``[b, 4]``."""
    return (sides[:, 2:] - sides[:, :2]).prod(dim=1)
