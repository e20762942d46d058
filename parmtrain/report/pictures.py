"""Pictures of coding groups: queries, coded queries, and lost predictions next to reconstructed ones."""

from collections.abc import Sequence

import torch
from matplotlib.figure import Figure
from torch import Tensor

from parmtrain.codes import CodedPredictor, arrivals, decode_each
from parmtrain.drawing import ORANGE
from parmtrain.programs import Network
from parmtrain.tasks.base import Task
from parmtrain.tasks.decoded_group import DecodedGroup
from parmtrain.training.groups import GroupBatch

MOST_QUERIES, MOST_CODED = 8, 4  # that are drawn of one group


@torch.no_grad()
def decoded_groups(predictor: CodedPredictor, deployed: Network, batch: GroupBatch) -> list[DecodedGroup]:
    """Run a batch of prepared groups, and decode each of the deployed model's predictions as if it were lost.

    Args:
        predictor: A module or an exported bundle, in evaluation mode.
        deployed: The deployed model.
        batch: The groups, on the device of both.
    """
    predictions = deployed(batch.queries.flatten(0, 1)).unflatten(0, batch.queries.shape[:2])
    coded_queries = predictor.encode(batch.queries)
    outputs = predictor.gather(predictions, predictor.predict(coded_queries))
    decoded = decode_each(predictor.decode, outputs, arrivals(predictor.n, late=1)[: predictor.k])
    rebuilt = decoded.diagonal(dim1=1, dim2=2).movedim(-1, 1)
    parts = (batch.queries, coded_queries, batch.labels, predictions, rebuilt)
    return [DecodedGroup(*group) for group in zip(*(part.cpu() for part in parts), strict=True)]


def coding_groups(groups: Sequence[DecodedGroup], task: Task) -> Figure:
    """Draw one row per group: its queries, its coded queries, and the prediction of the lost query.

    The first row loses its first query, the second row its second one, and so on.

    Args:
        groups: Groups of one code.
        task: Their task, which draws queries and predictions.
    """
    k, drawn = min(len(groups[0].queries), MOST_QUERIES), min(len(_parts(groups[0])), MOST_CODED)
    widths = [1.0] * (k + drawn) + [task.prediction_width]
    figure = Figure(figsize=(2.2 * sum(widths), 2.4 * len(groups)), layout="constrained")
    grid = figure.subplots(len(groups), len(widths), squeeze=False, width_ratios=widths)
    for row, (frames, group) in enumerate(zip(grid, groups, strict=True)):
        lost = row % k
        for i, axes in enumerate(frames[:k]):
            task.input.draw(axes, group.queries[i])
            axes.set_title(f"query {i + 1}, lost" if i == lost else f"query {i + 1}", color=_colour(i == lost))
        for j, axes in enumerate(frames[k:-1]):
            task.input.draw(axes, _parts(group)[j])
            axes.set_title("parity query" if drawn == 1 else f"coded query {j + 1}")
        task.draw_prediction(frames[-1], group, lost)
        frames[-1].set_title(f"prediction of query {lost + 1}")
    figure.legend(*grid[0, -1].get_legend_handles_labels(), loc="outside lower right", ncols=3, frameon=False)
    return figure


def _parts(group: DecodedGroup) -> Tensor:
    """Return the coded queries of a group, those of a batch one by one."""
    coded = group.coded_queries
    return coded.flatten(0, 1) if coded.dim() > group.queries.dim() else coded


def _colour(lost: bool) -> str:
    return ORANGE if lost else "black"
