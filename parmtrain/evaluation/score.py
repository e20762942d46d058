"""Score a code: every group of a split, with every set of late workers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from parmtrain.codes import CodedPredictor, arrivals, decode_each
from parmtrain.errors import InputError
from parmtrain.evaluation.certainty import Calibrated, certainty_of
from parmtrain.evaluation.reconstructions import Collector, Reconstructions
from parmtrain.evaluation.scores import Late, Scores
from parmtrain.metrics import Measures, Tally
from parmtrain.progress import progress
from parmtrain.tasks.base import Task, TaskInput
from parmtrain.tasks.queries import QuerySet
from parmtrain.training.groups import GroupBatch, GroupDataset, GroupSampler, group_loader, prepare_batch

GROUPS = 256
MOST_NUMBERS = 2**24  # decoded at once


@dataclass(frozen=True)
class ScoredSplit:
    """A split to score.

    Args:
        queries: Its queries.
        predictions: The deployed model's predictions on all of them ``[n, c]``.
        prepare: Turns stored queries into the deployed model's input.
        default: Score of a fixed answer, by every measure.
    """

    queries: QuerySet
    predictions: Tensor
    prepare: TaskInput
    default: dict[str, float]


def score(
    predictor: CodedPredictor,
    task: Task,
    queries: QuerySet,
    predictions: Tensor,
    seed: int,
    unavailable: Sequence[float],
    default: dict[str, float],
    device: torch.device | None = None,
    workers: int = 0,
) -> dict[str, Any]:
    """Score a code by its task's own measures, like ``score_groups``, and return plain values.

    ``available`` scores the deployed model alone, and ``nobody_late`` the code with all workers on time. ``degraded``
    (reconstructed predictions only) and ``all_k`` (all predictions of a group) have one straggler at every position,
    and ``stragglers`` has both for two and more. ``overall`` is A_o, and ``default`` the score of a fixed answer.

    Raises:
        InputError: If predictions do not belong to the queries, or a number is out of range.
    """
    if predictions.shape != (len(queries), task.outputs):
        shape = [len(queries), task.outputs]
        raise InputError(f"predictions must have shape {shape}, one per query, got {list(predictions.shape)}")
    if len(queries) < predictor.k:
        raise InputError(f"queries must be at least k={predictor.k}, got {len(queries)}")
    if task.measures.name not in default:
        raise InputError(f"default must have a score for {task.measures.name}, got {', '.join(default) or 'none'}")
    for share in unavailable:
        if not 0 <= share <= 1:
            raise InputError(f"unavailable must hold fractions from 0 to 1, got {share}")
    if not isinstance(seed, int) or seed < 0:
        raise InputError(f"seed must be an integer of 0 or more, got {seed}")
    split = ScoredSplit(queries, predictions, task.input, default)
    return score_groups(predictor, split, task.measures, seed, unavailable, device, workers).to_json()


@torch.no_grad()
def score_groups(
    predictor: CodedPredictor,
    split: ScoredSplit,
    measures: Measures,
    seed: int,
    unavailable: Sequence[float],
    device: torch.device | None = None,
    workers: int = 0,
    trusted: Calibrated | None = None,
) -> Scores:
    """Score groups that contain each query once, with all workers on time and with every set of late workers.

    Args:
        predictor: Module or bundle that encodes, predicts and decodes, on ``device`` and in evaluation mode.
        split: The split to score.
        measures: Kind of predictions, and the measures that score them.
        seed: Seed of the grouping; the same seed gives all codes the same groups.
        unavailable: Fractions f_u to report A_o for.
        device: Device to compute on.
        workers: Processes that load streamed queries.
        trusted: What says how far reconstructions can be trusted, and what it promised on other queries.
    """
    device = device or torch.device("cpu")
    nobody = _all(predictor, 0, measures)
    late = [
        (_reconstructed(predictor, number, measures), _all(predictor, number, measures))
        for number in range(1, predictor.stragglers + 1)
    ]
    for tally in (nobody, *(tally for pair in late for tally in pair)):
        tally.to(device)
    kept = []
    if trusted is not None:
        for number, (one, _) in enumerate(late, 1):
            kept.append(Collector(number, one.cases, one.counted, measures, trusted.confidence))
    takers: list[list[_Taker]] = [[nobody]]
    for number, (one, all_k) in enumerate(late):
        takers += [[one, *kept[number : number + 1]], [all_k]]
    _decode(predictor, split, seed, device, workers, takers)
    return Scores(
        measures.name,
        measures.means(split.predictions, split.queries.labels),
        nobody.figures().main,
        [Late(degraded.figures(), all_k.figures()) for degraded, all_k in late],
        len(split.queries) // predictor.k,
        unavailable,
        split.default,
        certainty=[certainty_of(one.collected(), trusted.promises) for one in kept] if trusted is not None else [],
    )


@torch.no_grad()
def reconstructions(
    predictor: CodedPredictor,
    split: ScoredSplit,
    measures: Measures,
    seed: int,
    device: torch.device | None = None,
    workers: int = 0,
) -> list[Reconstructions]:
    """Return the reconstructions of all groups of a split, as ``score_groups`` makes them, with 1, 2, … late workers.

    Each is kept with its prediction. The arguments are those of ``score_groups``.
    """
    kept = []
    for number in range(1, predictor.stragglers + 1):
        cases, counted = _cases(predictor, number)
        kept.append(Collector(number, cases, counted, measures, keep=lambda decoded, _: decoded))
    _decode(predictor, split, seed, device or torch.device("cpu"), workers, [[one] for one in kept])
    return [one.collected() for one in kept]


class _Taker(Protocol):
    """What takes groups that are decoded under its arrival patterns."""

    cases: Tensor

    def update(self, decoded: Tensor, predictions: Tensor, labels: Tensor) -> None: ...


def _decode(
    predictor: CodedPredictor,
    split: ScoredSplit,
    seed: int,
    device: torch.device,
    workers: int,
    takers: Sequence[Sequence[_Taker]],
) -> None:
    """Decode all groups of a split for takers; those of one list have the same arrival patterns."""
    for batch in _batches(predictor.k, split, seed, device, workers):
        assert batch.predictions is not None
        outputs = predictor.gather(batch.predictions, predictor.predict(predictor.encode(batch.queries)))
        for alike in takers:
            cases = alike[0].cases
            at_once = max(1, MOST_NUMBERS // max(1, len(cases) * outputs[:1].numel()))
            for some in torch.arange(len(outputs)).split(at_once):
                part = slice(int(some[0]), int(some[-1]) + 1)
                decoded = decode_each(predictor.decode, outputs[part], cases)
                for taker in alike:
                    taker.update(decoded, batch.predictions[part], batch.labels[part])


def _all(predictor: CodedPredictor, late: int, measures: Measures) -> Tally:
    """Return a tally of all predictions of a group, over every set of ``late`` late workers."""
    cases = arrivals(predictor.n, late)
    return Tally(cases, torch.ones(len(cases), predictor.k, dtype=torch.bool), measures)


def _reconstructed(predictor: CodedPredictor, late: int, measures: Measures) -> Tally:
    """Return a tally of reconstructed predictions only."""
    return Tally(*_cases(predictor, late), measures, more=True)


def _cases(predictor: CodedPredictor, late: int) -> tuple[Tensor, Tensor]:
    """Return arrival patterns, and the predictions to reconstruct: those of late workers, or all if not systematic."""
    if not predictor.systematic:
        cases = arrivals(predictor.n, late)
        return cases, torch.ones(len(cases), predictor.k, dtype=torch.bool)
    here = arrivals(predictor.k, min(late, predictor.k))
    cases = torch.cat([here, torch.ones(len(here), predictor.n - predictor.k, dtype=torch.bool)], dim=1)
    return cases, ~here


def _batches(k: int, split: ScoredSplit, seed: int, device: torch.device, workers: int) -> Iterator[GroupBatch]:
    sampler = GroupSampler(len(split.queries), k, GROUPS, seed, shuffle=False)
    loader = group_loader(GroupDataset(split.queries, split.predictions).to(device), sampler, workers)
    split.prepare.to(device)
    for batch in progress(loader, "scoring", len(sampler)):
        moved = GroupBatch(*(part.to(device) for part in batch))
        yield prepare_batch(moved, split.prepare)
