"""Images in folders, ``train/val/test/class/*.jpg``, decoded by workers when they are asked for."""

import hashlib
from functools import cached_property
from pathlib import Path

import torch
from PIL import Image
from rich.progress import track
from torch import Tensor
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from parmtrain.errors import DataError
from parmtrain.tasks.classification import Source
from parmtrain.tasks.queries import QuerySet, Splits


class FolderImages(Source):
    """A folder ``root/name/{train,val,test}/class/*.jpg``, or ``root/{train,val,test}/class/*.jpg``.

    Args:
        root: The data root.
        name: Folder of this data set in it.
        size: Height and width of a stored image in pixels: the shorter side is resized to it, the middle cut out.
        classes: Names of the class folders.
    """

    def __init__(self, root: str, name: str, size: int, classes: list[str]) -> None:
        self.root, self.name, self.size = Path(root).expanduser(), name, size
        self.classes = [str(word) for word in classes]

    @property
    def folder(self) -> Path:
        """Where the three splits are."""
        inside = self.root / self.name
        return inside if inside.is_dir() or not (self.root / "train").is_dir() else self.root

    def locate(self) -> None:
        """Raise a ``DataError`` that names the folders that are missing or empty."""
        wanted = [self.folder / split / word for split in Splits._fields for word in sorted(self.classes)]
        missing = [str(folder.relative_to(self.folder)) for folder in wanted if not _images(folder)]
        if missing:
            raise DataError(
                f"{self.name} is {'incomplete' if len(missing) < len(wanted) else 'missing'}: no images in "
                f"{', '.join(missing)} of the folder {self.folder}; data.root=… names another; "
                "this data set has no download"
            )

    def read(self) -> "Splits[QuerySet]":
        """List the images and look at the header of each."""
        self.locate()
        return Splits(*(FolderQueries(self.folder / split, self.size) for split in Splits._fields))


class FolderQueries(QuerySet):
    """The images of one split.

    Args:
        folder: Holds one folder a class.
        size: Height and width of a stored image in pixels.

    Raises:
        DataError: If a file is no image.
    """

    streams = True

    def __init__(self, folder: Path, size: int) -> None:
        self.samples = [(Path(path), label) for path, label in ImageFolder(str(folder)).samples]
        self.fit = v2.Compose([v2.Resize(size), v2.CenterCrop(size), v2.PILToTensor()])
        self.labels = torch.tensor([label for _, label in self.samples])
        for path, _ in track(self.samples, description=f"looking at {folder}", transient=True):
            _opened(path).close()

    def __getitem__(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Decode the images at ``index``; stored images are ``[3, size, size]`` bytes."""
        images = torch.stack([self.fit(_decoded(self.samples[i][0])) for i in index.flatten().tolist()])
        return images.unflatten(0, index.shape), self.labels[index]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all names, sizes and times of change."""
        digest = hashlib.sha256(str(self.fit).encode())
        for path, _ in self.samples:
            status = path.stat()
            digest.update(f"{path} {status.st_size} {status.st_mtime_ns}".encode())
        return digest.hexdigest()


def _images(folder: Path) -> bool:
    return folder.is_dir() and any(file.suffix.lower() in (".jpg", ".jpeg", ".png") for file in folder.iterdir())


def _opened(path: Path) -> Image.Image:
    try:
        return Image.open(path)
    except OSError as fault:
        raise DataError(f"{path} is damaged, or no image: {fault}") from fault


def _decoded(path: Path) -> Image.Image:
    try:
        with _opened(path) as image:
            return image.convert("RGB")
    except OSError as fault:
        raise DataError(f"{path} is damaged: {fault}") from fault
