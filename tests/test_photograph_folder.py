"""Your own photographs: what their folders say of splits and labels."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from parmtrain.errors import DataError
from parmtrain.tasks.photograph_folder import PhotographFolder
from parmtrain.tasks.queries import Splits
from tests.small_runs import small_run


def write(folder: Path, count: int, suffix: str = ".png") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    for number in range(count):
        pixels = (255 * random.random((12, 15, 3))).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}{suffix}")


def source(root: Path, outputs: int = 2, **more: object) -> PhotographFolder:
    return PhotographFolder(str(root), size=8, outputs=outputs, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("suffix", [".png", ".jpeg", ".webp"])
def test_a_flat_folder_is_shared_out_alike_every_time(suffix: str, tmp_path: Path) -> None:
    write(tmp_path, 20, suffix)
    first, again = source(tmp_path).read(), source(tmp_path).read()
    assert [len(part) for part in first] == [14, 2, 4]
    assert not any(part.labelled for part in first)
    assert not source(tmp_path).labelled
    paths = [path for part in first for path in part.paths]  # type: ignore[attr-defined]
    assert sorted(paths) == sorted(tmp_path.iterdir())
    assert [part.digest for part in first] == [part.digest for part in again]
    assert [part.digest for part in source(tmp_path, seed=1).read()] != [part.digest for part in first]
    assert first.train[torch.arange(3)][0].shape == (3, 3, 8, 8)


def test_folders_of_classes_are_labels_in_alphabetical_order(tmp_path: Path) -> None:
    for word, count in (("b", 6), ("a", 4)):
        write(tmp_path / word, count)
    splits = source(tmp_path).read()
    assert sum(int((part.labels == 1).sum()) for part in splits) == 6
    assert source(tmp_path).labelled
    turned = source(tmp_path, classes=["b", "a"]).read()
    assert sum(int((part.labels == 1).sum()) for part in turned) == 4
    assert not any(part.labelled for part in source(tmp_path, labels=False).read())


def test_shares_go_by_names_alone(tmp_path: Path) -> None:
    for word in ("a", "b"):
        write(tmp_path / word, 20)
    first, turned = source(tmp_path).read(), source(tmp_path, classes=["b", "a"]).read()
    tested = [sorted(part.test.paths) for part in (first, turned)]  # type: ignore[attr-defined]
    assert tested[0] == tested[1]
    write(tmp_path / "a" / "later", 1)
    again = source(tmp_path).read()
    assert len(set(again.train.paths) & set(first.test.paths)) <= 1  # type: ignore[attr-defined]


def test_folders_of_splits_are_the_splits(tmp_path: Path) -> None:
    for number, split in enumerate(Splits._fields, 3):
        write(tmp_path / split, number)
    assert [len(part) for part in source(tmp_path).read()] == [3, 4, 5]


def test_a_deployed_model_may_know_more_classes_than_there_are_folders(tmp_path: Path) -> None:
    for word in ("b", "d"):
        write(tmp_path / word, 10)
    part = source(tmp_path, 4, classes=["a", "b", "c", "d"]).read()
    assert {int(label) for split in part for label in split.labels} == {1, 3}
    with pytest.raises(DataError, match=r"d must be the folder of one of task.classes: a, b, c; move it elsewhere"):
        source(tmp_path, 3, classes=["a", "b", "c"]).read()
    with pytest.raises(DataError, match=r"name all classes in task.classes, of which some may have no folder"):
        source(tmp_path, 4).read()


def test_what_is_neither_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"must hold photographs .*, got none; set data.root=…"):
        source(tmp_path).locate()
    for word in ("a", "b", "c"):
        write(tmp_path / "many" / word, 1)
    with pytest.raises(DataError, match=r"has 3 folders of classes .a, b, c., and task.outputs is 2; set task"):
        source(tmp_path / "many").locate()
    write(tmp_path / "many", 1)
    with pytest.raises(DataError, match=r"0.png must be in a folder of its class, as others are; move it, or set"):
        source(tmp_path / "many", 3).locate()
    for word in ("a", "b"):
        write(tmp_path / "split" / "train" / word, 1)
    with pytest.raises(DataError, match=r"or folders of classes, got train; rename them, or set task.source.labels=f"):
        source(tmp_path / "split").locate()
    (tmp_path / "split" / "val").mkdir()
    with pytest.raises(DataError, match=r"val must hold photographs .*, got none"):
        source(tmp_path / "split").locate()
    write(tmp_path / "split" / "val" / "a", 1)
    write(tmp_path / "split" / "test" / "a", 1)
    with pytest.raises(DataError, match=r"has 1 folders of classes"):
        source(tmp_path / "split").locate()
    write(tmp_path / "split" / "more", 1)
    with pytest.raises(DataError, match=r"must hold folders train, val and test alone, got more, too; move them"):
        source(tmp_path / "split").locate()
    with pytest.raises(DataError, match=r"must leave photographs to train on, got 0.5 and 0.5"):
        source(tmp_path, val=0.5, test=0.5)


@pytest.mark.slow
def test_a_module_of_torchvision_and_a_folder_are_all_that_a_run_needs(tmp_path: Path) -> None:
    write(tmp_path / "photographs", 24)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = torch.nn.Sequential(
            torch.nn.Conv2d(3, 24, 3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten(),
            torch.nn.Linear(96, 7),
        )  # fmt: skip
    task = ("task=folder", f"data.root={tmp_path / 'photographs'}", "task.query_shape=[3,10,10]", "task.outputs=7")
    metrics = small_run(tmp_path / "run", *task, "groups=4", "data.workers=0", deployed=network).metrics
    assert metrics["measure"] == "agreement"
    assert (tmp_path / "run" / "examples.png").is_file()
