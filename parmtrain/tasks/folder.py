"""Images in folders, ``train/val/test/class/*.jpg``."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torchvision.transforms import v2

from parmtrain.bounds import Count
from parmtrain.errors import DataError, MissingDataError
from parmtrain.tasks.photographs import Photographs, sizes
from parmtrain.tasks.queries import QuerySet, Splits
from parmtrain.tasks.source import Source

log = logging.getLogger(__name__)
SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".pgm", ".bmp", ".tif", ".tiff", ".webp")
NAMED = 3


class FolderImages(Source):
    """A folder ``root/name/{train,val,test}/class/*.jpg``, or ``root/{train,val,test}/class/*.jpg``.

    Each split must have one folder for each class, and no other. Hidden files and folders are ignored. So are files
    that are in no folder of a class or do not end as images do, and those are logged.

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
        """Folder of the three splits, or of folders whose names begin like theirs."""
        inside = self.root / self.name
        return self.root if _like_splits(self.root) and not inside.is_dir() else inside

    def locate(self) -> None:
        """Raise a ``DataError`` that names missing, empty or unknown folders, if any."""
        wanted = [self.folder / split / word for split in Splits._fields for word in sorted(self.classes)]
        missing = [folder for folder in wanted if not next(images_in(folder), None)]
        if missing:
            instead = self._named(self._instead_of(missing))
            advice = "this data set is not downloaded automatically: set data.root=… to the folder that holds it"
            if instead:
                advice = (
                    f"it has {instead} instead: rename or convert what is there, or set data.root=… to another folder"
                )
            names = ", ".join(str(path.relative_to(self.folder)) for path in missing)
            some = "incomplete" if len(missing) < len(wanted) else "missing"
            raise MissingDataError(f"{self.name} is {some}: no images in {names} of the folder {self.folder}; {advice}")
        for split in Splits._fields:
            require_known_folders(self.folder / split, self.classes)

    def read(self) -> "Splits[QuerySet]":
        """List the images and read their headers; they are decoded when accessed."""
        self.locate()
        splits = Splits(*(self._split(self.folder / split) for split in Splits._fields))
        taken = {path for part in splits for path in part.paths}
        ignored = [path for split in Splits._fields for path in _files(self.folder / split) if path not in taken]
        if ignored:
            log.warning(
                "%s: %d file%s ignored, in no folder of a class or with another ending than %s: %s",
                self.name,
                len(ignored),
                "s" if ignored[1:] else "",
                ", ".join(SUFFIXES),
                self._named(sorted(ignored)),
            )
        return splits

    def _instead_of(self, missing: Sequence[Path]) -> list[Path]:
        """Return folders whose names are only like those of splits, or of no class, and files that are no images."""
        above = dict.fromkeys(path.parent for path in missing)
        splits = [path for path in _like_splits(self.folder) if path.name not in Splits._fields]
        words = [path for folder in above for path in folders_in(folder) if path.name not in self.classes]
        return [*splits, *words, *(path for folder in missing for path in sorted(_files(folder)))]

    def _named(self, paths: Sequence[Path]) -> str:
        """Return the first of some paths, as seen from the folder."""
        names = [str(path.relative_to(self.folder)) for path in paths[:NAMED]]
        return ", ".join([*names, *(["…"] if paths[NAMED:] else [])])

    def _split(self, folder: Path) -> Photographs:
        labelled = [
            (path, label) for label, word in enumerate(self.classes) for path in sorted(images_in(folder / word))
        ]
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
    for path in folders_in(folder):
        if path.name not in (*classes, *others):
            some = f"{', '.join(classes[:5])}{' …' if classes[5:] else ''}"
            raise DataError(f"{path} must be the folder of one of task.classes: {some}; move it elsewhere")


def folders_in(folder: Path) -> list[Path]:
    """Return the visible folders in a folder, which need not exist."""
    inside = folder.iterdir() if folder.is_dir() else []
    return sorted(path for path in inside if path.is_dir() and not path.name.startswith("."))


def _like_splits(folder: Path) -> list[Path]:
    """Return the folders in a folder whose names begin like those of splits: ``Train``, ``validation``."""
    return [path for path in folders_in(folder) if path.name.lower().startswith(Splits._fields)]


def images_in(folder: Path) -> Iterator[Path]:
    """Yield the images in a folder and in those below it, but no hidden ones."""
    return (path for path in _files(folder) if path.suffix.lower() in SUFFIXES)


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files in a folder and in those below it, but no hidden ones."""
    for path in folder.iterdir() if folder.is_dir() else []:
        if path.name.startswith("."):
            continue
        if path.is_dir():
            inside = path.resolve()
            if inside not in (folder.resolve(), *folder.resolve().parents):  # a link may lead back
                yield from _files(path)
        else:
            yield path
