"""Localization: the format of CUB-200-2011, garments on canvases, and whole runs that predict boxes."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from parmtrain import compose, load
from parmtrain.config import assemble
from parmtrain.config.check import check
from parmtrain.errors import ConfigError, DataError
from parmtrain.evaluate import evaluate
from parmtrain.metrics import boxes
from parmtrain.run_folder import RunFolder
from parmtrain.tasks.box_crops import CropFlipBoxes
from parmtrain.tasks.cub200 import Cub200
from parmtrain.tasks.garment_boxes import GarmentBoxes
from parmtrain.tasks.localization import Localization
from tests.formats import BIRDS
from tests.small_runs import small_run
from tests.tiers import thorough

CANVASES = ("task.source.train=60", "task.source.val=12", "task.source.test=20")


def test_the_default_answer_is_the_mean_training_box() -> None:
    task: Localization = assemble.build(compose("task=garment_boxes").task)
    train, true = torch.rand(9, 4) - 0.5, torch.rand(7, 4) - 0.5
    answered = torch.stack([boxes.iou(train.mean(0), box) for box in true])
    default = task.default(train, true)
    assert default["iou"] == pytest.approx(answered.mean().item())
    assert default["iou_50"] == pytest.approx((answered >= 0.5).double().mean().item())


def test_cub200_in_its_own_format(data_root: Path) -> None:
    splits = Cub200(str(data_root), 64, validation=4).read()
    assert [len(part) for part in splits] == [20, 4, 12]
    stored, _ = splits.train[torch.tensor([[0, 1]])]
    assert (stored.shape, stored.dtype) == ((1, 2, 3, 64, 64), torch.uint8)
    assert torch.equal(stored[0, 0, 0], stored[0, 0, 1])  # image 1 is grey
    for part in splits:
        images, labels = part[torch.arange(len(part))]
        corners = boxes.corners(labels)
        assert corners.min() >= 0
        assert corners.max() <= 1 + 1e-6
        for image, (left, top, right, bottom) in zip(images, (corners * 64).round().int().tolist(), strict=True):
            inside = image[:, top:bottom, left:right].float().mean()
            assert inside > 150
            assert (image.float().sum() - inside * 3 * (right - left) * (bottom - top)) / image.numel() < 60
    assert boxes.corners(splits.train.labels[1])[2] == 1  # the box of image 2 extended past the border
    assert [path.parent.name for path in splits.val.paths].count(BIRDS[0]) == 2  # type: ignore[attr-defined]
    assert Cub200(str(data_root / "CUB_200_2011"), 64, validation=4).read().val.digest == splits.val.digest


def rewrite(folder: Path, name: str, number: int, rest: str) -> None:
    lines = (folder / name).read_text().splitlines()
    (folder / name).write_text(
        "".join(f"{number} {rest}\n" if line.split()[0] == str(number) else f"{line}\n" for line in lines)
    )


BOXES = "bounding_boxes.txt"
FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "nothing": (shutil.rmtree, r"CUB-200-2011 is missing: no images\.txt, bounding_boxes\.txt"),
    "a list missing": ((lambda at: (at / BOXES).unlink()), r"CUB-200-2011 is incomplete: no bounding_boxes\.txt in"),
    "no area": (
        lambda at: rewrite(at, BOXES, 4, "3 3 0.0 9"),
        r"the box of .*0004.*\.jpg must have an area, got 0×9 pixels",
    ),
    "outside": (
        lambda at: rewrite(at, BOXES, 4, "900 3 20 9"),
        r"the box of .*0004.*\.jpg must overlap its image of 156×124 pixels, got 20×9 pixels at \(900, 3\)",
    ),
    "NaN": (lambda at: rewrite(at, BOXES, 4, "nan 3 20 9"), r"image 4 must have 4 finite numbers, got “nan 3 20 9”"),
    "a word": (
        lambda at: rewrite(at, BOXES, 4, "3 3 20 wide"),
        "image 4 must have 4 finite numbers, got “3 3 20 wide”",
    ),
    "three numbers": (lambda at: rewrite(at, BOXES, 4, "3 3 20"), "image 4 must have 4 finite numbers, got “3 3 20”"),
    "a number alone": (
        lambda at: rewrite(at, BOXES, 4, ""),
        r"bounding_boxes\.txt, line 4: must hold an image number and",
    ),
    "another number": (
        lambda at: rewrite(at, BOXES, 4, "1 1 9 9\n77 1 1 9 9"),
        r"image 77 must be in images\.txt and bounding_boxes\.txt, got only one",
    ),
    "an empty list": (lambda at: (at / "images.txt").write_text(""), r"images\.txt is empty"),
    "an image missing": (
        lambda at: rewrite(at, "images.txt", 4, f"{BIRDS[0]}/gone.jpg"),
        rf"images\.txt names .*{BIRDS[0]}/gone\.jpg, which does not exist",
    ),
    "no image": (
        lambda at: next((at / "images" / BIRDS[0]).glob("*_0004_*")).write_text("words"),
        r"_0004_796004\.jpg is damaged or not an image",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_wrong_with_cub200_is_named_with_its_path(fault: str, data_root: Path, tmp_path: Path) -> None:
    spoil, sentence = FAULTS[fault]
    shutil.copytree(data_root / "CUB_200_2011", tmp_path / "CUB_200_2011")
    spoil(tmp_path / "CUB_200_2011")
    with pytest.raises(DataError, match=sentence):
        Cub200(str(tmp_path), 64, validation=4).read()


def test_too_few_birds_for_validation(data_root: Path) -> None:
    with pytest.raises(
        DataError, match=r"must name more than the 600 training images held out for validation .*, got 24"
    ):
        Cub200(str(data_root), 64, validation=600).read()


def canvases(root: Path, cache: Path, **settings: int) -> GarmentBoxes:
    sizes = {"size": 48, "smallest": 12, "largest": 30, "distractors": 2, "train": 40, "val": 8, "test": 12, "seed": 0}
    return GarmentBoxes(str(root), str(cache), **{**sizes, **settings})


def test_garments_are_where_their_boxes_say(tmp_path: Path, data_root: Path) -> None:
    plain = canvases(data_root, tmp_path, distractors=0).read().test
    stored, labels = plain[torch.arange(len(plain))]
    assert (stored.shape, stored.dtype) == ((12, 3, 48, 48), torch.uint8)
    corners = boxes.pixels(labels, 48, 48)
    assert torch.allclose(corners, corners.round(), atol=1e-4)
    sides = corners[:, 2:] - corners[:, :2]
    assert 12 <= sides.round().min() <= sides.round().max() <= 30
    assert len(sides.round().unique(dim=0)) > 6
    assert corners.min() > -1e-4
    assert corners.max() < 48 + 1e-3


def test_the_same_settings_give_the_same_canvases_and_others_others(tmp_path: Path, data_root: Path) -> None:
    first = canvases(data_root, tmp_path / "a").read()
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "a").rglob("*.npy")}
    assert len(made) == 3
    kept = canvases(data_root, tmp_path / "a").read()
    assert {path: path.stat().st_mtime_ns for path in made} == made
    again, other = canvases(data_root, tmp_path / "b").read(), canvases(data_root, tmp_path / "b", seed=1).read()
    for part in range(3):
        assert first[part].digest == kept[part].digest == again[part].digest != other[part].digest
    assert len({part.digest for part in first}) == 3


def test_canvases_that_cannot_be_are_refused(tmp_path: Path, data_root: Path) -> None:
    with pytest.raises(ConfigError, match=r"1 ≤ smallest ≤ largest ≤ size, got smallest=12, largest=64 and size=48"):
        canvases(data_root, tmp_path, largest=64)
    with pytest.raises(DataError, match=r"task\.source\.test must be 20 or less, one canvas per garment in .*, got 21"):
        canvases(data_root, tmp_path, test=21).read()


@pytest.mark.slow
@pytest.mark.parametrize("code", ["sum", "concat_heads", thorough("concat"), thorough("stack"), thorough("linear")])
def test_garments_are_coded_and_scored_by_their_boxes(code: str, data_root: Path, tmp_path: Path) -> None:
    overrides = ("task=garment_boxes", f"data.root={data_root}", f"code={code}", "groups=10", *CANVASES)
    metrics = small_run(tmp_path, *overrides, "trainer.max_epochs=1", "deployed.fit.epochs=3").metrics
    assert metrics["measure"] == "iou"
    for part in ("available", "degraded", "default"):
        assert {"iou", "iou_50", "iou_75"} <= metrics[part].keys()
    assert sum(metrics["degraded"]["iou_50_by_position"]) / 2 == pytest.approx(metrics["degraded"]["iou_50"])
    about = load(tmp_path).about
    assert about["shapes"]["prediction"] == [4]
    assert about["classes"] == ["centre x", "centre y", "width", "height"]
    scores = evaluate(tmp_path)
    assert scores["degraded"]["iou"] == pytest.approx(metrics["degraded"]["iou"], abs=1e-4)


@pytest.mark.slow
def test_cub200_runs_to_the_exported_bundle(data_root: Path, tmp_path: Path) -> None:
    overrides = ("task=cub200", f"data.root={data_root}", "task.source.validation=4", "data.workers=0")
    small = ("model@deployed.model=conv_net", "task.query_shape=[3,96,96]", "groups=4", "deployed.fit.batch=8")
    metrics = small_run(tmp_path / "run", *overrides, *small, "trainer.max_epochs=1").metrics
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["degraded"]["groups"] == 6
    assert 0 <= metrics["degraded"]["iou"] <= 1
    bundle = load(tmp_path / "run")
    assert bundle.predict(bundle.encode(torch.rand(3, 2, 3, 96, 96))).shape == (3, 1, 8)
    picture = np.asarray(Image.open(tmp_path / "run" / "examples.png").convert("RGB"))
    assert picture.std() > 20


@pytest.mark.slow
def test_a_deployed_model_that_answers_anything_but_boxes_is_refused(tmp_path: Path, data_root: Path) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 5))
    overrides = ("task=garment_boxes", f"data.root={data_root}")
    (fault,) = check(compose(*overrides), RunFolder(tmp_path), network)
    assert fault.sentence == "the deployed model returns shape [2, 5] for 2 queries; expected [2, 4]"
    (fault,) = check(compose(*overrides, "task.outputs=5"), RunFolder(tmp_path))
    assert (fault.key, fault.sentence) == ("task", "task.outputs must be 4 (the numbers of a box), got 5")


@pytest.mark.parametrize("flip", [False, True])
def test_boxes_move_with_their_images(flip: bool) -> None:
    torch.manual_seed(0)
    images, sides = torch.zeros(500, 1, 20, 24), torch.tensor([3.0, 2.0, 15.0, 11.0])
    images[..., 2:11, 3:15] = 1  # the box, all of it in sight of every crop
    cropped, moved = CropFlipBoxes(padding=2, flip=flip)(images, boxes.scaled(sides, 20, 24).expand(500, -1))
    found = []
    for image in cropped[:, 0]:
        rows, columns = image.nonzero().T
        found.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    assert torch.equal(boxes.pixels(moved, 20, 24).round(decimals=3), torch.tensor(found))
    assert len(set(map(tuple, torch.tensor(found).tolist()))) == (50 if flip else 25)


def test_a_box_that_is_cut_ends_at_the_border() -> None:
    torch.manual_seed(0)
    all_of_it = boxes.scaled(torch.tensor([0.0, 0.0, 20.0, 20.0]), 20, 20).expand(50, -1)
    _, moved = CropFlipBoxes(padding=4, flip=False)(torch.zeros(50, 1, 20, 20), all_of_it)
    sides = boxes.pixels(moved, 20, 20)
    assert sides.min() >= 0
    assert sides.max() <= 20
    assert (sides[:, 2:] - sides[:, :2]).min() < 20


def test_no_box_is_cropped_away() -> None:
    torch.manual_seed(0)
    corner = boxes.scaled(torch.tensor([0.0, 0.0, 4.0, 4.0]), 20, 20).expand(200, -1)
    _, moved = CropFlipBoxes(padding=8)(torch.zeros(200, 1, 20, 20), corner)
    sides = boxes.pixels(moved, 20, 20)
    assert (sides[:, 2:] - sides[:, :2]).prod(dim=1).min() >= 8


def test_an_augmentation_of_images_alone_is_refused_for_boxes() -> None:
    cfg = compose("task=cub200", "data.root=.")
    cfg.task.augment = {"_target_": "parmtrain.tasks.images.CropFlip", "padding": 4}
    with pytest.raises(ConfigError, match=r"task\.augment must map images and boxes to both.*got CropFlip"):
        assemble.build(cfg.task)
