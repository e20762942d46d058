"""Photographs in folders that a user has before a mistake."""

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("cat", "dog")
SPLITS = ("train", "val", "test")


def photographs(folder: Path) -> None:
    random = np.random.default_rng(0)
    for split in SPLITS:
        for word in CLASSES:
            (folder / split / word).mkdir(parents=True)
            for i in range(2):
                pixels = random.integers(0, 255, (20 + i, 30, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / split / word / f"{i}.jpg")


def _renamed(folder: Path, names: dict[str, str]) -> None:
    photographs(folder)
    for name, other in names.items():
        (folder / name).rename(folder / other)


def photographs_of_other_classes(folder: Path) -> None:
    _renamed(folder, {"train/cat": "train/Cat", "val/dog": "val/dogs", "test/cat": "test/cats"})


def photographs_of_other_splits(folder: Path) -> None:
    _renamed(folder, {"train": "Train", "val": "validation"})


def photographs_of_other_kinds(folder: Path) -> None:
    _renamed(folder, {f"val/dog/{i}.jpg": f"val/dog/{i}.heic" for i in range(2)})


def _truncated(folder: Path, *names: str) -> None:
    photographs(folder)
    for name in names:
        (folder / name).write_bytes((folder / name).read_bytes()[:-100])


def a_truncated_photograph(folder: Path) -> None:
    _truncated(folder, "test/cat/0.jpg")


def truncated_photographs(folder: Path) -> None:
    _truncated(folder, "train/cat/0.jpg", "val/dog/1.jpg", "test/cat/0.jpg")


def a_bomb(folder: Path) -> None:
    photographs(folder)
    header = struct.pack(">II5B", 40000, 40000, 1, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b""))
    parts = [
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in chunks
    ]
    (folder / "train" / "cat" / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def a_float_image(folder: Path) -> None:
    photographs(folder)
    Image.fromarray(np.zeros((20, 30), np.float32)).save(folder / "test" / "cat" / "float.tiff")
