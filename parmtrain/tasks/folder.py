"""Images in folders, ``train/val/test/class/*.jpg``."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from parmtrain.bounds import Count
from parmtrain.errors import DataError
from parmtrain.tasks.photographs import Photographs, sizes
from parmtrain.tasks.queries import QuerySet, Splits
from parmtrain.tasks.source import Source


class FolderImages(Source):
    """A folder ``root/name/{train,val,test}/class/*.jpg``, or ``root/{train,val,test}/class/*.jpg``.

    Args:
        root: The data root.
        name: Folder of this data set in ``root``.
        size: Height and width of a stored image in pixels: the shorter side is resized to it, the centre is cropped.
        classes: Names of the class folders.
    """

    def __init__(self, root: str, name: str, size: Count, classes: Sequence[str | int]) -> None:
        self.root, self.name, self.size = Path(root).expanduser(), name, size
        self.classes = [str(word) for word in classes]

    @property
    def folder(self) -> Path:
        """Folder of the three splits."""
        inside = self.root / self.name
        return inside if inside.is_dir() or not (self.root / "train").is_dir() else self.root

    def locate(self) -> None:
        """Raise a ``DataError`` that names the missing or empty folders, if any."""
        wanted = [self.folder / split / word for split in Splits._fields for word in sorted(self.classes)]
        missing = [str(folder.relative_to(self.folder)) for folder in wanted if not _images(folder)]
        if missing:
            raise DataError(
                f"{self.name} is {'incomplete' if len(missing) < len(wanted) else 'missing'}: no images in "
                f"{', '.join(missing)} of the folder {self.folder}; this data set is not downloaded automatically: set "
                "data.root=… to the folder that holds it"
            )

    def read(self) -> "Splits[QuerySet]":
        """List the images and read their headers; they are decoded when accessed."""
        self.locate()
        return Splits(*(self._split(self.folder / split) for split in Splits._fields))

    def _split(self, folder: Path) -> QuerySet:
        samples = ImageFolder(str(folder)).samples
        paths = [Path(path) for path, _ in samples]
        sizes(paths, f"looking at {folder}")
        fit = v2.Compose([v2.Resize(self.size), v2.CenterCrop(self.size), v2.PILToTensor()])
        return Photographs(paths, torch.tensor([label for _, label in samples]), fit)


def _images(folder: Path) -> bool:
    return folder.is_dir() and any(file.suffix.lower() in (".jpg", ".jpeg", ".png") for file in folder.iterdir())
