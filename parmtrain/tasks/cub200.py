"""CUB-200-2011 in its original format: photographs of birds, and text files that describe them."""

from math import isfinite
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.transforms import v2

from parmtrain.bounds import Count, twice
from parmtrain.errors import DataError, MissingDataError
from parmtrain.metrics import boxes
from parmtrain.tasks.photographs import Photographs, sizes
from parmtrain.tasks.queries import QuerySet, Splits
from parmtrain.tasks.source import Source

IMAGES, BOXES, SPLIT, CLASSES = FILES = (
    "images.txt",
    "bounding_boxes.txt",
    "train_test_split.txt",
    "image_class_labels.txt",
)
FOLDER = "CUB_200_2011"


class Bird(NamedTuple):
    """One photograph as described by the text files.

    Args:
        path: Image file.
        box: Left, top, width and height in pixels.
        training: Whether it belongs to the official training images.
        label: Species, numbered from 1.
    """

    path: Path
    box: tuple[float, float, float, float]
    training: bool
    label: int


class Cub200(Source):
    """Birds and their bounding boxes, with the official test images as the test split.

    Boxes are clipped to their image. Images are resized to a square without keeping their aspect ratio, which leaves
    scaled boxes unchanged. Validation images are drawn from the training images of each species in turn.

    Args:
        root: Folder that holds ``CUB_200_2011``, as the archive unpacks it, or that folder itself.
        size: Height and width of a stored image in pixels.
        validation: Number of training images to hold out for validation.

    Source: Wah et al., The Caltech-UCSD Birds-200-2011 Dataset (CNS-TR-2011-001).
    """

    def __init__(self, root: str, size: Count, validation: Count) -> None:
        self.root, self.validation = Path(root).expanduser(), validation
        self.fit = v2.Compose([v2.Resize((size, size)), v2.PILToTensor()])

    @property
    def folder(self) -> Path:
        """Folder of the text files."""
        return self.root if (self.root / IMAGES).is_file() else self.root / FOLDER

    def locate(self) -> None:
        """Raise a ``DataError`` that names the first missing file or invalid box, if any."""
        self._birds()

    def read(self) -> "Splits[QuerySet]":
        """List the images and read their headers; they are decoded when accessed."""
        birds = self._birds()
        seen = sizes([bird.path for bird in birds], f"looking at {self.folder}")
        scaled = [_scaled(bird, *size) for bird, size in zip(birds, seen, strict=True)]
        training = [i for i, bird in enumerate(birds) if bird.training]
        if len(training) <= self.validation:
            raise DataError(
                f"{self.folder / SPLIT} must name more than the {self.validation} training images held out for "
                f"validation (task.source.validation), got {len(training)}"
            )
        held = set(_of_each_species(birds, training)[: self.validation])
        splits = Splits(
            [i for i in training if i not in held],
            sorted(held),
            [i for i, bird in enumerate(birds) if not bird.training],
        )
        return Splits(*(self._queries([birds[i] for i in part], [scaled[i] for i in part]) for part in splits))

    def _queries(self, birds: list[Bird], scaled: list[Tensor]) -> QuerySet:
        labels = torch.stack(scaled) if scaled else torch.zeros(0, 4)
        return Photographs([bird.path for bird in birds], labels, self.fit)

    def _birds(self) -> list[Bird]:
        missing = [name for name in FILES if not (self.folder / name).is_file()]
        if missing:
            raise MissingDataError(
                f"CUB-200-2011 is {'incomplete' if len(missing) < len(FILES) else 'missing'}: no {', '.join(missing)} "
                f"in the folder {self.folder}; this data set is not downloaded automatically: unpack {FOLDER}.tgz and "
                "set data.root=… to the folder that holds it"
            )
        content = {name: _lines(self.folder / name) for name in FILES}
        for name in (BOXES, SPLIT, CLASSES):
            if apart := content[name].keys() ^ content[IMAGES].keys():
                raise DataError(f"{self.folder}: image {min(apart)} must be in {IMAGES} and {name}, got only one")
        birds = []
        if (again := twice(" ".join(words) for words in content[IMAGES].values())) is not None:
            raise DataError(f"{self.folder / IMAGES} must name each image once, got {again} twice")
        for number, words in content[IMAGES].items():
            name = " ".join(words)
            path = self.folder / "images" / name
            if not path.is_file():
                raise DataError(f"{self.folder / IMAGES} names {path}, which does not exist")
            box = _numbers(self.folder / BOXES, number, content[BOXES][number], 4)
            (training,) = _numbers(self.folder / SPLIT, number, content[SPLIT][number], 1)
            (label,) = _numbers(self.folder / CLASSES, number, content[CLASSES][number], 1)
            if training not in (0, 1):
                raise DataError(f"{self.folder / SPLIT}: image {number} must be 0 or 1, got {training:g}")
            if label != int(label) or label < 1:
                raise DataError(f"{self.folder / CLASSES}: image {number} must have a species from 1, got {label:g}")
            if min(box[2:]) <= 0:
                raise DataError(
                    f"{self.folder / BOXES}: the box of {path} must have an area, got {box[2]:g}×{box[3]:g} pixels"
                )
            birds.append(Bird(path, (box[0], box[1], box[2], box[3]), bool(training), int(label)))
        return birds


def _lines(path: Path) -> dict[str, list[str]]:
    """Return the words of each line after its image number, by image number."""
    try:
        lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError as fault:
        raise DataError(f"{path} must be UTF-8 text: {fault}") from fault
    if short := [number for number, line in enumerate(lines, 1) if len(line) < 2]:
        raise DataError(f"{path}, line {short[0]}: must hold an image number and one or more values")
    if not lines:
        raise DataError(f"{path} is empty")
    if (again := twice(number for number, *_ in lines)) is not None:
        raise DataError(f"{path}: image {again} must be named once, got twice")
    return {number: rest for number, *rest in lines}


def _numbers(path: Path, image: str, words: list[str], count: int) -> list[float]:
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        numbers = []
    if len(numbers) != count or not all(map(isfinite, numbers)):
        raise DataError(f"{path}: image {image} must have {count} finite numbers, got “{' '.join(words)}”")
    return numbers


def _scaled(bird: Bird, height: int, width: int) -> Tensor:
    """Return the scaled box ``[4]`` of a bird, clipped to its image."""
    left, top, wide, high = bird.box
    ends = [max(left, 0), max(top, 0), min(left + wide, width), min(top + high, height)]
    if ends[0] >= ends[2] or ends[1] >= ends[3]:
        raise DataError(
            f"the box of {bird.path} must overlap its image of {width}×{height} pixels, "
            f"got {wide:g}×{high:g} pixels at ({left:g}, {top:g})"
        )
    return boxes.scaled(torch.tensor(ends, dtype=torch.float32), height, width)


def _of_each_species(birds: list[Bird], chosen: list[int]) -> list[int]:
    """Order the images ``chosen`` so that species take turns, with the images of each species in random order."""
    order = torch.randperm(len(chosen), generator=torch.Generator().manual_seed(0)).tolist()
    turns: dict[int, int] = {}
    placed = []
    for i in (chosen[j] for j in order):
        turn = turns[birds[i].label] = turns.get(birds[i].label, -1) + 1
        placed.append((turn, birds[i].label, i))
    return [i for _, _, i in sorted(placed)]
