"""Images in folders, ``train/val/test/class/*.jpg``."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torchvision.transforms import v2

from parmtrain.bounds import Count
from parmtrain.errors import DataError, MissingDataError
from parmtrain.tasks.photographs import Photographs, sizes
from parmtrain.tasks.queries import QuerySet, Splits
from parmtrain.tasks.source import Source

SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".pgm", ".bmp", ".tif", ".tiff", ".webp")


class FolderImages(Source):
    """A folder ``root/name/{train,val,test}/class/*.jpg``, or ``root/{train,val,test}/class/*.jpg``.

    Each split must have one folder for each class, and no other; hidden files and folders are ignored.

    Args:
        root: The data root.
        name: Folder of this data set in ``root``.
        size: Height and width of a stored image in pixels: the shorter side is resized to it, the centre is cropped.
        classes: Names of the class folders, in the order of the outputs.
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
        """Raise a ``DataError`` that names missing, empty or unknown folders, if any."""
        wanted = [self.folder / split / word for split in Splits._fields for word in sorted(self.classes)]
        missing = [str(folder.relative_to(self.folder)) for folder in wanted if not next(_images(folder), None)]
        if missing:
            raise MissingDataError(
                f"{self.name} is {'incomplete' if len(missing) < len(wanted) else 'missing'}: no images in "
                f"{', '.join(missing)} of the folder {self.folder}; this data set is not downloaded automatically: set "
                "data.root=… to the folder that holds it"
            )
        for split in Splits._fields:
            require_known_folders(self.folder / split, self.classes)

    def read(self) -> "Splits[QuerySet]":
        """List the images and read their headers; they are decoded when accessed."""
        self.locate()
        return Splits(*(self._split(self.folder / split) for split in Splits._fields))

    def _split(self, folder: Path) -> QuerySet:
        labelled = [(path, label) for label, word in enumerate(self.classes) for path in sorted(_images(folder / word))]
        paths = [path for path, _ in labelled]
        sizes(paths, f"looking at {folder}")
        fit = v2.Compose([v2.Resize(self.size), v2.CenterCrop(self.size), v2.PILToTensor()])
        return Photographs(paths, torch.tensor([label for _, label in labelled]), fit, upright=True)


def require_known_folders(folder: Path, classes: Sequence[str], others: Sequence[str] = ()) -> None:
    """Raise a ``DataError`` unless every visible folder is that of a class.

    Args:
        folder: The folder above those of the classes; hidden files and folders in it are ignored.
        classes: Names of the classes.
        others: Names of folders that are no class.
    """
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.name.startswith(".") and path.name not in (*classes, *others):
            some = f"{', '.join(classes[:5])}{' …' if classes[5:] else ''}"
            raise DataError(f"{path} must be the folder of one of task.classes: {some}; move it elsewhere")


def _images(folder: Path) -> Iterator[Path]:
    """Yield the images in a folder and in those below it, but no hidden ones."""
    for path in folder.iterdir() if folder.is_dir() else []:
        if path.name.startswith("."):
            continue
        if path.is_dir():
            inside = path.resolve()
            if inside not in (folder.resolve(), *folder.resolve().parents):  # a link may lead back
                yield from _images(path)
        elif path.suffix.lower() in SUFFIXES:
            yield path
