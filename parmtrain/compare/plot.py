"""The plot of a comparison: accuracy against extra resources."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from parmtrain.compare.table import GUESS, Row
from parmtrain.files import replacing

MARKERS = "osD^vP*X<>hdp8"
ACCURACIES = {"degraded": "reconstructed predictions alone, $A_d$", "all_k": "all k predictions, one straggler"}
RESOURCES = {"workers": "extra workers for each query", "arithmetic": "extra arithmetic for each query ÷ that of F"}
LEAST = 0.02


def accuracy_against_resources(rows: Sequence[Row], available: float, title: str, path: Path) -> None:
    """Plot each code's accuracy with one late worker against what it costs, a line through its values of k.

    Args:
        rows: Rows of the table.
        available: A_a, drawn as a line.
        title: Title of the figure.
        path: PNG to write.
    """
    rows = [row for row in rows if row["late"] == 1]
    labels = list(dict.fromkeys(_label(row) for row in rows))
    colours = mpl.colormaps["tab20"].resampled(max(len(labels), 1))
    figure = Figure(figsize=(13, 9), layout="constrained")
    grid = figure.subplots(2, 2, sharex="col", sharey="row")
    for line, (accuracy, meaning) in zip(grid, ACCURACIES.items(), strict=True):
        for axes, (resource, unit) in zip(line, RESOURCES.items(), strict=True):
            for number, label in enumerate(labels):
                points = sorted((row for row in rows if _label(row) == label), key=lambda row: row["k"])
                _draw(axes, points, resource, accuracy, label, colours(number), MARKERS[number % len(MARKERS)])
            axes.axhline(available, color="black", linestyle=":", linewidth=1)
            axes.set(xscale="log", xlabel=unit if line is grid[-1] else "", ylabel=meaning if axes is line[0] else "")
            axes.grid(alpha=0.25)
            axes.spines[["top", "right"]].set_visible(False)
            axes.xaxis.set_major_formatter("{x:g}")
    grid[0][0].annotate(
        "deployed model, $A_a$", (1, available), xycoords=("axes fraction", "data"), ha="right", va="bottom"
    )
    figure.legend(*grid[0][0].get_legend_handles_labels(), loc="outside right upper", frameon=False)
    figure.suptitle(f"{title}: the number beside a point is k")
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=130)


def _draw(
    axes: Axes, points: Sequence[Row], resource: str, accuracy: str, label: str, colour: object, marker: str
) -> None:
    known = [(x, row) for row in points if (x := _resource(row, resource)) is not None]
    xs, ys = [max(x, LEAST) for x, _ in known], [row[accuracy] for _, row in known]
    style = "--" if label == GUESS else "-"
    axes.plot(xs, ys, style, marker=marker, color=colour, label=label, linewidth=1, markersize=6)
    for x, y, (_, row) in zip(xs, ys, known, strict=True):
        axes.annotate(str(row["k"]), (x, y), xytext=(4, 3), textcoords="offset points", fontsize=7, color=colour)


def _resource(row: Row, resource: str) -> float | None:
    if resource == "workers":
        return float(row["extra_workers"])
    if row["parity_flops"] is None:
        return None
    return float((row["parity_flops"] + row["encoder_flops"]) / row["k"])


def _label(row: Row) -> str:
    more = f", {row['variant']}" if row["variant"] else ""
    return f"{row['code']}, r={row['r']}{more}" if row["code"] == "linear" else f"{row['code']}{more}"
