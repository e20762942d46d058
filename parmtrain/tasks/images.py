"""Preprocessing of images for the deployed model, and random augmentation of images."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from parmtrain.bounds import Finite, Positive, Whole
from parmtrain.errors import ConfigError
from parmtrain.tasks.base import TaskInput

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class ImageInput(TaskInput):
    """Convert stored images to the deployed model's input: channels, size, scale, mean and standard deviation.

    If the number of channels differs, their mean is repeated. Images of another size are resized.

    Args:
        query_shape: ``[c, h, w]`` as the deployed model takes it.
        scale: Divisor of stored values; 255 maps bytes to [0, 1].
        mean: Subtracted after scaling; one value per channel, or one for all.
        std: Divisor after that; one value per channel, or one for all.
        flatten: Whether the deployed model takes each image as a vector. Queries remain images, so any code can encode
            them, and are flattened by ``preprocess``.

    Raises:
        ConfigError: If queries are not images, or mean or std do not match the channels.

    Example:
        >>> ImageInput([3, 2, 2], mean=[0.5], std=[0.5])(torch.full((1, 1, 2, 2), 255, dtype=torch.uint8))[0, :, 0, 0]
        tensor([1., 1., 1.])
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        query_shape: Sequence[int],
        scale: Positive = 255.0,
        mean: Sequence[Finite] = (0.0,),
        std: Sequence[Positive] = (1.0,),
        flatten: bool = False,
    ) -> None:
        super().__init__()
        if len(query_shape) != 3:
            raise ConfigError([f"task.query_shape must be [channels, height, width], got {list(query_shape)}"])
        channels, self.height, self.width = query_shape
        for name, values in (("mean", mean), ("std", std)):
            if len(values) not in (1, channels):
                raise ConfigError([f"task.input.{name} must have 1 or {channels} values (channels), got {len(values)}"])
        self.channels, self.scale, self.flatten = channels, scale, flatten
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(-1, 1, 1), persistent=False)

    @property
    def settings(self) -> dict[str, Any]:
        """Preprocessing of an image, as plain values for a server."""
        return {
            "channels": self.channels,
            "height": self.height,
            "width": self.width,
            "scale": self.scale,
            "mean": self.mean.flatten().tolist(),
            "std": self.std.flatten().tolist(),
            "flatten": self.flatten,
        }

    def draw(self, axes: "Axes", query: Tensor) -> None:
        """Draw an image ``[c, h, w]``, scaled to its range of values: three channels in colour, others grey."""
        image = query.permute(1, 2, 0)
        image = image if image.size(-1) == 3 else image.mean(-1)
        image = (image - image.min()) / (image.max() - image.min()).clamp_min(1e-9)
        axes.imshow(image, cmap="gray_r" if len(query) == 1 else "gray")
        axes.set(xticks=[], yticks=[])

    def forward(self, stored: Tensor) -> Tensor:
        """Map stored images ``[b, c', h', w']`` to queries ``[b, c, h, w]`` (float32)."""
        images = stored.to(torch.float32) / self.scale
        if images.size(1) != self.channels:
            images = images.mean(dim=1, keepdim=True).expand(-1, self.channels, -1, -1)
        if images.shape[-2:] != (self.height, self.width):
            images = interpolate(images, (self.height, self.width), mode="bilinear", antialias=True)
        return (images - self.mean) / self.std


class Cuts(NamedTuple):
    """How each of a batch of images is cut out of its padded self, and whether it is mirrored then.

    Args:
        down: Rows ``[b]`` of the padded images above the cut.
        right: Columns ``[b]`` of the padded images left of it.
        mirrored: Which images are mirrored ``[b]`` (bool).
    """

    down: Tensor
    right: Tensor
    mirrored: Tensor


class CropFlip(nn.Module):
    """Pad each image with zeros, crop it to its original size at a random position, and randomly mirror half of them.

    All images of a batch are cropped by one gather, each at its own position.

    Args:
        padding: Pixels added at each border.
        flip: Whether to mirror images.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> CropFlip(padding=4)(torch.ones(5, 3, 32, 32, dtype=torch.uint8)).shape
        torch.Size([5, 3, 32, 32])
    """

    def __init__(self, padding: Whole, flip: bool = True) -> None:
        super().__init__()
        self.padding, self.flip = padding, flip

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``[b, c, h, w]`` to augmented images of the same shape and type."""
        return self.cut(images, self.cuts(images))

    def cuts(self, images: Tensor) -> Cuts:
        """Return random cuts of images ``[b, c, h, w]``."""
        down, right = torch.randint(0, 2 * self.padding + 1, (2, len(images)), device=images.device)
        mirrored = torch.rand(len(images), device=images.device) < 0.5 if self.flip else torch.zeros_like(down).bool()
        return Cuts(down, right, mirrored)

    def cut(self, images: Tensor, cuts: Cuts) -> Tensor:
        """Cut images ``[b, c, h, w]``; the result has the same shape and type."""
        batch, _, height, width = images.shape
        padded = nn.functional.pad(images, [self.padding] * 4)
        rows = cuts.down.unsqueeze(1) + torch.arange(height, device=images.device)
        columns = cuts.right.unsqueeze(1) + torch.arange(width, device=images.device)
        columns = torch.where(cuts.mirrored.unsqueeze(1), columns.flip(1), columns)
        which = torch.arange(batch, device=images.device)
        return padded.permute(0, 2, 3, 1)[which[:, None, None], rows[:, :, None], columns[:, None, :]].permute(
            0, 3, 1, 2
        )
