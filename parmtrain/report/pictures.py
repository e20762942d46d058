"""Pictures of coding groups: queries, coded queries, and lost predictions next to reconstructed ones."""

from collections.abc import Sequence

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from parmtrain.codes import CodedPredictor, arrivals, decode_each
from parmtrain.drawing import BLACK, INCH, ORANGE, styled
from parmtrain.programs import Network
from parmtrain.tasks.base import Task
from parmtrain.tasks.decoded_group import DecodedGroup
from parmtrain.training.groups import GroupBatch

MOST_QUERIES, MOST_CODED = 8, 4  # that are drawn of one group
FEW, WIDE, NARROW = 4, 2.1, 1.15  # queries with room, and the width of one in inches with room and without
LARGEST, WIDTH = 11, 0.62  # of letters: points, and their width ÷ that


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


@styled()
def coding_groups(groups: Sequence[DecodedGroup], task: Task) -> Figure:
    """Draw one row per group: its queries, its coded queries, and the prediction of the lost query.

    The first row loses its first query, the second row its second one, and so on. Above each query stands what the
    task says of it, such as its true class.

    Args:
        groups: Groups of one code.
        task: Their task, which draws queries and predictions.
    """
    k, drawn = min(len(groups[0].queries), MOST_QUERIES), min(len(_parts(groups[0])), MOST_CODED)
    widths = [1.0] * (k + drawn) + [max(task.prediction_width, task.prediction_width * (k + drawn) / FEW)]
    wide = max(NARROW, WIDE * FEW / max(FEW, k + drawn))  # of one query, in inches
    figure = Figure(figsize=(wide * sum(widths), (wide + 1.0) * len(groups) + 0.7))
    grid = figure.subplots(len(groups), len(widths), squeeze=False, width_ratios=widths)
    for row, (frames, group) in enumerate(zip(grid, groups, strict=True)):
        lost = row % k
        for i, axes in enumerate(frames[:k]):
            about = task.caption(group.labels[i])
            title = f"query {i + 1}, lost" if i == lost else f"query {i + 1}"
            _query(axes, group.queries[i], task, f"{title}\n{about}" if about else title, wide, i == lost)
        for j, axes in enumerate(frames[k:-1]):
            _query(axes, _parts(group)[j], task, "parity query" if drawn == 1 else f"coded query {j + 1}", wide)
        frames[-1].grid(visible=False)
        task.draw_prediction(frames[-1], group, lost)
        frames[-1].set_title(f"prediction of query {lost + 1}")
    figure.suptitle("Each row is a coding group: one prediction is lost, and reconstructed from the other outputs")
    figure.legend(*grid[0, -1].get_legend_handles_labels(), loc="outside lower right", ncols=3)
    return figure


def _query(axes: Axes, query: Tensor, task: Task, title: str, wide: float, lost: bool = False) -> None:
    """Draw a query below what it is; a lost one has a thick rim."""
    task.input.draw(axes, query)
    letters = max(map(len, title.split("\n")))
    axes.set_title(
        title, color=ORANGE if lost else BLACK, loc="center", fontsize=min(LARGEST, wide * INCH / WIDTH / letters)
    )
    axes.spines[:].set(visible=True, color=ORANGE if lost else BLACK, linewidth=2.5 if lost else 0.8)


def _parts(group: DecodedGroup) -> Tensor:
    """Return the coded queries of a group, those of a batch one by one."""
    coded = group.coded_queries
    return coded.flatten(0, 1) if coded.dim() > group.queries.dim() else coded
