"""Plot how far the reconstructions of a run can be trusted."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from parmtrain.drawing import BLUE, GREY, ORANGE, finish, save, styled
from parmtrain.evaluation.certainty import Certainty
from parmtrain.metrics.reliability import Reliability
from parmtrain.report.metrics_json import RunRecord


@styled()
def confidence_plot(record: RunRecord, path: Path) -> None:
    """Plot what the most confident reconstructions are worth, and what each promise accepts, on the test split.

    Args:
        record: Record of the run; its scores say how far reconstructions can be trusted with one late worker.
        path: PNG to write.
    """
    given, measure = record.scores.certainty[0], record.scores.measure
    figure = Figure(figsize=(9, 4.6))
    agreements, values = figure.subplots(1, 2)
    _curve(agreements, given.agreement, "the most confident reconstructions", BLUE, "-")
    _promises(agreements, given)
    agreements.set(title="Agreement with the deployed model", ylabel="share that agrees")
    _curve(values, given.value, "reconstructions, by their confidence", BLUE, "-")
    if given.own is not None and record.scores.labelled:
        _curve(values, given.own, "the deployed model, by its own", GREY, "--")
    values.set(title=measure[:1].upper() + measure[1:], ylabel=measure)
    for axes in (agreements, values):
        axes.set(xlabel="share taken, most confident first", xlim=(0, 1.04))
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        finish(axes)
    run = f"{record.task}, code={record.code}, k={record.scheme.k}"
    figure.suptitle(f"{run}: how far reconstructions can be trusted (test split)")
    save(figure, path)


def _curve(axes: Axes, given: Reliability, label: str, colour: str, style: str) -> None:
    shares, worth = list(given.most_confident), list(given.most_confident.values())
    axes.plot(shares, worth, style, label=label, color=colour)


def _promises(axes: Axes, given: Certainty) -> None:
    """Mark the share that each promise accepts, at what it promised and at what it kept, and join the two."""
    known = [(one.share, least, one.agreement) for least, one in given.promised.items() if one.agreement is not None]
    shares, promised, kept = zip(*known, strict=True) if known else ((), (), ())
    axes.vlines(shares, promised, kept, color=ORANGE, linewidth=1, linestyle=":")
    axes.plot(shares, promised, "_", color=ORANGE, markersize=14, markeredgewidth=2, label="agreement promised")
    axes.plot(shares, kept, "o", color=ORANGE, label="agreement kept")
