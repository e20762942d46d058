"""The plot of a comparison: accuracy against extra resources."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import cycle, product
from pathlib import Path
from typing import Any

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from parmtrain.compare.table import GUESS, Row
from parmtrain.files import replacing

STYLES = [
    (colormaps[palette](number), marker)
    for palette, marker, colours in (("tab10", "o", 10), ("Dark2", "D", 8), ("Set1", "^", 9))
    for number in range(colours)
]
ACCURACIES = {"degraded": "reconstructed predictions only, $A_d$", "all_k": "all k predictions, one straggler"}
RESOURCES = {"workers": "extra workers per query", "arithmetic": "extra arithmetic per query ÷ that of F"}
STRAIGHT_UNDER = 0.1
TICKS = [0, 0.05, *(round(step * 10.0**power, 1) for power in range(-1, 4) for step in (1, 2, 3, 5))]


def accuracy_against_resources(rows: Sequence[Row], available: float, title: str, path: Path) -> None:
    """Plot each code's accuracy with one straggler against its cost, with a line through its values of k.

    Args:
        rows: Rows of the table.
        available: A_a, drawn as a line.
        title: Title of the figure.
        path: PNG to write.
    """
    shown = sorted((row for row in rows if row["late"] == 1), key=lambda row: row["k"])
    codes: dict[str, list[Row]] = defaultdict(list)
    for row in shown:
        codes[_label(row, shown)].append(row)
    figure = Figure(figsize=(13, 10), layout="constrained")
    grid = figure.subplots(2, 2, sharex="col", sharey="row")
    for (i, (accuracy, meaning)), (j, (resource, unit)) in product(
        enumerate(ACCURACIES.items()), enumerate(RESOURCES.items())
    ):
        axes = grid[i, j]
        for (colour, marker), (label, points) in zip(cycle(STYLES), sorted(codes.items()), strict=False):
            _draw(axes, points, resource, accuracy, {"label": label, "color": colour, "marker": marker})
        axes.axhline(available, color="black", linestyle=":", linewidth=1)
        axes.text(0.01, available, "$A_a$", transform=axes.get_yaxis_transform(), ha="left", va="bottom")
        axes.set_xscale("symlog", linthresh=STRAIGHT_UNDER)
        axes.xaxis.set_major_locator(FixedLocator(TICKS))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set(xlabel=unit if i else "", ylabel="" if j else meaning)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside right upper", frameon=False)
    figure.suptitle(f"{title}: the number at each point is k")
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=130)


def _draw(axes: Axes, points: Sequence[Row], resource: str, accuracy: str, style: dict[str, Any]) -> None:
    known = [(x, row[accuracy], row["k"]) for row in points if (x := _resource(row, resource)) is not None]
    xs, ys = [x for x, _, _ in known], [y for _, y, _ in known]
    axes.plot(xs, ys, "--" if style["label"] == GUESS else "-", linewidth=1, markersize=6, **style)
    for x, y, k in known:
        axes.annotate(str(k), (x, y), xytext=(4, 3), textcoords="offset points", fontsize=8, color=style["color"])


def _resource(row: Row, resource: str) -> float | None:
    if resource == "workers":
        return float(row["extra_workers"])
    if row["parity_flops"] is None:
        return None
    return float((row["parity_flops"] + row["encoder_flops"]) / row["k"])


def _label(row: Row, rows: Sequence[Row]) -> str:
    """Return the label of a row's line, with r if its code occurs with several r at this k."""
    several = len({other["r"] for other in rows if (other["code"], other["k"]) == (row["code"], row["k"])}) > 1
    parts = [row["code"], f"r={row['r']}" if several else "", row["variant"]]
    return ", ".join(part for part in parts if part)
