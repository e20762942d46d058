"""Each on-disk format written small and read back, and every way in which it can be damaged."""

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision import datasets

from parmtrain.errors import DataError
from parmtrain.tasks.arrays import Arrays
from parmtrain.tasks.cifar import Cifar
from parmtrain.tasks.digits import Digits
from parmtrain.tasks.folder import FolderImages
from parmtrain.tasks.idx import IdxImages, read_idx
from parmtrain.tasks.source import Source
from tests import formats


@pytest.mark.parametrize("layout", ["", "FashionMNIST/raw"])
@pytest.mark.parametrize("suffix", [".gz", ""])
def test_idx_files_in_either_layout(layout: str, suffix: str, tmp_path: Path) -> None:
    formats.write_idx_family(tmp_path / layout, train=30, test=10, suffix=suffix)
    train, val, test = IdxImages(str(tmp_path), "FashionMNIST", validation=5).read()
    assert (len(train), len(val), len(test)) == (25, 5, 10)
    pixels, labels = formats.images(10, 10, (28, 28), seed=2)
    assert np.array_equal(test.stored[:, 0].numpy(), pixels)
    assert np.array_equal(test.labels.numpy(), labels)


def test_idx_is_read_as_torchvision_reads_it(tmp_path: Path) -> None:
    formats.write_idx_family(tmp_path / "MNIST" / "raw", train=30, test=10, suffix="")
    theirs = datasets.MNIST(str(tmp_path), train=False)
    assert torch.equal(theirs.data, read_idx(tmp_path / "MNIST" / "raw" / "t10k-images-idx3-ubyte"))


def test_cifar10_in_its_own_format(data_root: Path) -> None:
    train, val, test = Cifar(str(data_root), 10, validation=20).read()
    assert (len(train), len(val), len(test)) == (80, 20, 20)
    pixels, labels = formats.images(20, 10, (3072,), seed=5)
    assert np.array_equal(test.stored.numpy(), pixels.reshape(20, 3, 32, 32))
    assert np.array_equal(test.labels.numpy(), labels)


def test_cifar100_by_its_own_folder(data_root: Path) -> None:
    splits = Cifar(str(data_root / "cifar-100-python"), 100, validation=10).read()
    assert [len(queries) for queries in splits] == [70, 10, 20]


def test_folders_stream_photographs(data_root: Path) -> None:
    train, _, test = FolderImages(str(data_root), "cats_vs_dogs", 224, ["cat", "dog"]).read()
    stored, labels = train[torch.tensor([[0, 7]])]
    assert stored.shape == (1, 2, 3, 224, 224)
    assert stored.dtype == torch.uint8
    assert labels.tolist() == [[0, 1]]
    assert stored[0, 0].float().mean() < 100 < stored[0, 1].float().mean()
    assert train.digest != test.digest
    assert len(FolderImages(str(data_root / "cats_vs_dogs"), "cats_vs_dogs", 224, ["cat", "dog"]).read().val) == 8


def test_digits_are_the_real_ones() -> None:
    splits = Digits(validation=270, test=450).read()
    assert [len(queries) for queries in splits] == [1077, 270, 450]
    everything = torch.cat([queries.stored for queries in splits])
    assert int(everything.max()) == 16
    assert len(everything.flatten(1).unique(dim=0)) == 1797


def test_held_out_queries_are_the_same_ones_always() -> None:
    assert Digits(270, 450).read().test.digest == Digits(100, 450).read().test.digest


def idx(root: Path) -> Source:
    return IdxImages(str(root), "FashionMNIST", validation=5)


def cifar(root: Path) -> Source:
    return Cifar(str(root), 10, validation=5)


def folders(root: Path) -> Source:
    return FolderImages(str(root), "cats_vs_dogs", 224, ["cat", "dog"])


def spoil(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))


def cifar_file(root: Path, content: object) -> None:
    (root / "cifar-10-batches-py" / "data_batch_3").write_bytes(pickle.dumps(content))


RAW = "FashionMNIST/raw"
DAMAGES: dict[str, tuple[Callable[[Path], Source], Callable[[Path], object], str]] = {
    "idx missing": (
        idx,
        lambda root: shutil.rmtree(root / RAW),
        r"FashionMNIST is missing: .*folders .*; set data\.root=…",
    ),
    "idx half": (
        idx,
        lambda root: (root / RAW / "t10k-labels-idx1-ubyte.gz").unlink(),
        r"FashionMNIST is incomplete: no t10k-labels-idx1-ubyte\.gz",
    ),
    "idx truncated": (
        idx,
        lambda root: spoil(root / RAW / "train-images-idx3-ubyte.gz", lambda content: content[:999]),
        r"train-images-idx3-ubyte\.gz is damaged: ",
    ),
    "idx no gzip": (
        idx,
        lambda root: spoil(root / RAW / "train-images-idx3-ubyte.gz", lambda content: b"<html>404</html>"),
        r"train-images-idx3-ubyte\.gz is damaged: ",
    ),
    "idx short": (
        idx,
        lambda root: formats.write_idx(root / RAW / "t10k-labels-idx1-ubyte.gz", np.zeros(3, np.uint8)),
        r"t10k-images.* and .*t10k-labels.* must have shapes .*, got \[20, 28, 28\] and \[3\]",
    ),
    "idx labels": (
        idx,
        lambda root: formats.write_idx(root / RAW / "t10k-labels-idx1-ubyte.gz", np.full(20, 11, np.uint8)),
        r"t10k-labels.*: labels must be from 0 to 9, got \[11\]",
    ),
    "cifar missing": (
        cifar,
        lambda root: shutil.rmtree(root / "cifar-10-batches-py"),
        r"CIFAR-10 is missing: .*in the folder .*cifar-10-batches-py; set data\.root=…",
    ),
    "cifar half": (
        cifar,
        lambda root: (root / "cifar-10-batches-py" / "test_batch").unlink(),
        "CIFAR-10 is incomplete: no test_batch in",
    ),
    "cifar truncated": (
        cifar,
        lambda root: spoil(root / "cifar-10-batches-py" / "data_batch_3", lambda content: content[:5000]),
        "data_batch_3 is damaged",
    ),
    "cifar program": (cifar, lambda root: cifar_file(root, print), "must hold only arrays and lists, got .*print"),
    "cifar shape": (
        cifar,
        lambda root: cifar_file(root, {b"data": np.zeros((4, 7), np.uint8), b"labels": [0] * 4}),
        r"data_batch_3 is damaged: it must hold .*, got uint8 \[4, 7\] and 4 labels",
    ),
    "folders missing": (
        folders,
        lambda root: shutil.rmtree(root / "cats_vs_dogs"),
        r"cats_vs_dogs is missing: no images in train/cat, .* of the folder .*cats_vs_dogs",
    ),
    "folders half": (
        folders,
        lambda root: shutil.rmtree(root / "cats_vs_dogs" / "val" / "dog"),
        "cats_vs_dogs is incomplete: no images in val/dog of the folder",
    ),
    "folders damaged": (
        folders,
        lambda root: (root / "cats_vs_dogs" / "train" / "cat" / "0.jpg").write_bytes(b"no image"),
        r"0\.jpg is damaged or not an image",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_said(damage: str, data_root: Path, tmp_path: Path) -> None:
    make, spoil_it, sentence = DAMAGES[damage]
    root = tmp_path / "root"
    shutil.copytree(data_root, root)
    spoil_it(root)
    with pytest.raises(DataError, match=sentence):
        make(root).read()


def test_a_truncated_photograph_is_said_when_it_is_decoded(data_root: Path, tmp_path: Path) -> None:
    shutil.copytree(data_root / "cats_vs_dogs", tmp_path / "root")
    spoil(tmp_path / "root" / "train" / "cat" / "0.jpg", lambda content: content[:4000])
    train = folders(tmp_path / "root").read().train
    with pytest.raises(DataError, match=r"0\.jpg is damaged: image file is truncated"):
        train[torch.tensor([0])]


def test_too_few_images_for_validation(data_root: Path) -> None:
    with pytest.raises(DataError, match="must hold more than the 5000 training images held out for validation, got 80"):
        IdxImages(str(data_root), "MNIST", validation=5000).read()


def test_arrays_stay_in_their_files(tmp_path: Path) -> None:
    formats.write_arrays(tmp_path, 12)
    train = Arrays(str(tmp_path), [1, 28, 28], 10).read().train
    index = torch.tensor([[3, 0], [11, 5]])
    stored = np.load(tmp_path / "train_queries.npy")
    assert torch.equal(train[index][0], torch.from_numpy(stored[index.numpy()]))
    assert train.to(torch.device("meta"))[index][0].device.type == "cpu"
    array = np.load(tmp_path / "train_queries.npy", mmap_mode="r+")
    array[0] = 7  # what the file says now is what is read
    array.flush()
    assert bool((train[torch.tensor([0])][0] == 7).all())


@pytest.mark.parametrize(
    ("file", "content", "sentence"),
    [
        ("val_labels", None, r"missing in .*: val_labels\.npy; set data\.root=…"),
        ("val_labels", np.full(12, 10), r"val_labels\.npy: labels must be from 0 to 9, got \[10\]"),
        ("val_labels", np.zeros(12), r"val_labels\.npy must hold integers, got torch\.float64"),
        (
            "val_labels",
            np.zeros(11, int),
            r"must have shapes \[n, 1, 28, 28\] and \[n\], got \[12, 1, 28, 28\] and \[11\]",
        ),
        ("test_queries", np.zeros((12, 28, 28)), r"got \[12, 28, 28\] and "),
        ("test_queries", np.array(["a"] * 12), r"test_queries\.npy must be an intact \.npy file of numbers"),
    ],
)
def test_faults_of_arrays(file: str, content: np.ndarray | None, sentence: str, tmp_path: Path) -> None:
    formats.write_arrays(tmp_path, 12)
    (tmp_path / f"{file}.npy").unlink()
    if content is not None:
        np.save(tmp_path / f"{file}.npy", content)
    with pytest.raises(DataError, match=sentence):
        Arrays(str(tmp_path), [1, 28, 28], 10).read()
