"""Photographs in files, decoded when accessed."""

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import torch
from PIL import Image
from rich.progress import track
from torch import Tensor
from torchvision.transforms import v2

from parmtrain.errors import DataError
from parmtrain.tasks.queries import QuerySet


class Photographs(QuerySet):
    """Photographs of one split, converted to RGB.

    Args:
        paths: Image files.
        labels: Labels ``[n, …]``.
        fit: Converts an image to ``[3, h, w]`` bytes of a fixed size.
    """

    streams = True

    def __init__(self, paths: Sequence[Path], labels: Tensor, fit: v2.Compose) -> None:
        self.paths, self.labels, self.fit = list(paths), labels, fit

    def __getitem__(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Decode the images at ``index``."""
        images = torch.stack([self.fit(_decoded(self.paths[i])) for i in index.flatten().tolist()])
        return images.unflatten(0, index.shape), self.labels[index]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all paths, file sizes, modification times and labels."""
        digest = hashlib.sha256(str(self.fit).encode())
        for path in self.paths:
            status = path.stat()
            digest.update(f"{path} {status.st_size} {status.st_mtime_ns}".encode())
        digest.update(self.labels.contiguous().flatten().view(torch.uint8).numpy().data)
        return digest.hexdigest()


def sizes(paths: Sequence[Path], title: str) -> list[tuple[int, int]]:
    """Read the header of each image and return its height and width in pixels.

    Raises:
        DataError: If a file is missing or not an image.
    """
    found = []
    for path in track(paths, description=title, transient=True):
        with _opened(path) as image:
            found.append((image.height, image.width))
    return found


def _opened(path: Path) -> Image.Image:
    try:
        return Image.open(path)
    except FileNotFoundError as fault:
        raise DataError(f"{path}: file not found") from fault
    except OSError as fault:
        raise DataError(f"{path} is damaged or not an image: {fault}") from fault


def _decoded(path: Path) -> Image.Image:
    try:
        with _opened(path) as image:
            return image.convert("RGB")
    except OSError as fault:
        raise DataError(f"{path} is damaged: {fault}") from fault
