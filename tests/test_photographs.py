"""Photographs of any mode and orientation, in folders whose names are the labels."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from parmtrain.errors import DataError
from parmtrain.tasks.folder import FolderImages
from parmtrain.tasks.photographs import Photographs, decoded
from parmtrain.training import intact
from parmtrain.training.groups import GroupDataset, GroupSampler, group_loader
from parmtrain.training.intact import require_intact

ORIENTATION = 0x0112
RAMP = np.linspace(0, 255, 64).astype(np.uint8).reshape(8, 8)


def pixels(path: Path, upright: bool = False) -> np.ndarray:
    return np.asarray(decoded(path, upright))


def saved(image: Image.Image, path: Path, **more: Any) -> Path:
    image.save(path, **more)
    return path


def test_sixteen_bits_keep_their_greys(tmp_path: Path) -> None:
    deep = Image.fromarray(RAMP.astype(np.uint16) * 257)
    assert deep.mode == "I;16"
    assert np.array_equal(pixels(saved(deep, tmp_path / "deep.png"))[..., 0], RAMP)
    assert np.array_equal(pixels(saved(deep, tmp_path / "deep.tiff"))[..., 2], RAMP)


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGB", "RGBA", "CMYK"])
def test_every_mode_becomes_the_colours_that_are_seen(mode: str, tmp_path: Path) -> None:
    image = Image.fromarray(np.stack([RAMP, 255 - RAMP, RAMP], axis=2)).convert(mode)
    path = saved(image, tmp_path / ("image.tiff" if mode == "CMYK" else "image.png"))
    expected = np.asarray(image.convert("RGB"))
    assert pixels(path).shape == (8, 8, 3)
    assert np.array_equal(pixels(path), expected)


def test_transparent_pixels_keep_their_colours(tmp_path: Path) -> None:
    image = Image.new("RGBA", (4, 4), (200, 100, 50, 0))
    assert pixels(saved(image, tmp_path / "clear.png"))[0, 0].tolist() == [200, 100, 50]


def test_pixels_without_a_known_range_are_refused(tmp_path: Path) -> None:
    for array in (np.zeros((4, 4), np.float32), np.zeros((4, 4), np.int32)):
        path = saved(Image.fromarray(array), tmp_path / "image.tiff")
        with pytest.raises(DataError, match=r"must have 8 or 16 bits a channel, got pixels of type [FI]; convert it"):
            decoded(path)


def test_photographs_in_folders_stand_upright_and_boxes_keep_their_pixels(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6  # the camera was turned: the image must be turned clockwise
    path = saved(Image.fromarray(RAMP[:, :4]), tmp_path / "turned.png", exif=exif)
    assert np.array_equal(pixels(path)[..., 0], RAMP[:, :4])
    assert np.array_equal(pixels(path, upright=True)[..., 0], np.rot90(RAMP[:, :4], -1))


def solid(path: Path, grey: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (8, 8), grey).save(path)


GREYS = {"cat": 10, "dog": 200}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for split in ("train", "val", "test"):
        for word, grey in GREYS.items():
            solid(tmp_path / split / word / "0.png", grey)
            solid(tmp_path / split / word / "more" / "1.PNG", grey)
    return tmp_path


def labelled(root: Path, classes: list[str]) -> list[set[tuple[int, str]]]:
    """Return the labels and the classes that the pixels show, for each split."""
    found = []
    for queries in FolderImages(str(root), "pets", 8, classes).read():
        stored, labels = queries[torch.arange(len(queries))]
        shown = ["cat" if int(image[0, 0, 0]) == GREYS["cat"] else "dog" for image in stored]
        found.append(set(zip(labels.tolist(), shown, strict=True)))
        assert len(queries) == 4
    return found


@pytest.mark.parametrize("classes", [["cat", "dog"], ["dog", "cat"]])
def test_labels_follow_the_names_of_the_classes(classes: list[str], root: Path) -> None:
    assert labelled(root, classes) == [{(classes.index(word), word) for word in classes}] * 3


def test_hidden_files_and_folders_are_no_images_and_no_classes(root: Path) -> None:
    solid(root / "train" / ".ipynb_checkpoints" / "0.png", 0)
    solid(root / "train" / "cat" / ".ipynb_checkpoints" / "0.png", 0)
    (root / "train" / "cat" / "._0.png").write_bytes(b"a resource fork")
    (root / "train" / "cat" / "notes.txt").write_text("not an image")
    assert labelled(root, ["cat", "dog"]) == [{(0, "cat"), (1, "dog")}] * 3


def test_files_that_are_not_taken_for_images_are_said(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in (
        "train/cat/0.gif",
        "train/dog/more/0.heic",
        "val/dog/without_ending",
        "test/0.png",
        "test/cat/.hidden",
    ):
        (root / name).write_bytes(b"")
    assert labelled(root, ["cat", "dog"]) == [{(0, "cat"), (1, "dog")}] * 3
    assert caplog.text.count("pets: 4 files ignored, in no folder of a class or with another ending than .jpg, ") == 1
    assert caplog.text.endswith(": test/0.png, train/cat/0.gif, train/dog/more/0.heic, …\n")


def test_photographs_are_decoded_once_before_training(
    root: Path, tmp_path_factory: pytest.TempPathFactory, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    cache = tmp_path_factory.mktemp("cache")

    def look(workers: int = 0) -> str:
        caplog.clear()
        require_intact(FolderImages(str(root), "pets", 8, ["cat", "dog"]).read(), cache, workers)
        return caplog.text

    whole = root / "val" / "dog" / "0.png"
    content = whole.read_bytes()
    whole.write_bytes(content[:-30])
    with pytest.raises(DataError, match=r"0\.png is damaged: .*; replace or remove it$"):
        look()
    assert not caplog.text
    whole.write_bytes(content)
    assert "decoded 1 photograph," in look()
    assert not look()
    solid(root / "train" / "cat" / "new.png", 10)
    assert "decoded 1 photograph," in look()
    (kept,) = cache.glob("photographs/*.txt")
    kept.write_bytes(b"\xff damaged")
    assert "decoded 13 photographs" in look(workers=2)
    assert not look()


def test_what_was_decoded_before_ctrl_c_is_kept(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(intact, "BATCH", 1)
    splits = FolderImages(str(root), "pets", 8, ["cat", "dog"]).read()

    def stop(path: Path, upright: bool) -> Image.Image:
        if path.parts[-3:] == ("val", "cat", "0.png"):
            raise KeyboardInterrupt
        return decoded(path, upright)

    monkeypatch.setattr(intact, "decoded", stop)
    with pytest.raises(KeyboardInterrupt):
        require_intact(splits, tmp_path / "cache", workers=0)
    monkeypatch.undo()
    caplog.set_level("INFO")
    caplog.clear()
    require_intact(splits, tmp_path / "cache", workers=0)
    assert "decoded 8 photographs" in caplog.text


def test_a_damaged_photograph_is_named_by_the_process_that_loads_it(root: Path) -> None:
    path = root / "train" / "dog" / "0.png"
    path.write_bytes(path.read_bytes()[:-30])
    train = FolderImages(str(root), "pets", 8, ["cat", "dog"]).read().train
    loader = group_loader(GroupDataset(train), GroupSampler(len(train), 2, 2, seed=0), workers=1)
    with pytest.raises(DataError) as fault:
        list(loader)
    assert str(fault.value).startswith(f"{path} is damaged: ")
    assert "Traceback" not in str(fault.value)


class Killed(Photographs):
    """Photographs whose loading ends the process."""

    def __getitem__(self, index: Tensor) -> tuple[Tensor, Tensor]:
        import os
        import signal

        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


@pytest.mark.slow
def test_a_process_that_dies_is_said(root: Path) -> None:
    train = FolderImages(str(root), "pets", 8, ["cat", "dog"]).read().train
    assert isinstance(train, Photographs)
    train.__class__ = Killed
    loader = group_loader(GroupDataset(train), GroupSampler(len(train), 2, 2, seed=0), workers=1)
    with pytest.raises(DataError, match=r"a process that loads queries died, .*; try data\.workers=0"):
        list(loader)
