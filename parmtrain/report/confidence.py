"""Plot how far the reconstructions of a run can be trusted."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from parmtrain.drawing import BLUE, GREY, ORANGE, finish, save
from parmtrain.evaluation.certainty import Certainty
from parmtrain.metrics.reliability import Reliability
from parmtrain.report.metrics_json import RunRecord


def confidence_plot(record: RunRecord, path: Path) -> None:
    """Plot what the most confident reconstructions are worth, and what each promise accepts, on the test split.

    Args:
        record: Record of the run; its scores say how far reconstructions can be trusted with one late worker.
        path: PNG to write.
    """
    given, measure = record.scores.certainty[0], record.scores.measure
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    agreements, values = figure.subplots(1, 2)
    _curve(agreements, given.agreement, f"code={record.code}, k={record.scheme.k}", BLUE)
    _promises(agreements, given)
    agreements.set(ylabel="their agreement with the deployed model")
    _curve(values, given.value, "reconstructions, by their confidence", BLUE)
    if given.own is not None and record.scores.labelled:
        _curve(values, given.own, "the deployed model, by its own", GREY)
    values.set(ylabel=f"their {measure}")
    for axes in (agreements, values):
        axes.set(xlabel="share taken, most confident first", xlim=(0, 1.02))
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        finish(axes)
    save(figure, path)


def _curve(axes: Axes, given: Reliability, label: str, colour: str) -> None:
    axes.plot(list(given.most_confident), list(given.most_confident.values()), label=label, color=colour)


def _promises(axes: Axes, given: Certainty) -> None:
    """Mark the share that each promise accepts, at what it promised and at what it kept."""
    known = [(one.share, least, one.agreement) for least, one in given.promised.items() if one.agreement is not None]
    shares, promised, kept = zip(*known, strict=True) if known else ((), (), ())
    axes.plot(shares, promised, "_", color=ORANGE, markersize=14, label="promised")
    axes.plot(shares, kept, "o", color=ORANGE, label="kept")
