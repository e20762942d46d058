"""Pictures of coding groups: queries, what they are coded into, and lost predictions beside rebuilt ones."""

from collections.abc import Sequence

import torch
from matplotlib.figure import Figure

from parmtrain.codes import arrivals, decode_each
from parmtrain.drawing import ORANGE
from parmtrain.evaluation.score import Coded
from parmtrain.tasks.base import Task
from parmtrain.tasks.decoded_group import DecodedGroup
from parmtrain.training.groups import GroupBatch

MOST_CODED = 4


@torch.no_grad()
def decoded_groups(coded: Coded, batch: GroupBatch) -> list[DecodedGroup]:
    """Run a batch of groups, prepared and with the deployed model's predictions, and decode each of these as if lost.

    Args:
        coded: A module or an exported bundle, in evaluation mode.
        batch: The groups, on its device.
    """
    assert batch.predictions is not None
    coded_queries = coded.encode(batch.queries)
    outputs = coded.gather(batch.predictions, coded.predict(coded_queries))
    decoded = decode_each(coded.decode, outputs, arrivals(coded.n, late=1)[: coded.k])
    rebuilt = decoded.diagonal(dim1=1, dim2=2).movedim(-1, 1)
    parts = (batch.queries, coded_queries, batch.labels, batch.predictions, rebuilt)
    return [DecodedGroup(*group) for group in zip(*(part.cpu() for part in parts), strict=True)]


def coding_groups(groups: Sequence[DecodedGroup], task: Task) -> Figure:
    """Draw a row for each group: its queries, its coded queries, and the prediction of the one that is lost.

    The first row loses its first query, the second row its second one, and so on.

    Args:
        groups: Groups of one code.
        task: Their task, which draws queries and predictions.
    """
    k, drawn = len(groups[0].queries), min(len(groups[0].coded_queries), MOST_CODED)
    widths = [1.0] * (k + drawn) + [task.prediction_width]
    figure = Figure(figsize=(2.2 * sum(widths), 2.4 * len(groups)), layout="constrained")
    grid = figure.subplots(len(groups), len(widths), squeeze=False, width_ratios=widths)
    for row, (frames, group) in enumerate(zip(grid, groups, strict=True)):
        lost = row % k
        for i, axes in enumerate(frames[:k]):
            task.input.draw(axes, group.queries[i])
            axes.set_title(f"query {i + 1}, lost" if i == lost else f"query {i + 1}", color=_colour(i == lost))
        for j, axes in enumerate(frames[k:-1]):
            task.input.draw(axes, group.coded_queries[j])
            axes.set_title("parity query" if drawn == 1 else f"coded query {j + 1}")
        task.draw_prediction(frames[-1], group, lost)
        frames[-1].set_title(f"prediction of query {lost + 1}")
    figure.legend(*grid[0, -1].get_legend_handles_labels(), loc="outside lower right", ncols=3, frameon=False)
    return figure


def _colour(lost: bool) -> str:
    return ORANGE if lost else "black"
