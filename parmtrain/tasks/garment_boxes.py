"""Garments to be found: real Fashion-MNIST photographs somewhere on a textured canvas among distractors."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import track
from torch import Tensor
from torch.nn.functional import interpolate

from parmtrain.errors import ConfigError, DataError
from parmtrain.metrics import boxes
from parmtrain.tasks.idx import IdxImages
from parmtrain.tasks.kept import kept
from parmtrain.tasks.queries import QuerySet, Splits, TensorQueries
from parmtrain.tasks.source import Source

VISIBLE = 40  # of 255: what is fainter does not count as garment
COARSEST = 8


class GarmentBoxes(Source):
    """Canvases with one garment each, whose box is known to the pixel.

    The garment is cut to its own edges, stretched to a random width and height, tinted, and laid on a canvas of
    coloured texture. Distractors are rectangles of other textures, which the garment covers where they meet. Garments
    of the official training images make training and validation canvases, those of the test images test canvases. The
    same settings give the same canvases, which are made once and kept.

    Args:
        root: Where Fashion-MNIST is, as for ``task=fashion_mnist``.
        cache: Folder that canvases are kept in.
        size: Height and width of a canvas in pixels.
        smallest: Least width and height of a garment in pixels.
        largest: Greatest width and height.
        distractors: Rectangles on a canvas.
        train: Canvases for training.
        val: Canvases for validation.
        test: Canvases for testing.
        seed: Seed of everything that is random.

    Raises:
        ConfigError: If a garment has no room on a canvas.
    """

    def __init__(
        self,
        root: str,
        cache: str,
        size: int,
        smallest: int,
        largest: int,
        distractors: int,
        train: int,
        val: int,
        test: int,
        seed: int,
    ) -> None:
        if not 1 <= smallest <= largest <= size:
            given = f"task.source.smallest={smallest}, task.source.largest={largest} and task.source.size={size}"
            raise ConfigError([f"{given}: 1 ≤ smallest ≤ largest ≤ size is right"])
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
        """Make the canvases, stored as ``[3, size, size]`` bytes, and their boxes."""
        parts = zip(Splits._fields, self.garments.read(), self.counts, strict=True)
        return Splits(*(self._made(name, garments, count) for name, garments, count in parts))

    def _made(self, split: str, garments: QuerySet, count: int) -> QuerySet:
        if len(garments) < count:
            raise DataError(
                f"{self.garments.root} has {len(garments)} garments for task.source.{split}={count} canvases; each is "
                f"shown once, so {len(garments)} or fewer are right"
            )
        about: dict[str, Any] = {name: value for name, value in vars(self).items() if isinstance(value, int)}
        about |= {"split": split, "count": count, "garments": garments.digest}
        digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
        random = torch.Generator().manual_seed(int(digest[:12], 16))
        chosen = torch.randperm(len(garments), generator=random)[:count]
        places = self._places(count, random)
        canvases = self._canvases(garments[chosen][0], places, f"{split} canvases", random)
        path = self.cache / "garment_boxes" / f"{split}-{digest[:24]}.npy"
        stored = kept(path, (count, 3, self.size, self.size), np.uint8, canvases)
        top, left, height, width = places.float().unbind(dim=1)
        corners = torch.stack([left, top, left + width, top + height], dim=1)
        return TensorQueries(stored, boxes.scaled(corners, self.size, self.size))

    def _places(self, count: int, random: torch.Generator) -> Tensor:
        """Return top, left, height and width of some rectangles on a canvas ``[count, 4]`` in pixels."""
        sides = torch.randint(self.smallest, self.largest + 1, (count, 2), generator=random)
        free = self.size - sides + 1
        return torch.cat([(torch.rand(count, 2, generator=random) * free).long(), sides], dim=1)

    def _canvases(self, garments: Tensor, places: Tensor, title: str, random: torch.Generator) -> Iterator[Tensor]:
        """Yield a canvas ``[1, 3, size, size]`` (uint8) for each garment ``[n, 1, h, w]`` at its place ``[n, 4]``."""
        for garment, place in zip(garments, track(places.tolist(), description=title, transient=True), strict=True):
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
        """Return coloured noise ``[3, height, width]`` from 0 to 1, coarse or fine."""
        grain = int(torch.randint(1, COARSEST + 1, (), generator=random))
        coarse = torch.rand(1, 3, -(-height // grain) + 1, -(-width // grain) + 1, generator=random)
        noise = interpolate(coarse, (height, width), mode="bilinear")[0]
        colour = torch.rand(3, 1, 1, generator=random)
        return 0.6 * colour + 0.4 * noise


def _slices(rectangle: list[int]) -> tuple[slice, slice]:
    top, left, height, width = rectangle
    return slice(top, top + height), slice(left, left + width)


def _stretched(garment: Tensor, height: int, width: int) -> Tensor:
    """Return a garment ``[h, w]`` (uint8), cut to its own edges, as ``[1, height, width]`` from 0 to 1."""
    seen = (garment > VISIBLE).nonzero()
    (top, left), (bottom, right) = seen.min(dim=0).values.tolist(), seen.max(dim=0).values.tolist()
    cut = garment[top : bottom + 1, left : right + 1].float()[None, None] / 255
    return interpolate(cut, (height, width), mode="bilinear", antialias=True)[0]
