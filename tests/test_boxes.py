"""Boxes: how much two of them overlap, and the losses that compare them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from parmtrain import compose
from parmtrain.codes import Sum
from parmtrain.config.check import check
from parmtrain.errors import UnsupportedError
from parmtrain.metrics import boxes
from parmtrain.run_folder import RunFolder
from parmtrain.training.box_losses import giou, smooth_l1
from parmtrain.training.coded_groups import CodedGroups


def by_counting_pixels(one: Tensor, other: Tensor, size: int) -> float:
    """Return the IoU of two boxes with whole-number corners, by counting pixels."""
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
    assert loss(CodedGroups(Sum(k=2), own, parity, own, boxes.BOXES)) < 1e-4
    wrong = (parity + 0.2).requires_grad_()
    (gradient,) = torch.autograd.grad(loss(CodedGroups(Sum(k=2), own, wrong, own, boxes.BOXES)), wrong)
    better = wrong - 0.01 * gradient.sign()
    assert loss(CodedGroups(Sum(k=2), own, better, own, boxes.BOXES)) < loss(
        CodedGroups(Sum(k=2), own, wrong, own, boxes.BOXES)
    )


@pytest.mark.slow
def test_losses_that_are_for_boxes_or_for_classes_say_so(tmp_path: Path, data_root: Path) -> None:
    classes = CodedGroups(Sum(k=2), torch.rand(1, 2, 4), torch.rand(1, 1, 4), torch.zeros(1, 2, dtype=torch.long))
    with pytest.raises(UnsupportedError, match="loss=giou compares boxes"):
        giou(classes)
    (fault,) = check(compose("task=garment_boxes", f"data.root={data_root}", "loss=kl"), RunFolder(tmp_path))
    assert fault.sentence.startswith("loss=kl compares class scores, and this task predicts boxes; use loss=mse")
