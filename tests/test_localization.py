"""Localization: boxes, CUB-200-2011's format, garments on canvases, whole runs."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from parmtrain import compose, load
from parmtrain.codes import Linear, Sum
from parmtrain.config import assemble
from parmtrain.config.check import check
from parmtrain.deployed import DeployedModel
from parmtrain.errors import ConfigError, DataError, UnsupportedError
from parmtrain.evaluate import evaluate
from parmtrain.metrics import boxes
from parmtrain.tasks.cub200 import Cub200
from parmtrain.tasks.garment_boxes import GarmentBoxes
from parmtrain.tasks.localization import Localization
from parmtrain.training.box_losses import giou, smooth_l1
from parmtrain.training.coded_groups import CodedGroups
from tests.formats import BIRDS
from tests.test_runs import small_run

CANVASES = ("task.source.train=60", "task.source.val=12", "task.source.test=20")


def by_counting_pixels(one: Tensor, other: Tensor, size: int) -> float:
    """Return the IoU of boxes with whole corners in pixels, pixel by pixel."""
    masks = np.zeros((2, size, size), dtype=bool)
    for mask, (left, top, right, bottom) in zip(masks, (one.int().tolist(), other.int().tolist()), strict=True):
        mask[top:bottom, left:right] = True
    return float((masks[0] & masks[1]).sum() / (masks[0] | masks[1]).sum())


def random_boxes(count: int, size: int, seed: int) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    begin = torch.randint(0, size - 1, (count, 2), generator=random)
    end = begin + 1 + (torch.rand(count, 2, generator=random) * (size - begin)).long().clamp(max=size - begin - 1)
    return torch.cat([begin, end], dim=1).float()


def test_iou_is_what_counting_pixels_gives() -> None:
    ours, theirs = random_boxes(200, 40, seed=0), random_boxes(200, 40, seed=1)
    expected = [by_counting_pixels(*pair, size=40) for pair in zip(ours, theirs, strict=True)]
    computed = boxes.iou(boxes.scaled(ours, 40, 40), boxes.scaled(theirs, 40, 40))
    assert computed.tolist() == pytest.approx(expected, abs=1e-5)
    assert 0 < sum(value > 0 for value in expected) < 200


def test_boxes_come_back_in_pixels_whatever_the_aspect() -> None:
    corners = random_boxes(50, 90, seed=2)
    assert torch.allclose(boxes.pixels(boxes.scaled(corners, 90, 120), 90, 120), corners, atol=1e-4)
    assert boxes.scaled(torch.tensor([0.0, 0.0, 120.0, 90.0]), 90, 120).tolist() == [0, 0, 1, 1]


def test_predictions_that_are_no_boxes_are_worth_nothing_and_give_finite_losses() -> None:
    true = torch.tensor([[0.0, 0.0, 0.5, 0.5]] * 3)
    bad = torch.tensor([[0.0, 0.0, -3.0, -3.0], [torch.nan] * 4, [9.0, 9.0, 0.0, 0.0]])
    for measure in boxes.MEASURES.every.values():
        assert measure(bad, true).tolist() == [0, 0, 0]
    assert boxes.generalized_iou_loss(bad[[0, 2]], true[:2]).isfinite()


def test_shares_of_boxes_above_a_threshold() -> None:
    true = torch.tensor([0.0, 0.0, 1.0, 1.0]).expand(3, 4)
    widths = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.3, 1.0], [0.0, 0.0, -0.5, 1.0]])
    assert boxes.iou(widths, true).tolist() == pytest.approx([1, 0.65, 0.25])
    shares = {name: measure(widths, true).tolist() for name, measure in boxes.MEASURES.more.items()}
    assert shares == {"iou_50": [1, 1, 0], "iou_75": [1, 0, 0]}


@pytest.mark.parametrize("loss", [smooth_l1, giou])
def test_losses_of_boxes_are_zero_where_all_is_rebuilt_and_pull_there(
    loss: Callable[[CodedGroups], Tensor],
) -> None:
    own = boxes.scaled(random_boxes(20, 40, seed=3), 40, 40).view(10, 2, 4)
    parity = own.sum(dim=1, keepdim=True)
    assert loss(CodedGroups(Sum(k=2), own, parity, own)) < 1e-4
    wrong = (parity + 0.2).requires_grad_()
    (gradient,) = torch.autograd.grad(loss(CodedGroups(Sum(k=2), own, wrong, own)), wrong)
    assert loss(CodedGroups(Sum(k=2), own, wrong - 0.01 * gradient.sign(), own)) < loss(
        CodedGroups(Sum(k=2), own, wrong, own)
    )


def test_losses_that_are_for_boxes_or_for_classes_say_so(tmp_path: Path, data_root: Path) -> None:
    classes = CodedGroups(Sum(k=2), torch.rand(1, 2, 4), torch.rand(1, 1, 4), torch.zeros(1, 2, dtype=torch.long))
    with pytest.raises(UnsupportedError, match="loss=giou compares boxes"):
        giou(classes)
    with pytest.raises(ConfigError, match="loss=kl compares scores of classes"):
        check(compose("task=garment_boxes", f"data.root={data_root}", "loss=kl"), tmp_path)


def test_parity_models_begin_with_the_target_of_the_mean_box(data_root: Path) -> None:
    cfg = compose("task=garment_boxes", f"data.root={data_root}", "k=3", "code=sum", *CANVASES)
    task: Localization = assemble.build(cfg.task)
    mean = task.prior(task.splits().train.labels)
    deployed = DeployedModel(assemble.architecture(cfg.deployed.model, task, task.query_shape))
    (model,) = assemble.module(cfg, task, deployed, mean).parity_models
    assert torch.allclose(model.classifier.bias, 3 * mean)  # type: ignore[union-attr, arg-type]
    cfg.code = compose("task=garment_boxes", "k=3").code
    (model,) = assemble.module(cfg, task, deployed, mean).parity_models
    assert torch.allclose(model.classifier.bias, mean.repeat(3))  # type: ignore[union-attr, arg-type]
    cfg.code = compose("code=linear", "k=3").code
    module = assemble.module(cfg, task, deployed, mean)
    for j, model in enumerate(module.parity_models):
        expected = Linear(k=3).coefficients[j].sum() * mean
        assert torch.allclose(model.classifier.bias, expected, atol=1e-6)  # type: ignore[union-attr, arg-type]


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
    assert boxes.corners(splits.train.labels[1])[2] == 1  # the box of image 2 ended past the border
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
        r"the box of .*0004.*\.jpg has no area: it is 0×9 pixels",
    ),
    "outside": (
        lambda at: rewrite(at, BOXES, 4, "900 3 20 9"),
        r"the box of .*0004.*\.jpg is outside the image: 20×9 pixels at \(900, 3\), and the image has 156×124",
    ),
    "NaN": (lambda at: rewrite(at, BOXES, 4, "nan 3 20 9"), r"of image 4 it says “nan 3 20 9”; 4 finite numbers"),
    "a word": (lambda at: rewrite(at, BOXES, 4, "3 3 20 wide"), "of image 4 it says “3 3 20 wide”; 4 finite numbers"),
    "three numbers": (lambda at: rewrite(at, BOXES, 4, "3 3 20"), "of image 4 it says “3 3 20”; 4 finite numbers"),
    "a number alone": (lambda at: rewrite(at, BOXES, 4, ""), r"bounding_boxes\.txt, line 4: an image's number and"),
    "another number": (
        lambda at: rewrite(at, BOXES, 4, "1 1 9 9\n77 1 1 9 9"),
        r"image 77 is in one of images\.txt and bounding_boxes\.txt alone",
    ),
    "an empty list": (lambda at: (at / "images.txt").write_text(""), r"images\.txt is empty"),
    "an image missing": (
        lambda at: rewrite(at, "images.txt", 4, f"{BIRDS[0]}/gone.jpg"),
        rf"images\.txt names .*{BIRDS[0]}/gone\.jpg, and there is no such file",
    ),
    "no image": (
        lambda at: next((at / "images" / BIRDS[0]).glob("*_0004_*")).write_text("words"),
        r"_0004_796004\.jpg is damaged, or no image",
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
    with pytest.raises(DataError, match="names 24 images for training, but 600"):
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
    with pytest.raises(
        ConfigError, match=r"task\.source\.largest=64 and task\.source\.size=48: 1 ≤ smallest ≤ largest"
    ):
        canvases(data_root, tmp_path, largest=64)
    with pytest.raises(DataError, match=r"has 20 garments for task\.source\.test=21 canvases"):
        canvases(data_root, tmp_path, test=21).read()


@pytest.mark.parametrize("code", ["sum", "concat", "stack", "linear", "concat_heads"])
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


def test_cub200_runs_to_the_exported_bundle(data_root: Path, tmp_path: Path) -> None:
    overrides = ("task=cub200", f"data.root={data_root}", "task.source.validation=4", "data.workers=0")
    small = ("model@deployed.model=conv_net", "task.query_shape=[3,96,96]", "groups=4", "deployed.fit.batch=8")
    metrics = small_run(tmp_path / "run", *overrides, *small, "trainer.max_epochs=1").metrics
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["degraded"]["groups"] == 6
    assert 0 <= metrics["degraded"]["iou"] <= 1
    bundle = load(tmp_path / "run")
    assert bundle.predict(bundle.encode(torch.rand(3, 2, 3, 96, 96))).shape == (3, 1, 4)
    picture = np.asarray(Image.open(tmp_path / "run" / "examples.png").convert("RGB"))
    assert picture.std() > 20


def test_a_deployed_model_that_answers_anything_but_boxes_is_refused(tmp_path: Path, data_root: Path) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 5))
    with pytest.raises(ConfigError, match=r"answers 2 queries with \[2, 5\]; \[batch, outputs\] = \[2, 4\] is right"):
        check(compose("task=garment_boxes", f"data.root={data_root}"), tmp_path, network)
    with pytest.raises(ConfigError, match=r"task\.outputs=5: a box is 4 numbers"):
        check(compose("task=garment_boxes", f"data.root={data_root}", "task.outputs=5"), tmp_path)
