"""A deployed model that returns probabilities is recognised, and losses compare them as such."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from parmtrain.codes import Sum
from parmtrain.metrics.measures import CLASS_SCORES, PROBABILITIES, kind_of
from parmtrain.result import Result
from parmtrain.training.coded_groups import CodedGroups
from parmtrain.training.losses import cross_entropy, kl
from tests.small_runs import small_run

OWN = torch.tensor([[[0.9, 0.1], [0.3, 0.7]]])
LABELS = torch.tensor([[0, 1]])


def groups(parity: torch.Tensor) -> CodedGroups:
    return CodedGroups(Sum(k=2), OWN, parity, LABELS, PROBABILITIES)


def test_only_rows_that_are_at_least_0_and_sum_to_1_are_probabilities() -> None:
    logits = torch.randn(50, 10)
    assert kind_of(logits.softmax(1), CLASS_SCORES) == PROBABILITIES
    for others in (logits, logits.log_softmax(1), logits.sigmoid(), torch.zeros(0, 10), torch.ones(5, 1)):
        assert kind_of(others, CLASS_SCORES) == CLASS_SCORES
    assert kind_of(logits.softmax(1), "boxes") == "boxes"


def test_the_divergence_is_zero_for_perfect_reconstructions_and_positive_for_others() -> None:
    target = OWN.sum(1, keepdim=True)
    assert kl(groups(target)).abs() < 1e-6
    for wrong in (target + 0.2, target - 0.2, target.flip(2), target - 5):
        assert kl(groups(wrong)) > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("loss", [kl, cross_entropy])
def test_gradients_lead_back_from_below_zero(loss: Callable[[CodedGroups], torch.Tensor]) -> None:
    parity = (OWN.sum(1, keepdim=True) - 2).requires_grad_()
    for _ in range(300):
        (gradient,) = torch.autograd.grad(loss(groups(parity)), parity)
        parity = (parity - 0.05 * gradient).detach().requires_grad_()
    if loss is kl:
        assert torch.allclose(parity, OWN.sum(1, keepdim=True), atol=0.05)
    reconstructed = groups(parity).reconstructed
    assert reconstructed.argmax(-1).equal(groups(parity).own_labels)


@pytest.mark.slow
def test_a_run_says_so_once_and_reconstructs_them(
    finished: Result, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    inner = finished.module.deployed.network
    assert isinstance(inner, nn.Module)
    network = nn.Sequential(inner, nn.Softmax(dim=1))
    result = small_run(tmp_path, "trainer.max_epochs=20", deployed=network)
    assert caplog.text.count("it returns probabilities, each prediction sums to 1") == 1
    assert result.metrics["degraded"]["accuracy"] > 0.8
