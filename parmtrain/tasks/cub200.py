"""CUB-200-2011 in its own format: photographs of birds, and text files that say what is in them."""

from math import isfinite
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.transforms import v2

from parmtrain.errors import DataError
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
    """What the text files say of one photograph.

    Args:
        path: Its file.
        box: Left, top, width and height in pixels.
        training: Whether it is one of the official training images.
        label: Its species, from 1.
    """

    path: Path
    box: tuple[float, float, float, float]
    training: bool
    label: int


class Cub200(Source):
    """Birds and the boxes around them, the official test images for the test.

    Boxes that reach past the border of their image end at it. An image is resized to a square, whatever its aspect,
    which leaves scaled boxes as they are. Validation images are taken from each species of the training images in turn.

    Args:
        root: Folder that holds ``CUB_200_2011``, as the archive unpacks, or that folder itself.
        size: Height and width of a stored image in pixels.
        validation: How many training images to hold out for validation.

    Source: Wah et al., The Caltech-UCSD Birds-200-2011 Dataset (CNS-TR-2011-001).
    """

    def __init__(self, root: str, size: int, validation: int) -> None:
        self.root, self.validation = Path(root).expanduser(), validation
        self.fit = v2.Compose([v2.Resize((size, size)), v2.PILToTensor()])

    @property
    def folder(self) -> Path:
        """Where the text files are."""
        return self.root if (self.root / IMAGES).is_file() else self.root / FOLDER

    def locate(self) -> None:
        """Raise a ``DataError`` that names files that are missing, and boxes that are none."""
        self._birds()

    def read(self) -> "Splits[QuerySet]":
        """List the images, look at the header of each, and decode them when they are asked for."""
        birds = self._birds()
        seen = sizes([bird.path for bird in birds], f"looking at {self.folder}")
        scaled = [_scaled(bird, *size) for bird, size in zip(birds, seen, strict=True)]
        training = [i for i, bird in enumerate(birds) if bird.training]
        if len(training) <= self.validation:
            raise DataError(
                f"{self.folder / SPLIT} names {len(training)} images for training, but {self.validation} "
                "(task.source.validation) are for validation alone"
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
            raise DataError(
                f"CUB-200-2011 is {'incomplete' if len(missing) < len(FILES) else 'missing'}: no {', '.join(missing)} "
                f"in the folder {self.folder}; data.root=… names another; this data set has no download: unpack "
                f"{FOLDER}.tgz"
            )
        content = {name: _lines(self.folder / name) for name in FILES}
        for name in (BOXES, SPLIT, CLASSES):
            if apart := content[name].keys() ^ content[IMAGES].keys():
                raise DataError(f"{self.folder}: image {min(apart)} is in one of {IMAGES} and {name} alone")
        birds = []
        for number, (name,) in content[IMAGES].items():
            path = self.folder / "images" / name
            if not path.is_file():
                raise DataError(f"{self.folder / IMAGES} names {path}, and there is no such file")
            box = _numbers(self.folder / BOXES, number, content[BOXES][number], 4)
            (training,) = _numbers(self.folder / SPLIT, number, content[SPLIT][number], 1)
            (label,) = _numbers(self.folder / CLASSES, number, content[CLASSES][number], 1)
            if min(box[2:]) <= 0:
                raise DataError(
                    f"{self.folder / BOXES}: the box of {path} has no area: it is {box[2]:g}×{box[3]:g} pixels"
                )
            birds.append(Bird(path, (box[0], box[1], box[2], box[3]), bool(training), int(label)))
        return birds


def _lines(path: Path) -> dict[str, list[str]]:
    """Return what follows the number of an image in each line."""
    lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if short := [number for number, line in enumerate(lines, 1) if len(line) < 2]:
        raise DataError(f"{path}, line {short[0]}: an image's number and what is said of it are right")
    if not lines:
        raise DataError(f"{path} is empty")
    return {number: rest for number, *rest in lines}


def _numbers(path: Path, image: str, words: list[str], count: int) -> list[float]:
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        numbers = []
    if len(numbers) != count or not all(map(isfinite, numbers)):
        raise DataError(f"{path}: of image {image} it says “{' '.join(words)}”; {count} finite numbers are right")
    return numbers


def _scaled(bird: Bird, height: int, width: int) -> Tensor:
    """Return the scaled box ``[4]`` of a bird in an image of some size, cut off at its border."""
    left, top, wide, high = bird.box
    ends = [max(left, 0), max(top, 0), min(left + wide, width), min(top + high, height)]
    if ends[0] >= ends[2] or ends[1] >= ends[3]:
        raise DataError(
            f"the box of {bird.path} is outside the image: {wide:g}×{high:g} pixels at ({left:g}, {top:g}), and the "
            f"image has {width}×{height}"
        )
    return boxes.scaled(torch.tensor(ends, dtype=torch.float32), height, width)


def _of_each_species(birds: list[Bird], chosen: list[int]) -> list[int]:
    """Return the images ``chosen`` so that every species has its turn, those of one species in a random order."""
    order = torch.randperm(len(chosen), generator=torch.Generator().manual_seed(0)).tolist()
    turns: dict[int, int] = {}
    placed = []
    for i in (chosen[j] for j in order):
        turn = turns[birds[i].label] = turns.get(birds[i].label, -1) + 1
        placed.append((turn, birds[i].label, i))
    return [i for _, _, i in sorted(placed)]
