"""Every reader of files, with a whole file that it can read."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from PIL import Image

from parmtrain.advise import AdviceSettings, candidates
from parmtrain.cache import intact_array, write_array
from parmtrain.models import LeNet
from parmtrain.programs import read_network
from parmtrain.tasks.arrays import Arrays
from parmtrain.tasks.audio import read_clip
from parmtrain.tasks.cifar import Cifar
from parmtrain.tasks.cub200 import Cub200
from parmtrain.tasks.idx import read_idx
from parmtrain.tasks.photographs import decoded
from parmtrain.tasks.speech_commands import WordFolders
from tests import formats
from tests.mistakes import networks, tables


@dataclass(frozen=True)
class Reader:
    """How a file is made, and how it is read."""

    make: Callable[[Path], Path]
    read: Callable[[Path], Any]


def saved_idx(folder: Path) -> Path:
    formats.write_idx(folder / "images.gz", np.arange(60, dtype=np.uint8).reshape(3, 4, 5))
    return folder / "images.gz"


def saved_plain_idx(folder: Path) -> Path:
    formats.write_idx(folder / "images", np.arange(60, dtype=np.uint8).reshape(3, 4, 5))
    return folder / "images"


def saved_batch(folder: Path) -> Path:
    formats.write_cifar10(folder, images=4)
    return folder / "cifar-10-batches-py" / "data_batch_3"


def saved_arrays(folder: Path) -> Path:
    formats.write_arrays(folder, 4)
    np.save(folder / "val_queries.npy", np.load(folder / "val_queries.npy").astype(np.float32))
    return folder / "val_queries.npy"


def saved_labels(folder: Path) -> Path:
    formats.write_arrays(folder, 4)
    return folder / "test_labels.npy"


def saved_image(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        pixels = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
        return folder / name

    return make


def saved_clip(subtype: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        soundfile.write(folder / "clip.wav", formats.tone(1, 0, 800), 8000, subtype=subtype)
        return folder / "clip.wav"

    return make


def saved_words(folder: Path) -> Path:
    formats.write_words(folder, ["yes", "no"], train=1, held=1)
    return folder / "testing_list.txt"


def saved_birds(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        formats.write_cub200(folder, images=12)
        return folder / name

    return make


def saved_state(folder: Path) -> Path:
    formats.save_state_dict(LeNet([1, 8, 8], 10, width=2), folder / "f.pt")
    return folder / "f.pt"


def saved_torchscript(folder: Path) -> Path:
    networks.torchscript(folder)
    return folder / "f.ts"


def saved_exported(folder: Path) -> Path:
    networks.exported(folder)
    return folder / "f.pt2"


def saved_table(folder: Path) -> Path:
    tables.table(folder)
    return folder / "t.csv"


ONES = torch.ones(3, 4)


def saved_cache(folder: Path) -> Path:
    write_array(folder / "numbers.npy", (3, 4), np.float32, [ONES])
    return folder / "numbers.npy"


def cached(path: Path) -> None:
    """Read a cached array, which is set aside unless it is what was written."""
    found = intact_array(path)
    assert found is None or torch.equal(found, ONES)


READERS = {
    "idx": Reader(saved_plain_idx, read_idx),
    "gzipped idx": Reader(saved_idx, read_idx),
    "cifar": Reader(saved_batch, lambda path: Cifar(str(path.parents[1]), 10, 2).read()),
    "arrays": Reader(saved_arrays, lambda path: Arrays(str(path.parent), [1, 28, 28], 10).read()),
    "labels": Reader(saved_labels, lambda path: Arrays(str(path.parent), [1, 28, 28], 10).read()),
    **{name: Reader(saved_image(f"image.{name}"), decoded) for name in ("png", "jpg", "bmp", "tiff", "webp", "ppm")},
    **{
        subtype: Reader(saved_clip(subtype), lambda path: read_clip(path, 8000, 800)) for subtype in ("PCM_16", "FLOAT")
    },
    "words": Reader(saved_words, lambda path: WordFolders(path.parent, ["yes", "no"], 16000).locate()),
    **{
        name: Reader(saved_birds(name), lambda path: Cub200(str(path.parent), 8, 2).read())
        for name in ("images.txt", "bounding_boxes.txt", "train_test_split.txt", "image_class_labels.txt")
    },
    "state dict": Reader(saved_state, lambda path: read_network(path, lambda: LeNet([1, 8, 8], 10, width=2))),
    "TorchScript": Reader(saved_torchscript, lambda path: read_network(path, lambda: LeNet([1, 8, 8], 10))),
    "exported": Reader(saved_exported, lambda path: read_network(path, lambda: LeNet([1, 8, 8], 10))),
    "table": Reader(saved_table, lambda path: candidates(path, AdviceSettings(results=str(path)))),
    "cached array": Reader(saved_cache, cached),
}
