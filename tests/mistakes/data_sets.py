"""Data sets that a user has in a folder before a mistake, whole or damaged."""

import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from tests import formats

CLIP = "yes/00000000_nohash_0.wav"


def arrays(folder: Path) -> None:
    formats.write_arrays(folder, 12)


def _arrays_with(folder: Path, file: str, content: np.ndarray) -> None:
    arrays(folder)
    np.save(folder / f"{file}.npy", content)


def _floats() -> np.ndarray:
    return np.zeros((12, 1, 28, 28), np.float32)


def arrays_with_nan(folder: Path) -> None:
    content = _floats()
    content[3, 0, 5, 5] = np.nan
    _arrays_with(folder, "test_queries", content)


def arrays_with_infinity(folder: Path) -> None:
    content = _floats()
    content[0, 0, 5, 5] = np.inf
    _arrays_with(folder, "train_queries", content)


def arrays_too_large(folder: Path) -> None:
    _arrays_with(folder, "val_queries", np.full((12, 1, 28, 28), 1e300))


def complex_arrays(folder: Path) -> None:
    _arrays_with(folder, "train_queries", _floats().astype(np.complex64))


def object_arrays(folder: Path) -> None:
    _arrays_with(folder, "train_queries", _floats().astype(object))


def text_arrays(folder: Path) -> None:
    _arrays_with(folder, "test_queries", np.array(["a"] * 12))


def boolean_arrays(folder: Path) -> None:
    _arrays_with(folder, "train_queries", _floats().astype(bool))


def arrays_of_another_size(folder: Path) -> None:
    _arrays_with(folder, "test_queries", np.zeros((12, 1, 14, 14), np.uint8))


def arrays_without_channels(folder: Path) -> None:
    _arrays_with(folder, "test_queries", np.zeros((12, 28, 28), np.uint8))


def fewer_labels(folder: Path) -> None:
    _arrays_with(folder, "val_labels", np.zeros(11, int))


def float_labels(folder: Path) -> None:
    _arrays_with(folder, "val_labels", np.zeros(12))


def negative_labels(folder: Path) -> None:
    _arrays_with(folder, "val_labels", np.array([9] * 11 + [-1]))


def large_labels(folder: Path) -> None:
    _arrays_with(folder, "val_labels", np.full(12, 10))


def huge_labels(folder: Path) -> None:
    _arrays_with(folder, "val_labels", np.full(12, 2**64 - 1, np.uint64))


def no_arrays(folder: Path) -> None:
    _arrays_with(folder, "test_queries", np.zeros((0, 1, 28, 28), np.uint8))
    np.save(folder / "test_labels.npy", np.zeros(0, int))


def idx(folder: Path) -> None:
    formats.write_idx_family(folder, train=80, test=20, suffix="")


def idx_without_images(folder: Path) -> None:
    idx(folder)
    formats.write_idx(folder / "t10k-images-idx3-ubyte", np.zeros((0, 28, 28), np.uint8))
    formats.write_idx(folder / "t10k-labels-idx1-ubyte", np.zeros(0, np.uint8))


def idx_of_another_size(folder: Path) -> None:
    idx(folder)
    formats.write_idx(folder / "t10k-images-idx3-ubyte", np.zeros((20, 14, 14), np.uint8))


def _idx_header(folder: Path, kind: int, *sizes: int) -> None:
    idx(folder)
    header = bytes((0, 0, kind, len(sizes))) + struct.pack(f">{len(sizes)}i", *sizes)
    (folder / "t10k-images-idx3-ubyte").write_bytes(header + bytes(100))


def idx_of_integers(folder: Path) -> None:
    _idx_header(folder, 12, 1, 5, 5)


def idx_negative(folder: Path) -> None:
    _idx_header(folder, 8, -1, -10, 10)


def idx_huge(folder: Path) -> None:
    _idx_header(folder, 8, 2**31 - 1, 2**31 - 1, 2**31 - 1)


def cifar(folder: Path) -> None:
    formats.write_cifar10(folder, images=20)


def _cifar_batch(folder: Path, content: Any) -> None:
    cifar(folder)
    (folder / "cifar-10-batches-py" / "data_batch_3").write_bytes(pickle.dumps(content))


def cifar_program(folder: Path) -> None:
    _cifar_batch(folder, print)


def cifar_list(folder: Path) -> None:
    _cifar_batch(folder, [1, 2])


def cifar_float_labels(folder: Path) -> None:
    _cifar_batch(folder, {b"data": np.zeros((2, 3072), np.uint8), b"labels": [0.5, 1.5]})


def cifar_negative_labels(folder: Path) -> None:
    _cifar_batch(folder, {b"data": np.zeros((2, 3072), np.uint8), b"labels": [0, -1]})


def words(folder: Path) -> None:
    formats.write_words(folder / "words", ["yes", "no"], train=2, held=1)


def _line(folder: Path, text: bytes, file: str = "testing_list.txt") -> None:
    words(folder)
    with (folder / "words" / file).open("ab") as opened:
        opened.write(text)


def clip_named_twice(folder: Path) -> None:
    _line(folder, b"yes/00000003_nohash_0.wav\n")


def clip_in_both_lists(folder: Path) -> None:
    _line(folder, b"yes/00000003_nohash_0.wav\n", "validation_list.txt")


def latin_list(folder: Path) -> None:
    _line(folder, "yes/Zürich_nohash_0.wav\n".encode("latin-1"))


def clip_outside(folder: Path) -> None:
    (folder / "yes").mkdir()
    soundfile.write(folder / "yes" / "secret.wav", np.zeros(16000), 16000)
    _line(folder, b"../yes/secret.wav\n")


def a_silent_header(folder: Path) -> None:
    words(folder)
    soundfile.write(folder / "words" / CLIP, np.zeros(0), 16000)


def birds(folder: Path) -> None:
    formats.write_cub200(folder, images=36)


def _first_line(folder: Path, file: str, text: str) -> None:
    birds(folder)
    lines = (folder / file).read_text().splitlines()
    (folder / file).write_text("\n".join([text, *lines[1:]]) + "\n")


def bird_of_half_a_split(folder: Path) -> None:
    _first_line(folder, "train_test_split.txt", "1 0.5")


def bird_without_area(folder: Path) -> None:
    _first_line(folder, "bounding_boxes.txt", "1 5 5 0 10")


def bird_nowhere(folder: Path) -> None:
    _first_line(folder, "bounding_boxes.txt", "1 nan 5 5 10")
