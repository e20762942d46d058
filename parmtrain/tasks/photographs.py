"""Photographs in files, decoded when accessed."""

import hashlib
import os
import struct
import warnings
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms import v2

from parmtrain.errors import DataError
from parmtrain.progress import progress
from parmtrain.tasks.queries import QuerySet

MODES = ("1", "L", "P", "LA", "PA", "La", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "LAB", "HSV", "I;16", "I;16B")
MOST_PIXELS = 2**27  # three bytes each in memory
VERSION = 2  # of what decoding does to a file; predictions are cached by it


class Photographs(QuerySet):
    """Photographs of one split, converted to RGB.

    Grey images, palettes and CMYK are converted as Pillow converts them. Of images with an alpha channel, the colours
    count, however transparent, as in torchvision. Channels of 16 bits are reduced to their upper 8. Other pixels, such
    as floating-point ones, have no known range and are refused.

    Args:
        paths: Image files.
        labels: Labels ``[n, …]``.
        fit: Converts an image to ``[3, h, w]`` bytes of a fixed size.
        upright: Whether to turn and mirror each image as its EXIF orientation says; False if labels, such as boxes,
            refer to the pixels as stored.
    """

    streams = True

    def __init__(self, paths: Sequence[Path], labels: Tensor, fit: v2.Compose, upright: bool = False) -> None:
        self.paths, self.labels, self.fit, self.upright = list(paths), labels, fit, upright

    def __getitem__(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Decode the images at ``index``."""
        images = torch.stack([self.fit(decoded(self.paths[i], self.upright)) for i in index.flatten().tolist()])
        return images.unflatten(0, index.shape), self.labels[index]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all paths below their common folder, file sizes, modification times and labels."""
        digest = hashlib.sha256(f"{self.fit} {self.upright} {VERSION}".encode())
        above = os.path.commonpath(self.paths) if self.paths else ""
        for path in self.paths:
            status = path.stat()
            digest.update(f"{os.path.relpath(path, above)} {status.st_size} {status.st_mtime_ns}".encode())
        digest.update(self.labels.contiguous().flatten().view(torch.uint8).numpy().data)
        return digest.hexdigest()


def sizes(paths: Sequence[Path], title: str) -> list[tuple[int, int]]:
    """Read the header of each image and return its height and width in pixels.

    Raises:
        DataError: If a file is missing or not an image.
    """
    found = []
    for path in progress(paths, title):
        with _opened(path) as image:
            found.append((image.height, image.width))
    return found


def decoded(path: Path, upright: bool = False) -> Image.Image:
    """Decode an image to RGB, as ``Photographs`` says.

    Raises:
        DataError: If it is missing, damaged, too large, or of pixels without a known range.
    """
    try:
        with warnings.catch_warnings(), _opened(path) as image:
            warnings.simplefilter("ignore", UserWarning)  # Pillow's remarks on palettes and tags
            turned = ImageOps.exif_transpose(image) if upright else image
            return _eight_bits(turned).convert("RGB")
    except (OSError, ValueError, SyntaxError, struct.error) as fault:  # Pillow on damaged files
        raise DataError(f"{path} is damaged: {fault}") from fault


def _opened(path: Path) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # it is an error below
            image = Image.open(path)
    except FileNotFoundError as fault:
        raise DataError(f"{path}: file not found") from fault
    except PermissionError as fault:
        raise DataError(f"{path} cannot be read: {fault.strerror}") from fault
    except Image.DecompressionBombError as fault:
        raise DataError(f"{path} must have {MOST_PIXELS} pixels or fewer; make it smaller ({fault})") from fault
    except (OSError, ValueError, SyntaxError, struct.error) as fault:
        raise DataError(f"{path} is damaged or not an image: {fault}") from fault
    wrong = None
    if image.width * image.height > MOST_PIXELS:
        wrong = f"{path} must have {MOST_PIXELS} pixels or fewer, got {image.width}×{image.height}; shrink it"
    elif image.mode not in MODES:
        wrong = f"{path} must have 8 or 16 bits a channel, got pixels of type {image.mode}; convert it"
    if wrong is not None:
        image.close()
        raise DataError(wrong)
    return image


def _eight_bits(image: Image.Image) -> Image.Image:
    """Reduce 16 bits a channel to 8: Pillow itself would cut off whatever is above 255."""
    if not image.mode.startswith("I;16"):
        return image
    return Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
