"""Plots of one run."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, MultipleLocator, NullFormatter

from parmtrain.drawing import BLUE, GREY, ORANGE, finish, save
from parmtrain.metrics import functional
from parmtrain.metrics.measures import AGREEMENT
from parmtrain.report.metrics_json import RunRecord, best_epoch

MOST_UNAVAILABLE = 0.2


def training_curves(epochs: Sequence[dict[str, float]], measure: str, path: Path) -> None:
    """Plot the losses and the validation metrics of every epoch.

    Args:
        epochs: Recorded epochs, as in ``History.epochs``.
        measure: Name of the task's main measure.
        path: PNG to write.
    """
    figure = Figure(figsize=(9, 4), layout="constrained")
    chosen_by = f"val/degraded_{measure}"
    losses, accuracies = figure.subplots(1, 2)
    numbers = [epoch["epoch"] + 1 for epoch in epochs]
    for axes, name, label, colour in (
        (losses, "train/loss", "training", GREY),
        (losses, "val/loss", "validation", BLUE),
        *([(accuracies, chosen_by, f"degraded-mode {measure} $A_d$", BLUE)] if measure != AGREEMENT else []),
        (accuracies, "val/agreement", "agreement with the deployed model", ORANGE),
    ):
        axes.plot(numbers, [epoch.get(name, np.nan) for epoch in epochs], label=label, color=colour)
    losses.set(title="Loss", xlabel="epoch", yscale="log")
    accuracies.set(title="Validation split", xlabel="epoch")
    best = best_epoch(epochs, f"degraded_{measure}")
    if best is not None and best.epoch is not None:
        accuracies.plot(best.epoch + 1, best.value, "o", color=BLUE, label="best epoch")
    losses.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    losses.yaxis.set_major_formatter("{x:g}")
    for axes in (losses, accuracies):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_minor_formatter(NullFormatter())
        finish(axes)
    save(figure, path)


def overall_accuracy(record: RunRecord, path: Path) -> None:
    """Plot A_o against the fraction of unavailable predictions, compared with the default answer.

    Args:
        record: Record of the run.
        path: PNG to write.
    """
    scores, measure = record.scores, record.scores.measure
    available = scores.available[measure]
    unavailable = np.linspace(0, MOST_UNAVAILABLE, 41)
    figure = Figure(figsize=(5.6, 3.8), layout="constrained")
    axes = figure.subplots()
    for answer, label, colour, style in (
        (scores.degraded.main, f"code={record.code}, k={record.scheme.k}", BLUE, "-"),
        (scores.default[measure], "default answer", GREY, "--"),
    ):
        axes.plot(
            unavailable,
            [functional.overall_accuracy(available, answer, share) for share in unavailable],
            style,
            label=label,
            color=colour,
        )
    axes.set(
        title=record.task,
        xlabel="fraction of predictions unavailable $f_u$",
        ylabel=f"overall {measure}" + (" $A_o$" if scores.labelled else " with the deployed model"),
        xlim=(0, MOST_UNAVAILABLE),
    )
    axes.xaxis.set_major_locator(MultipleLocator(0.05))
    axes.xaxis.set_major_formatter("{x:.0%}")
    finish(axes)
    save(figure, path)
