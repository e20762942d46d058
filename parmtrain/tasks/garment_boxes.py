"""Garments to locate: real Fashion-MNIST photographs on a textured canvas among distractors."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from parmtrain.bounds import Count, Whole
from parmtrain.cache import cached_array, key_of
from parmtrain.errors import ConfigError, DataError
from parmtrain.metrics import boxes
from parmtrain.progress import progress
from parmtrain.tasks.idx import IdxImages
from parmtrain.tasks.queries import QuerySet, Splits, TensorQueries
from parmtrain.tasks.source import Source

VISIBLE = 40  # of 255: fainter pixels do not count as garment
COARSEST = 8


class GarmentBoxes(Source):
    """Canvases with one garment each, whose box is known to the pixel.

    The garment is cropped to its edges, stretched to a random width and height, tinted, and placed on a canvas of
    coloured texture. Distractors are rectangles of other textures; the garment covers them where they overlap. Training
    and validation canvases show garments of the official training images, test canvases those of the test images.
    Canvases depend only on these settings and are cached.

    Args:
        root: Folder of Fashion-MNIST, as for ``task=fashion_mnist``.
        cache: Folder to cache canvases in.
        size: Height and width of a canvas in pixels.
        smallest: Smallest width and height of a garment in pixels.
        largest: Largest width and height of a garment in pixels.
        distractors: Number of rectangles on a canvas.
        train: Number of training canvases.
        val: Number of validation canvases.
        test: Number of test canvases.
        seed: Seed of all random choices.

    Raises:
        ConfigError: If a garment may be larger than a canvas.
    """

    def __init__(
        self,
        root: str,
        cache: str,
        size: int,
        smallest: int,
        largest: int,
        distractors: Whole,
        train: Count,
        val: Count,
        test: Count,
        seed: Whole,
    ) -> None:
        if not 1 <= smallest <= largest <= size:
            given = f"smallest={smallest}, largest={largest} and size={size}"
            raise ConfigError([f"task.source must satisfy 1 ≤ smallest ≤ largest ≤ size, got {given}"])
        self.garments, self.cache = IdxImages(root, "FashionMNIST", validation=val), Path(cache).expanduser()
        self.size, self.smallest, self.largest, self.distractors = size, smallest, largest, distractors
        self.counts, self.seed = Splits(train, val, test), seed

    def locate(self) -> None:
        """Raise a ``DataError`` if Fashion-MNIST is missing or incomplete."""
        self.garments.locate()

    def download(self) -> None:
        """Download Fashion-MNIST."""
        self.garments.download()

    def read(self) -> "Splits[QuerySet]":
        """Return the canvases, stored as ``[3, size, size]`` bytes, and their boxes."""
        parts = zip(Splits._fields, self.garments.read(), self.counts, strict=True)
        return Splits(*(self._made(name, garments, count) for name, garments, count in parts))

    def _made(self, split: str, garments: QuerySet, count: int) -> QuerySet:
        if len(garments) < count:
            raise DataError(
                f"task.source.{split} must be {len(garments)} or less, one canvas per garment in {self.garments.root}, "
                f"got {count}"
            )
        about: dict[str, Any] = {name: value for name, value in vars(self).items() if isinstance(value, int)}
        about |= {"split": split, "count": count, "garments": garments.digest}
        digest = key_of(about)
        random = torch.Generator().manual_seed(int(digest[:12], 16))
        chosen = torch.randperm(len(garments), generator=random)[:count]
        places = self._places(count, random)
        canvases = self._canvases(garments[chosen][0], places, f"{split} canvases", random)
        path = self.cache / "garment_boxes" / f"{split}-{digest}.npy"
        stored = cached_array(path, (count, 3, self.size, self.size), np.uint8, canvases)
        top, left, height, width = places.float().unbind(dim=1)
        corners = torch.stack([left, top, left + width, top + height], dim=1)
        return TensorQueries(stored, boxes.scaled(corners, self.size, self.size))

    def _places(self, count: int, random: torch.Generator) -> Tensor:
        """Return top, left, height and width of random rectangles on a canvas ``[count, 4]`` in pixels."""
        sides = torch.randint(self.smallest, self.largest + 1, (count, 2), generator=random)
        free = self.size - sides + 1
        return torch.cat([(torch.rand(count, 2, generator=random) * free).long(), sides], dim=1)

    def _canvases(self, garments: Tensor, places: Tensor, title: str, random: torch.Generator) -> Iterator[Tensor]:
        """Yield a canvas ``[1, 3, size, size]`` (uint8) for each garment ``[n, 1, h, w]`` at its place ``[n, 4]``."""
        for garment, place in zip(garments, progress(places.tolist(), title), strict=True):
            canvas = self._texture(self.size, self.size, random)
            for rectangle in self._places(self.distractors, random).tolist():
                rows, columns = _slices(rectangle)
                canvas[:, rows, columns] = self._texture(rectangle[2], rectangle[3], random)
            rows, columns = _slices(place)
            stretched = _stretched(garment[0], *place[2:])
            tint = 0.5 + 0.5 * torch.rand(3, 1, 1, generator=random)
            opaque = (stretched * 255 / VISIBLE).clamp(0, 1)
            canvas[:, rows, columns] = canvas[:, rows, columns] * (1 - opaque) + stretched * tint * opaque
            yield (canvas * 255).round().to(torch.uint8).unsqueeze(0)

    def _texture(self, height: int, width: int, random: torch.Generator) -> Tensor:
        """Return coloured noise ``[3, height, width]`` from 0 to 1 with a random grain."""
        grain = int(torch.randint(1, COARSEST + 1, (), generator=random))
        coarse = torch.rand(1, 3, -(-height // grain) + 1, -(-width // grain) + 1, generator=random)
        noise = interpolate(coarse, (height, width), mode="bilinear")[0]
        colour = torch.rand(3, 1, 1, generator=random)
        return 0.6 * colour + 0.4 * noise


def _slices(rectangle: list[int]) -> tuple[slice, slice]:
    top, left, height, width = rectangle
    return slice(top, top + height), slice(left, left + width)


def _stretched(garment: Tensor, height: int, width: int) -> Tensor:
    """Crop a garment ``[h, w]`` (uint8) to its edges and resize it to ``[1, height, width]`` from 0 to 1."""
    seen = (garment > VISIBLE).nonzero()
    (top, left), (bottom, right) = seen.min(dim=0).values.tolist(), seen.max(dim=0).values.tolist()
    cut = garment[top : bottom + 1, left : right + 1].float()[None, None] / 255
    return interpolate(cut, (height, width), mode="bilinear", antialias=True)[0]
