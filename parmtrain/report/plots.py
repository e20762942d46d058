"""Plots of one run."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, MultipleLocator, NullFormatter

from parmtrain.drawing import BLACK, BLUE, GREY, ORANGE, finish, save, styled
from parmtrain.metrics import functional
from parmtrain.metrics.measures import AGREEMENT
from parmtrain.report.metrics_json import RunRecord, best_epoch

MOST_UNAVAILABLE = 0.2
MOST_MARKED = 25  # epochs; more get fewer markers


@styled()
def training_curves(epochs: Sequence[dict[str, float]], measure: str, path: Path) -> None:
    """Plot the losses and the validation metrics of every epoch.

    Args:
        epochs: Recorded epochs, as in ``History.epochs``.
        measure: Name of the task's main measure.
        path: PNG to write.
    """
    figure = Figure(figsize=(9, 4.2))
    losses, scores = figure.subplots(1, 2)
    _curve(losses, epochs, "train/loss", "training split", GREY, "s--")
    _curve(losses, epochs, "val/loss", "validation split", BLUE, "o-")
    losses.set(title="Loss of the parity models", ylabel="loss, log scale", yscale="log")
    if measure != AGREEMENT:
        _curve(scores, epochs, f"val/degraded_{measure}", f"degraded-mode {measure} $A_d$", BLUE, "o-")
    _curve(scores, epochs, "val/agreement", "agreement with the deployed model", ORANGE, "D-.")
    best = best_epoch(epochs, f"degraded_{measure}")
    if best is not None and best.epoch is not None:
        ring = {"markersize": 12, "markerfacecolor": "none", "markeredgewidth": 1.5, "clip_on": False}
        scores.plot(best.epoch + 1, best.value, "o", color=BLACK, **ring, label="best epoch, which is kept")
    scores.set(title="Reconstructions on the validation split", ylabel="mean over lost predictions")
    losses.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    losses.yaxis.set_major_formatter("{x:g}")
    losses.yaxis.set_minor_formatter(NullFormatter())
    for axes in (losses, scores):
        axes.set(xlabel="epoch", xlim=(0.5, max(epoch["epoch"] for epoch in epochs) + 1.5))
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
        finish(axes)
    save(figure, path)


def _curve(axes: Axes, epochs: Sequence[dict[str, float]], name: str, label: str, colour: str, look: str) -> None:
    numbers = [epoch["epoch"] + 1 for epoch in epochs]
    values = [epoch.get(name, np.nan) for epoch in epochs]
    axes.plot(numbers, values, look, label=label, color=colour, markevery=1 + len(epochs) // MOST_MARKED)


@styled()
def overall_accuracy(record: RunRecord, path: Path) -> None:
    """Plot A_o against the fraction of unavailable predictions, compared with the default answer.

    Args:
        record: Record of the run.
        path: PNG to write.
    """
    scores, measure = record.scores, record.scores.measure
    available = scores.available[measure]
    unavailable = np.linspace(0, MOST_UNAVAILABLE, 41)
    figure = Figure(figsize=(6.4, 4.6))
    axes = figure.subplots()
    for answer, label, colour, look in (
        (scores.degraded.main, f"reconstructed, code={record.code}, k={record.scheme.k}", BLUE, "o-"),
        (scores.default[measure], "default answer", GREY, "s--"),
    ):
        shares = [functional.overall_accuracy(available, answer, share) for share in unavailable]
        axes.plot(unavailable, shares, look, label=label, color=colour, markevery=10)
    axes.set(
        title=f"{record.task}: overall {measure} when predictions are unavailable",
        xlabel="share of predictions unavailable $f_u$",
        ylabel=f"overall {measure}" + (" $A_o$" if scores.labelled else " with the deployed model"),
        xlim=(0, 1.02 * MOST_UNAVAILABLE),
    )
    axes.xaxis.set_major_locator(MultipleLocator(0.05))
    axes.xaxis.set_major_formatter("{x:.0%}")
    finish(axes)
    save(figure, path)
