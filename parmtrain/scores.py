"""Scoring reconstructed predictions: every erasure position of every group, beside the default answer."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch
from rich.progress import track
from torch import Tensor

from parmtrain.codes import reconstruct_each
from parmtrain.functional import (
    accuracy_with_one_straggler,
    agree,
    confidence95,
    correct,
    overall_accuracy,
)
from parmtrain.groups import GroupBatch, GroupDataset, GroupSampler, group_loader, prepared
from parmtrain.tasks.base import Task
from parmtrain.tasks.queries import QuerySet

GROUPS = 256
TOP5_CLASSES = 10


class Coded(Protocol):
    """What can be scored: a module that was trained, or an exported bundle."""

    @property
    def k(self) -> int:
        """Queries in a group."""

    def encode(self, queries: Tensor) -> Tensor:
        """Map queries ``[g, k, *query]`` to parity queries ``[g, r, *parity]``."""

    def predict(self, parity_queries: Tensor) -> Tensor:
        """Map parity queries ``[g, r, *parity]`` to parity outputs ``[g, r, c]``."""

    def decode(self, outputs: Tensor, arrived: Tensor) -> Tensor:
        """Map worker outputs ``[g, n, c]`` and who arrived ``[g, n]`` to predictions ``[g, k, c]``."""


@torch.no_grad()
def score(
    coded: Coded,
    task: Task,
    queries: QuerySet,
    predictions: Tensor,
    seed: int,
    unavailable: Sequence[float],
    device: torch.device | None = None,
    workers: int = 0,
) -> dict[str, Any]:
    """Score every erasure position of groups that each query is in once.

    Args:
        coded: Encodes, predicts and decodes, on ``device`` and in evaluation mode.
        task: The task.
        queries: Its queries of one split.
        predictions: The deployed model's predictions on all of them ``[n, c]``.
        seed: Seed of the grouping; the same seed gives all codes the same groups.
        unavailable: Fractions f_u to state A_o for.
        device: Where to compute.
        workers: Processes that load queries which stream.

    Returns:
        Plain values: ``available``, ``degraded``, ``overall``, ``all_k_one_straggler`` and ``default``.
    """
    device = device or torch.device("cpu")
    available = correct(predictions, queries.labels).double().mean().item()
    right, right5, agreed = [], [], []
    for batch in _batches(coded.k, task, queries, predictions, seed, device, workers):
        assert batch.predictions is not None
        outputs = torch.cat([batch.predictions, coded.predict(coded.encode(batch.queries))], dim=1)
        reconstructed = reconstruct_each(coded.decode, outputs, coded.k)
        right.append(correct(reconstructed, batch.labels).cpu())
        agreed.append(agree(reconstructed, batch.predictions).cpu())
        if task.outputs >= TOP5_CLASSES:
            right5.append(correct(reconstructed, batch.labels, top=5).cpu())
    scores = torch.cat(right)
    degraded = scores.double().mean().item()
    top5 = {"top5": torch.cat(right5).double().mean().item()} if right5 else {}
    return {
        "available": {"accuracy": available},
        "degraded": {
            "accuracy": degraded,
            "accuracy_ci95": list(confidence95(scores)),
            "by_position": scores.double().mean(dim=0).tolist(),
            "agreement": torch.cat(agreed).double().mean().item(),
            **top5,
            "groups": len(scores),
        },
        "overall": {str(share): overall_accuracy(available, degraded, share) for share in unavailable},
        "all_k_one_straggler": accuracy_with_one_straggler(available, degraded, coded.k),
        "default": {"accuracy": task.default_accuracy},
    }


def _batches(
    k: int, task: Task, queries: QuerySet, predictions: Tensor, seed: int, device: torch.device, workers: int
) -> Iterator[GroupBatch]:
    sampler = GroupSampler(len(queries), k, GROUPS, seed, shuffle=False)
    loader = group_loader(GroupDataset(queries.to(device), predictions.to(device)), sampler, workers)
    task.input.to(device)
    for batch in track(loader, total=len(sampler), description="scoring", transient=True):
        moved = GroupBatch(*(part.to(device) for part in batch))
        yield prepared(moved, task.input)
