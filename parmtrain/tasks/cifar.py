"""CIFAR-10 and CIFAR-100 in their original format: pickled batches of a data array and a list of labels."""

import io
import pickle
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch

from parmtrain.bounds import Count
from parmtrain.errors import ConfigError, DataError, MissingDataError
from parmtrain.tasks.classification import check_labels
from parmtrain.tasks.queries import Splits, TensorQueries, hold_out
from parmtrain.tasks.source import Source


class _Layout(NamedTuple):
    folder: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    labels: str
    torchvision: str


LAYOUTS = {
    10: _Layout(
        "cifar-10-batches-py", tuple(f"data_batch_{i}" for i in range(1, 6)), ("test_batch",), "labels", "CIFAR10"
    ),
    100: _Layout("cifar-100-python", ("train",), ("test",), "fine_labels", "CIFAR100"),
}


class Cifar(Source):
    """Images of CIFAR-10 or CIFAR-100.

    Args:
        root: Folder that holds ``cifar-10-batches-py`` or ``cifar-100-python``, or that folder itself.
        classes: 10 or 100.
        validation: Number of training images to hold out for validation.

    Raises:
        ConfigError: If there is no CIFAR with so many classes.

    Source: Krizhevsky, Learning Multiple Layers of Features from Tiny Images (2009).
    """

    def __init__(self, root: str, classes: int, validation: Count) -> None:
        if classes not in LAYOUTS:
            raise ConfigError([f"task.source.classes must be 10 or 100, got {classes}"])
        self.root, self.classes, self.validation = Path(root).expanduser(), classes, validation
        self.layout = LAYOUTS[classes]

    @property
    def folder(self) -> Path:
        """Folder of the batches."""
        inside = self.root / self.layout.folder
        return self.root if self.root.name == self.layout.folder and not inside.exists() else inside

    def locate(self) -> None:
        """Raise a ``DataError`` that names the missing batches, if any."""
        wanted = (*self.layout.train, *self.layout.test)
        missing = [name for name in wanted if not (self.folder / name).is_file()]
        if missing:
            raise MissingDataError(
                f"CIFAR-{self.classes} is {'incomplete' if len(missing) < len(wanted) else 'missing'}: no "
                f"{', '.join(missing)} in the folder {self.folder}; set data.root=… to the folder that holds "
                f"{self.layout.folder}"
            )

    def download(self) -> None:
        """Download with torchvision, in its layout under ``root``."""
        from torchvision import datasets

        from parmtrain.tasks.download import attempt

        attempt(lambda: getattr(datasets, self.layout.torchvision)(str(self.root), download=True), self.locate)

    def read(self) -> "Splits[TensorQueries]":
        """Read the images, stored as ``[3, 32, 32]`` bytes."""
        self.locate()
        train, test = self._join(self.layout.train), self._join(self.layout.test)
        if len(train) <= self.validation:
            raise DataError(
                f"{self.folder} must hold more than the {self.validation} training images held out for validation, "
                f"got {len(train)}"
            )
        return Splits(*hold_out(train, self.validation), test)

    def _join(self, names: tuple[str, ...]) -> TensorQueries:
        parts = [self._read_batch(self.folder / name) for name in names]
        return TensorQueries(torch.cat([part.stored for part in parts]), torch.cat([part.labels for part in parts]))

    def _read_batch(self, path: Path) -> TensorQueries:
        try:
            with path.open("rb") as file:
                content = _ArraysOnly(file).load()
            data, labels = np.asarray(content[b"data"]), np.asarray(content[self.layout.labels.encode()])
        except Exception as fault:  # damaged pickles raise all kinds of errors
            raise DataError(f"{path} is damaged or not a CIFAR batch: {type(fault).__name__}: {fault}") from fault
        if data.dtype != np.uint8 or labels.ndim != 1 or data.shape != (len(labels), 3 * 32 * 32):
            raise DataError(
                f"{path} is damaged: it must hold data uint8 [n, 3072] and labels [n], "
                f"got {data.dtype} {list(data.shape)} and labels {list(labels.shape)}"
            )
        if labels.dtype.kind not in "iu":
            raise DataError(f"{path}: labels must be integers, got {labels.dtype}")
        stored = TensorQueries(torch.from_numpy(data.copy()).view(-1, 3, 32, 32), torch.from_numpy(labels).long())
        check_labels(stored.labels, self.classes, str(path))
        return stored


class _ArraysOnly(pickle.Unpickler):
    """An unpickler that builds only NumPy arrays, so an untrusted file cannot run code."""

    ALLOWED: ClassVar = {
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        *((f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")),
        *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),
        ("_codecs", "encode"),
    }

    def __init__(self, file: io.BufferedReader) -> None:
        super().__init__(file, encoding="bytes")

    def find_class(self, module: str, name: str) -> Any:
        """Return an allowed class or function; raise an error for any other."""
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"a CIFAR batch must hold only arrays and lists, got {module}.{name}")
        return super().find_class(module, name)
