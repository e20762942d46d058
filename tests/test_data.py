"""Each on-disk format written small and read back, and every way in which it can be damaged."""

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
