"""Scoring a code: every group of a split, with every set of workers late."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch
from rich.progress import track
from torch import Tensor

from parmtrain.codes import arrivals
from parmtrain.evaluation.tally import Tally
from parmtrain.metrics.functional import overall_accuracy
from parmtrain.metrics.measures import Measures
from parmtrain.tasks.base import Task
from parmtrain.tasks.queries import QuerySet
from parmtrain.training.groups import GroupBatch, GroupDataset, GroupSampler, group_loader, prepared

GROUPS = 256


class Coded(Protocol):
    """What can be scored: a module, or an exported bundle."""

    @property
    def k(self) -> int:
        """Queries in a group."""

    @property
    def n(self) -> int:
        """Workers that answer a group."""

    @property
    def systematic(self) -> bool:
        """Whether the deployed model runs the queries themselves."""

    @property
    def stragglers(self) -> int:
        """Workers of a group, whichever they are, that may all be late."""

    def encode(self, queries: Tensor) -> Tensor:
        """Map queries ``[g, k, *query]`` to coded queries ``[g, coded, *parity]``."""

    def predict(self, coded_queries: Tensor) -> Tensor:
        """Map coded queries ``[g, coded, *parity]`` to outputs ``[g, coded, c]``."""

    def gather(self, predictions: Tensor, coded_outputs: Tensor) -> Tensor:
        """Put worker outputs ``[g, n, c]`` together, of predictions ``[g, k, c]`` and outputs ``[g, coded, c]``."""

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
    default: dict[str, float],
    device: torch.device | None = None,
    workers: int = 0,
) -> dict[str, Any]:
    """Score groups that each query is in once, with nobody late and with every set of workers late.

    Args:
        coded: Encodes, predicts and decodes, on ``device`` and in evaluation mode.
        task: The task.
        queries: Its queries of one split.
        predictions: The deployed model's predictions on all of them ``[n, c]``.
        seed: Seed of the grouping; the same seed gives all codes the same groups.
        unavailable: Fractions f_u to state A_o for.
        default: What a fixed answer is worth by every measure.
        device: Where to compute.
        workers: Processes that load queries which stream.

    Returns:
        Plain values. ``available`` is the deployed model alone, ``nobody_late`` what the code answers then;
        ``degraded`` (reconstructed predictions alone) and ``all_k`` (all predictions of a group) are with one straggler
        at every position, ``stragglers`` has both for two and more; ``overall`` and ``default`` as ever.
    """
    device = device or torch.device("cpu")
    measures, name = task.measures, task.measures.name
    nobody = _all(coded, 0, measures)
    late = range(1, coded.stragglers + 1)
    degraded = {number: _reconstructed(coded, number, measures) for number in late}
    all_k = {number: _all(coded, number, measures) for number in late}
    for batch in _batches(coded.k, task, queries, predictions, seed, device, workers):
        assert batch.predictions is not None
        outputs = coded.gather(batch.predictions, coded.predict(coded.encode(batch.queries)))
        for tally in (nobody, *degraded.values(), *all_k.values()):
            tally.add(coded.decode, outputs, batch)
    available = {
        other: measure(predictions, queries.labels).double().mean().item() for other, measure in measures.every.items()
    }
    figures = {number: {"degraded": degraded[number].figures(), "all_k": all_k[number].figures()} for number in late}
    one = figures.pop(1)
    return {
        "measure": name,
        "available": available,
        "nobody_late": {name: nobody.figures()[name]},
        "degraded": one["degraded"] | {"groups": len(queries) // coded.k},
        "all_k": one["all_k"] | {"by_worker": all_k[1].by_case()},
        "stragglers": {str(number): more for number, more in figures.items()},
        "overall": {
            str(share): overall_accuracy(available[name], one["degraded"][name], share) for share in unavailable
        },
        "default": default,
    }


def _all(coded: Coded, late: int, measures: Measures) -> Tally:
    """Count all predictions of a group, with some of its n workers late, whichever they are."""
    cases = arrivals(coded.n, late)
    return Tally(cases, torch.ones(len(cases), coded.k, dtype=torch.bool), measures)


def _reconstructed(coded: Coded, late: int, measures: Measures) -> Tally:
    """Count reconstructed predictions alone: those whose own workers are late, or all where there are no such."""
    if not coded.systematic:
        cases = arrivals(coded.n, late)
        return Tally(cases, torch.ones(len(cases), coded.k, dtype=torch.bool), measures, more=True)
    here = arrivals(coded.k, min(late, coded.k))
    cases = torch.cat([here, torch.ones(len(here), coded.n - coded.k, dtype=torch.bool)], dim=1)
    return Tally(cases, ~here, measures, more=True)


def _batches(
    k: int, task: Task, queries: QuerySet, predictions: Tensor, seed: int, device: torch.device, workers: int
) -> Iterator[GroupBatch]:
    sampler = GroupSampler(len(queries), k, GROUPS, seed, shuffle=False)
    loader = group_loader(GroupDataset(queries.to(device), predictions.to(device)), sampler, workers)
    task.input.to(device)
    for batch in track(loader, total=len(sampler), description="scoring", transient=True):
        moved = GroupBatch(*(part.to(device) for part in batch))
        yield prepared(moved, task.input)
