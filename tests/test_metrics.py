"""Metrics against NumPy loops, and the same numbers from two processes as from one."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.multiprocessing as processes
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import distributed
from torchmetrics import Metric, MetricCollection

from parmtrain.codes import Sum, arrivals, decode_each
from parmtrain.metrics import functional
from parmtrain.metrics import streaming as metrics

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


@given(seed=seeds)
@settings(deadline=None, max_examples=30)
def test_accuracies_agree_with_a_loop(seed: int) -> None:
    predictions, reconstructed, labels = made_up(seed)
    a, d, y = predictions.numpy(), reconstructed.numpy(), labels.numpy()
    assert functional.available_accuracy(predictions, labels).item() == pytest.approx(accuracy_by_loop(a, y))
    assert functional.degraded_accuracy(reconstructed, labels).item() == pytest.approx(accuracy_by_loop(d, y))
    top5 = functional.correct(reconstructed, labels, top=5).mean().item()
    assert top5 == pytest.approx(accuracy_by_loop(d, y, top=5))
    agreement = functional.reconstruction_agreement(reconstructed, predictions).item()
    assert agreement == pytest.approx(accuracy_by_loop(d, a.argmax(-1)))
    by_position = functional.degraded_accuracy_by_position(reconstructed, labels).tolist()
    assert by_position == pytest.approx([accuracy_by_loop(d[:, i], y[:, i]) for i in range(3)])


@given(seed=seeds, share=st.floats(0, 1), split=st.integers(1, 11))
@settings(deadline=None, max_examples=30)
def test_classes_agree_with_functions_however_they_are_batched(seed: int, share: float, split: int) -> None:
    predictions, reconstructed, labels = made_up(seed)
    available, degraded = metrics.AvailableAccuracy(), metrics.DegradedAccuracy()
    agreement, overall = metrics.ReconstructionAgreement(), metrics.OverallAccuracy(share)
    for part in (slice(None, split), slice(split, None)):
        available.update(predictions[part], labels[part])
        degraded.update(reconstructed[part], labels[part])
        agreement.update(reconstructed[part], predictions[part])
        overall.update(predictions[part], reconstructed[part], labels[part])
    a, d = functional.available_accuracy(predictions, labels), functional.degraded_accuracy(reconstructed, labels)
    assert available.compute() == pytest.approx(a.item())
    assert degraded.compute() == pytest.approx(d.item())
    assert agreement.compute() == pytest.approx(functional.reconstruction_agreement(reconstructed, predictions).item())
    assert overall.compute().item() == pytest.approx(functional.overall_accuracy(a.item(), d.item(), share), abs=1e-6)


def test_metrics_that_begin_alike_are_not_taken_for_one_in_a_collection() -> None:
    both = MetricCollection([metrics.DegradedAccuracy(), metrics.ReconstructionAgreement()])
    answer, other = torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[0.0, 1.0]]])
    both.update(reconstructed=answer, predictions=answer, labels=torch.tensor([[0]]))
    both.update(reconstructed=answer, predictions=other, labels=torch.tensor([[0]]))
    assert {name: value.item() for name, value in both.compute().items()} == {
        "DegradedAccuracy": 1.0,
        "ReconstructionAgreement": 0.5,
    }


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
    with pytest.raises(ValueError, match="between 0 and 1"):
        functional.overall_accuracy(0.9, 0.8, share)
    with pytest.raises(ValueError, match="between 0 and 1"):
        metrics.OverallAccuracy(share)


def _updated(metric: Metric, part: slice) -> float:
    predictions, reconstructed, labels = made_up(3)
    arguments = {
        "AvailableAccuracy": (predictions[part], labels[part]),
        "DegradedAccuracy": (reconstructed[part], labels[part]),
        "ReconstructionAgreement": (reconstructed[part], predictions[part]),
        "OverallAccuracy": (predictions[part], reconstructed[part], labels[part]),
    }
    metric.update(*arguments[type(metric).__name__])
    return float(metric.compute())


def _all_metrics() -> list[Metric]:
    return [
        metrics.AvailableAccuracy(),
        metrics.DegradedAccuracy(),
        metrics.ReconstructionAgreement(),
        metrics.OverallAccuracy(0.1),
    ]


def _worker(rank: int, folder: str) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    part = slice(None, 3) if rank == 0 else slice(3, None)  # unequal parts: a mean of means would be wrong
    torch.save([_updated(metric, part) for metric in _all_metrics()], f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


def test_two_processes_get_the_numbers_of_one(tmp_path: Path) -> None:
    processes.spawn(_worker, args=(str(tmp_path),), nprocs=2)
    alone = [_updated(metric, slice(None)) for metric in _all_metrics()]
    for rank in (0, 1):
        assert torch.load(tmp_path / f"{rank}.pt", weights_only=True) == pytest.approx(alone)
