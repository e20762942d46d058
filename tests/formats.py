"""Small data sets in the archives' own formats, with images that a model can tell apart; files of deployed models."""

import gzip
import io
import pickle
import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import soundfile
import torch
from PIL import Image
from torch import nn


def images(count: int, classes: int, shape: tuple[int, ...], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return noisy images of ``shape`` around one random image a class, and their labels, all classes in turn."""
    means = np.random.default_rng(0).integers(40, 216, (classes, *shape))
    labels = np.arange(count) % classes
    noise = np.random.default_rng(seed).integers(-40, 40, (count, *shape))
    return (means[labels] + noise).astype(np.uint8), labels


def write_idx(path: Path, array: np.ndarray) -> None:
    """Write an IDX file of unsigned bytes, gzipped if its name ends so."""
    content = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}i", *array.shape) + array.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def write_idx_family(folder: Path, train: int, test: int, suffix: str = ".gz") -> None:
    """Write the four files of MNIST and its family."""
    for part, count, seed in (("train", train, 1), ("t10k", test, 2)):
        pixels, labels = images(count, 10, (28, 28), seed)
        write_idx(folder / f"{part}-images-idx3-ubyte{suffix}", pixels)
        write_idx(folder / f"{part}-labels-idx1-ubyte{suffix}", labels.astype(np.uint8))


def write_arrays(folder: Path, count: int) -> None:
    """Write the six files of ``task=arrays``."""
    for seed, split in enumerate(("train", "val", "test")):
        pixels, labels = images(count, 10, (1, 28, 28), seed)
        np.save(folder / f"{split}_queries.npy", pixels)
        np.save(folder / f"{split}_labels.npy", labels)


class Python2Pickler(pickle._Pickler):
    """Write bytes as the strings of Python 2, which CIFAR's archives were pickled with."""

    dispatch: ClassVar[dict[type, Any]] = dict(pickle._Pickler.dispatch)
    write: Callable[[bytes], None]
    memoize: Callable[[bytes], None]

    def save_string(self, value: bytes) -> None:
        self.write(pickle.BINSTRING + struct.pack("<i", len(value)) + value)
        self.memoize(value)

    dispatch[bytes] = save_string


def python2_pickle(content: Any) -> bytes:
    """Pickle ``content`` as Python 2 and NumPy 1 did."""
    buffer = io.BytesIO()
    Python2Pickler(buffer, protocol=2).dump(content)
    return buffer.getvalue().replace(b"cnumpy._core.", b"cnumpy.core.")


def cifar_batch(count: int, classes: int, key: bytes, seed: int) -> dict[bytes, Any]:
    """Return the content of one batch file."""
    pixels, labels = images(count, classes, (3072,), seed)
    names = [b"image_%d.png" % i for i in range(count)]
    return {b"batch_label": b"a batch", key: labels.tolist(), b"data": pixels, b"filenames": names}


def write_cifar10(root: Path, images: int) -> None:
    """Write the six batches of CIFAR-10."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for seed, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        (folder / name).write_bytes(python2_pickle(cifar_batch(images, 10, b"labels", seed)))


def write_cifar100(root: Path, train: int, test: int) -> None:
    """Write the two files of CIFAR-100."""
    folder = root / "cifar-100-python"
    folder.mkdir(parents=True)
    for name, count in (("train", train), ("test", test)):
        batch = cifar_batch(count, 100, b"fine_labels", seed=count)
        batch[b"coarse_labels"] = [label % 20 for label in batch[b"fine_labels"]]
        (folder / name).write_bytes(python2_pickle(batch))


def write_folders(root: Path, classes: tuple[str, ...], images: int) -> None:
    """Write photographs of several sizes as ``{train,val,test}/class/*.jpg``."""
    random = np.random.default_rng(0)
    for split in ("train", "val", "test"):
        for shade, word in enumerate(classes):
            (root / split / word).mkdir(parents=True)
            for i in range(images):
                pixels = random.integers(100 * shade, 100 * shade + 100, (230 + i, 300, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / word / f"{i}.jpg")


BIRDS = ("001.Black_footed_Albatross", "002.Laysan_Albatross")


def write_cub200(folder: Path, images: int) -> None:
    """Write CUB-200-2011's text files and bright birds on dark photographs: one is grey, one box is past the border."""
    random = np.random.default_rng(0)
    lines: dict[str, list[str]] = {
        name: [] for name in ("images", "bounding_boxes", "train_test_split", "image_class_labels", "classes")
    }
    for species, bird in enumerate(BIRDS, 1):
        (folder / "images" / bird).mkdir(parents=True)
        lines["classes"].append(f"{species} {bird}")
    for number in range(1, images + 1):
        species = number % len(BIRDS) + 1
        name = f"{BIRDS[species - 1]}/{BIRDS[species - 1][4:]}_{number:04d}_{796000 + number}.jpg"
        height, width = 120 + number % 7, 160 - number % 5
        high, wide = random.integers(40, 80, 2).tolist()
        top, left = random.integers(0, height - high), width - wide if number == 2 else random.integers(0, width - wide)
        pixels = random.integers(0, 90, (height, width, 3), dtype=np.uint8)
        pixels[top : top + high, left : left + wide] += 150
        image = Image.fromarray(pixels)
        (image.convert("L") if number == 1 else image).save(folder / "images" / name)
        lines["images"].append(f"{number} {name}")
        lines["bounding_boxes"].append(f"{number} {left}.0 {top}.0 {wide + 5 * (number == 2)}.0 {high}.0")
        lines["train_test_split"].append(f"{number} {int(number % 3 != 0)}")
        lines["image_class_labels"].append(f"{number} {species}")
    for file, content in lines.items():
        (folder / f"{file}.txt").write_text("".join(f"{line}\n" for line in content))


def save_state_dict(network: nn.Module, path: Path) -> None:
    """Write a bare state dict."""
    torch.save(network.state_dict(), path)


def save_torchscript(network: nn.Module, path: Path) -> None:
    """Write a TorchScript archive."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(network).save(path)


def save_exported(network: nn.Module, path: Path) -> None:
    """Write a torch.export program of 1×8×8 queries, for any batch."""
    batch = torch.export.Dim("batch", min=1)
    torch.export.save(torch.export.export(network, (torch.zeros(2, 1, 8, 8),), dynamic_shapes=({0: batch},)), path)


def tone(word: int, seed: int, rate: int = 16000) -> np.ndarray:
    """Return a second of a tone that tells words apart, with noise."""
    random = np.random.default_rng(seed)
    time = np.arange(rate) / rate
    return 0.3 * np.sin(2 * np.pi * 200 * (word + 1) * time) + 0.02 * random.normal(size=rate)


def write_words(folder: Path, words: list[str], train: int, held: int) -> None:
    """Write word folders in the format of Speech Commands: clips, ``validation_list.txt``, ``testing_list.txt``."""
    lists: dict[str, list[str]] = {"validation_list.txt": [], "testing_list.txt": []}
    for number, word in enumerate(words):
        (folder / word).mkdir(parents=True)
        for i in range(train + 2 * held):
            name = f"{word}/{i:08x}_nohash_0.wav"
            soundfile.write(folder / name, tone(number, seed=100 * number + i), 16000, subtype="PCM_16")
            if i >= train:
                lists[list(lists)[(i - train) % 2]].append(name)
    for name, clips in lists.items():
        (folder / name).write_text("".join(f"{clip}\n" for clip in clips))
