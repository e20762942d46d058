"""Your own photographs: in folders of splits or in one that is split here, in folders of classes or without labels."""

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from torchvision.transforms import v2

from parmtrain.bounds import Count, Share, Whole
from parmtrain.errors import DataError, MissingDataError
from parmtrain.tasks.folder import SUFFIXES, folders_in, images_in, require_known_folders
from parmtrain.tasks.photographs import Photographs, sizes
from parmtrain.tasks.queries import QuerySet, Splits, no_labels
from parmtrain.tasks.source import Source

SHOWN = 3
log = logging.getLogger(__name__)


class PhotographFolder(Source):
    """Photographs below one folder; their layout says what they are.

    With folders ``train``, ``val`` and ``test``, these are the splits. Without them, the photographs are shared out at
    random by their names below the folder: one that comes later leaves nearly all others where they are. Those in
    folders have these as their labels, in alphabetical order unless ``classes`` names another; those that are in none
    have no labels.

    Args:
        root: The folder.
        size: Height and width of a stored image in pixels: its centre.
        outputs: Length of one prediction, the number of classes.
        resize: Length that the shorter side is resized to before; None for ``size``.
        classes: Names of the folders of classes, in the order of the outputs, some of which may be missing; None for
            their alphabetical order.
        labels: Whether folders are labels; False reads photographs in any folder without labels.
        val: Share of the photographs in the validation split, if they are shared out.
        test: Share of them in the test split.
        seed: Seed of the shares.
    """

    def __init__(
        self,
        root: str,
        size: Count,
        outputs: Count,
        resize: Count | None = None,
        classes: Sequence[str | int] | None = None,
        labels: bool = True,
        val: Share = 0.1,
        test: Share = 0.2,
        seed: Whole = 0,
    ) -> None:
        if val + test >= 1:
            raise DataError(f"task.source.val and test must leave photographs to train on, got {val} and {test}")
        self.root, self.size, self.outputs, self.resize = Path(root).expanduser(), size, outputs, resize
        self.classes = None if classes is None else [str(word) for word in classes]
        self.labels, self.val, self.test, self.seed = labels, val, test, seed

    @property
    def split(self) -> bool:
        """Whether the folder holds folders of splits: two of the three names or more."""
        return sum((self.root / split).is_dir() for split in Splits._fields) > 1

    @property
    def labelled(self) -> bool:
        """Whether photographs are in folders of classes."""
        return bool(self._classes(self.root / Splits._fields[0] if self.split else self.root))

    def locate(self) -> None:
        """Raise a ``DataError`` if there are no photographs, or folders that are neither all splits nor all classes."""
        self._require_plain_names()
        if self.split:
            for split in Splits._fields:
                self._require_images(self.root / split)
            named = {split: self._classes(self.root / split) for split in Splits._fields}
            if len(set(map(tuple, named.values()))) > 1:
                shown = "; ".join(f"{split}: {self._some(words)}" for split, words in named.items())
                raise DataError(f"all splits in {self.root} must have the same folders of classes, got {shown}")
        else:
            self._require_images(self.root)

    def read(self) -> "Splits[QuerySet]":
        """List the photographs and read their headers; they are decoded when accessed."""
        self.locate()
        if self.split:
            return Splits(*(self._read(self.root / split) for split in Splits._fields))
        paths, labels = self._found(self.root)
        order = torch.tensor(sorted(range(len(paths)), key=lambda i: self._drawn(paths[i])))
        val, test = round(self.val * len(paths)), round(self.test * len(paths))
        shares = order.split([len(paths) - val - test, val, test])
        sizes(paths, f"looking at {self.root}")
        return Splits(*(self._photographs([paths[i] for i in share], labels[share]) for share in map(_sorted, shares)))

    def _drawn(self, path: Path) -> str:
        """Return a random number of a photograph that depends on its name below the folder and on the seed alone."""
        return hashlib.sha256(f"{self.seed} {path.relative_to(self.root).as_posix()}".encode()).hexdigest()

    def _require_plain_names(self) -> None:
        """Raise a ``DataError`` for folders of which it is not plain whether they are splits or classes."""
        every = folders_in(self.root)
        if self.split:
            others = [path.name for path in every if path.name not in Splits._fields]
            if others:
                raise DataError(
                    f"{self.root} must hold folders train, val and test alone, got {self._some(others)}, too; move them"
                )
            return
        like = [path.name for path in every if path.name.lower().startswith(Splits._fields)]
        if like and self.labels:
            raise DataError(
                f"{self.root} must hold folders train, val and test, or folders of classes, got {self._some(like)}; "
                "rename them, or set task.source.labels=false to read all photographs without labels"
            )

    def _classes(self, folder: Path) -> list[str]:
        """Return the names of the folders of classes, in the order of the outputs; none without labels."""
        words = [path.name for path in folders_in(folder) if next(images_in(path), None)] if self.labels else []
        return words if self.classes is None or not words else self.classes

    def _require_images(self, folder: Path) -> None:
        if not next(images_in(folder), None):
            what = "must hold photographs" if folder.is_dir() else "must be a folder of photographs"
            raise MissingDataError(f"{folder} {what} ({', '.join(SUFFIXES)}), got none; set data.root=…")
        words = self._classes(folder)
        if not words:
            return
        if len(words) != self.outputs:
            raise DataError(
                f"{folder} has {len(words)} folders of classes ({self._some(words)}), and task.outputs is "
                f"{self.outputs}; set task.outputs=…, name all classes in task.classes, of which some may have no "
                "folder, or set task.source.labels=false to read photographs without labels"
            )
        require_known_folders(folder, words)
        if all(not next(images_in(folder / word), None) for word in words):
            raise MissingDataError(f"no photographs in the folders of {folder}")
        loose = [path for path in sorted(folder.iterdir()) if path.is_file() and path.suffix.lower() in SUFFIXES]
        if loose:
            raise DataError(
                f"{loose[0]} must be in a folder of its class, as others are; move it, or set task.source.labels=false "
                "to read all photographs without labels"
            )

    def _found(self, folder: Path) -> tuple[list[Path], torch.Tensor]:
        """Return the photographs in a folder, in a fixed order, and their labels."""
        words = self._classes(folder)
        if not words:
            paths = sorted(images_in(folder))
            return paths, no_labels(len(paths))
        labelled = [(path, label) for label, word in enumerate(words) for path in sorted(images_in(folder / word))]
        missing = len(words) - len({label for _, label in labelled})
        if missing:
            log.warning("%s has no photographs of %d of %d classes", folder, missing, len(words))
        return [path for path, _ in labelled], torch.tensor([label for _, label in labelled])

    def _read(self, folder: Path) -> Photographs:
        paths, labels = self._found(folder)
        sizes(paths, f"looking at {folder}")
        return self._photographs(paths, labels)

    def _photographs(self, paths: list[Path], labels: torch.Tensor) -> Photographs:
        steps = [v2.Resize(self.resize or self.size), v2.CenterCrop(self.size), v2.PILToTensor()]
        return Photographs(paths, labels, v2.Compose(steps), upright=True)

    @staticmethod
    def _some(words: Sequence[str]) -> str:
        return ", ".join([*words[:SHOWN], *(["…"] if words[SHOWN:] else [])]) or "none"


def _sorted(index: torch.Tensor) -> torch.Tensor:
    return index.sort().values
