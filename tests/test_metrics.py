"""Metrics against NumPy loops, and the same numbers from two processes as from one."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import distributed
from torch.multiprocessing.spawn import spawn

from parmtrain.codes import Sum, arrivals, decode_each
from parmtrain.metrics import Tally, functional, of_classes

seeds = st.integers(0, 10_000)


def made_up(
    seed: int, groups: int = 12, k: int = 3, classes: int = 7
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    predictions = torch.randn(groups, k, classes, generator=random)
    reconstructed = predictions + 0.7 * torch.randn(groups, k, classes, generator=random)
    reconstructed[0, 0] = torch.nan
    return predictions, reconstructed, torch.randint(classes, (groups, k), generator=random)


def accuracy_by_loop(predictions: np.ndarray, labels: np.ndarray, top: int = 1) -> float:
    hits = 0
    for scores, label in zip(predictions.reshape(-1, predictions.shape[-1]), labels.reshape(-1), strict=True):
        hits += not np.isnan(scores).any() and int(label) in np.argsort(-scores)[:top].tolist()
    return hits / labels.size


def case_values(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return decoded predictions in two cases, which of them count, the model's own, labels, and cases of arrival."""
    predictions, reconstructed, labels = made_up(seed)
    decoded = torch.stack([reconstructed, predictions + 0.3 * reconstructed.nan_to_num()], dim=1)  # [g, p, k, c]
    cases = torch.tensor([[False, True, True, True], [True, False, False, True]])
    return decoded, ~cases[:, :3], predictions, labels, cases


@given(seed=seeds)
@settings(deadline=None, max_examples=30)
def test_degraded_accuracy_agrees_with_a_loop(seed: int) -> None:
    decoded, counted, predictions, labels, _ = case_values(seed)
    worth = np.empty(decoded.shape[:3])
    for g, p, i in np.ndindex(worth.shape):
        worth[g, p, i] = accuracy_by_loop(decoded[g, p, i][None].numpy(), labels[g, i][None].numpy())
    values = functional.correct(decoded, labels.unsqueeze(1).expand(-1, 2, -1))
    by_loop = [worth[g, p, i] for g, p, i in np.ndindex(worth.shape) if counted[p, i]]
    assert functional.degraded(values, counted).item() == pytest.approx(np.mean(by_loop))
    sums, groups = functional.degraded_update(values, counted)
    position = functional.degraded_by_position(sums, counted, groups).tolist()
    case = functional.degraded_by_case(sums, counted, groups).tolist()
    for i in range(3):
        assert position[i] == pytest.approx(np.mean([worth[:, p, i] for p in range(2) if counted[p, i]]))
    for p in range(2):
        assert case[p] == pytest.approx(np.mean([worth[:, p, i] for i in range(3) if counted[p, i]]))
    top5 = functional.correct(predictions, labels, top=5).mean().item()
    assert top5 == pytest.approx(accuracy_by_loop(predictions.numpy(), labels.numpy(), top=5))
    own = predictions.unsqueeze(1).expand_as(decoded)
    agreement = functional.agree(decoded, own).mean().item()
    assert agreement == pytest.approx(accuracy_by_loop(decoded.numpy(), own.numpy().argmax(-1)))


@given(seed=seeds, split=st.integers(1, 11))
@settings(deadline=None, max_examples=30)
def test_a_tally_agrees_with_the_functions_however_groups_are_batched(seed: int, split: int) -> None:
    decoded, counted, predictions, labels, cases = case_values(seed)
    tally = Tally(cases, counted, of_classes(7))
    for part in (slice(None, split), slice(split, None)):
        tally.update(decoded[part], predictions[part], labels[part])
    values = functional.correct(decoded, labels.unsqueeze(1).expand(-1, 2, -1))
    expected = functional.degraded(values, counted).item()
    figures = tally.figures()
    assert figures.main == pytest.approx(expected)
    assert tally.compute()["degraded_accuracy"].item() == pytest.approx(expected)
    assert figures.worst == min(figures.by_case)
    assert figures.worst_late == [[0], [1, 2]][figures.by_case.index(figures.worst)]
    assert figures.unrecoverable == pytest.approx(1 / (12 * 3))  # one of the three that count in a group of twelve
    own = functional.agree(decoded, predictions.unsqueeze(1).expand_as(decoded))
    assert figures.agreement == pytest.approx(functional.degraded(own, counted).item())
    each = (values * counted).sum(dim=(1, 2)) / counted.sum()
    assert figures.ci95 == pytest.approx(functional.confidence95(each.unsqueeze(1)))


def test_decoding_each_case_agrees_with_a_loop_over_erasures() -> None:
    code = Sum(3)
    outputs = torch.randn(5, 4, 6)
    expected = np.empty((5, 3, 6), dtype=np.float32)
    for g in range(5):
        for lost in range(3):
            others = [outputs[g, i].numpy() for i in range(3) if i != lost]
            expected[g, lost] = outputs[g, 3].numpy() - sum(others)
    decoded = decode_each(code.decode, outputs, arrivals(4, 1)).numpy()
    assert np.allclose(decoded[:, [0, 1, 2], [0, 1, 2]], expected, atol=1e-5)
    assert np.array_equal(decoded[:, 3], outputs[:, :3].numpy())


def test_straggler_accuracy_counts_each_worker_once() -> None:
    available, degraded, k = 0.9, 0.6, 4
    over_workers = [((k - 1) * available + degraded) / k] * k + [available]
    assert functional.accuracy_with_one_straggler(available, degraded, k) == pytest.approx(np.mean(over_workers))


def test_confidence_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    random = torch.Generator().manual_seed(0)
    covered = 0
    for _ in range(400):
        group = torch.rand(200, 1, generator=random)  # correlates the two reconstructions of a group
        low, high = functional.confidence95(((group + torch.rand(200, 2, generator=random)) / 2 < 0.6).float())
        covered += low < 0.68 < high  # P[(u + v) / 2 < 0.6] = 1 - 0.8² / 2
    assert 0.92 < covered / 400 < 0.98


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_fraction_outside_0_and_1_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="must be from 0 to 1"):
        functional.overall_accuracy(0.9, 0.8, share)


def _updated(part: slice) -> dict[str, float]:
    decoded, counted, predictions, labels, cases = case_values(3)
    tally = Tally(cases, counted, of_classes(7))
    tally.update(decoded[part], predictions[part], labels[part])
    return {name: value.item() for name, value in tally.compute().items()}


def _worker(rank: int, folder: str) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    part = slice(None, 3) if rank == 0 else slice(3, None)  # unequal parts: a mean of means would be wrong
    torch.save(_updated(part), f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.thorough
@pytest.mark.slow
def test_two_processes_get_the_numbers_of_one(tmp_path: Path) -> None:
    spawn(_worker, args=(str(tmp_path),), nprocs=2)
    alone = _updated(slice(None))
    for rank in (0, 1):
        assert torch.load(tmp_path / f"{rank}.pt", weights_only=True) == pytest.approx(alone)
