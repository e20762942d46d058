"""The plot of a comparison: reconstruction accuracy against extra resources, one row for each k."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from parmtrain import drawing
from parmtrain.compare.budget import cost_of, front
from parmtrain.compare.table import GUESS, Row

RESOURCES = {
    "flops": "extra FLOPs of a group ÷ FLOPs of F",
    "bytes": "bytes of a group's coded queries ÷ bytes of a query",
    "dispatches": "extra dispatches of a group",
}
STRAIGHT_UNDER = 0.1
TICKS = [0, *(round(step * 10.0**power, 1) for power in range(-1, 4) for step in (1, 2, 5))]
POINTS = [-80, -40, -20, -10, -5, -2, -1, -0.5, 0, 0.5, 1, 2, 5]
STYLES = [(colour, marker) for marker in "os^DvPX" for colour in colormaps["tab10"].colors[:7]]  # type: ignore[attr-defined]


def accuracy_against_resources(rows: Sequence[Row], measure: str, title: str, path: Path) -> None:
    """Plot how far each code's reconstructions are from the deployed model's own score, against what they cost.

    Each code has one colour and marker in all panels. The legend beside a row lists its codes with their A_d, the best
    first. The front is ringed: no code has a better A_d for as much of the resource or less.

    Args:
        rows: Rows of the table.
        measure: Name of the measure.
        title: Title of the figure.
        path: PNG to write.
    """
    groups: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        if row["late"] == 1 and row["code"] != GUESS:
            groups[row["k"]].append(row)
    every = sorted({_label(row, rows) for rows in groups.values() for row in rows})
    styles = {label: STYLES[number % len(STYLES)] for number, label in enumerate(every)}
    tallest = max(len(some) for some in groups.values())
    height = max(3.2, 0.19 * tallest + 0.8)
    figure = Figure(figsize=(15, height * len(groups) + 0.8), layout="constrained")
    grid = figure.subplots(len(groups), len(RESOURCES), squeeze=False, sharex="col")
    for line, (k, some) in zip(grid, sorted(groups.items()), strict=True):
        for axes, resource in zip(line, RESOURCES, strict=True):
            _panel(axes, some, resource, styles)
        line[0].set_ylabel(f"k = {k}\n$A_d − A_a$, points of {measure}")
        place = {"loc": "center left", "bbox_to_anchor": (1.02, 0.5), "frameon": False, "fontsize": "small"}
        line[-1].legend(handles=_legend(some, styles), **place)
    for axes, unit in zip(grid[-1], RESOURCES.values(), strict=True):
        axes.set_xlabel(unit)
    figure.suptitle(title)
    drawing.save(figure, path)


def _panel(axes: Axes, rows: Sequence[Row], resource: str, styles: dict[str, tuple[object, str]]) -> None:
    ringed = front(rows, resource)
    xs, ys = [cost_of(row)[resource] for row in ringed], [_points(row) for row in ringed]
    if xs:
        further = [*xs, 1.6 * max(xs)], [*ys, ys[-1]]
        axes.step(*further, where="post", color=drawing.GREY, linewidth=1, zorder=1)
    axes.plot(xs, ys, "o", markersize=13, markerfacecolor="none", markeredgecolor="black", zorder=2)
    for row in rows:
        x = cost_of(row)[resource]
        if x is not None:
            colour, marker = styles[_label(row, rows)]
            axes.plot(x, _points(row), marker, color=colour, markersize=7, zorder=3)
    axes.axhline(0, color="black", linestyle=":", linewidth=1)
    axes.set_xscale("symlog", linthresh=STRAIGHT_UNDER)
    axes.set_yscale("symlog", linthresh=0.5)
    every = [_points(row) for row in rows]
    axes.set_ylim(1.4 * min(-1, *every), max(0.4, *(1.4 * one for one in every)))
    for axis, ticks in ((axes.xaxis, TICKS), (axes.yaxis, POINTS)):
        axis.set_major_locator(FixedLocator(ticks))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter("{x:g}")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _legend(rows: Sequence[Row], styles: dict[str, tuple[object, str]]) -> list[Line2D]:
    """Return one entry for each code of a row of panels, the best first."""
    ordered = sorted(rows, key=lambda row: -row["degraded"])
    entries = [(styles[_label(row, rows)], f"{row['degraded']:.4f}  {_label(row, rows)}") for row in ordered]
    return [
        Line2D([], [], linestyle="", marker=marker, color=colour, label=label)  # type: ignore[arg-type]
        for (colour, marker), label in entries
    ]


def _points(row: Row) -> float:
    return float(100 * (row["degraded"] - row["available"]))


def _label(row: Row, rows: Sequence[Row]) -> str:
    """Return the name of a code, with r if it is there with several, and its variant."""
    several = len({other["r"] for other in rows if other["code"] == row["code"]}) > 1
    parts = [row["code"], f"r={row['r']}" if several else "", row["variant"]]
    return ", ".join(part for part in parts if part)
