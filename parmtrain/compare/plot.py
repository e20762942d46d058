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
from parmtrain.compare.plan import AUTO
from parmtrain.compare.table import GUESS, Row
from parmtrain.config.sources import options

RESOURCES = {
    "flops": "extra FLOPs of a group ÷ FLOPs of F",
    "bytes": "bytes of a group's coded queries ÷ bytes of a query",
    "dispatches": "extra dispatches of a group",
}
STRAIGHT_UNDER = 0.1
TICKS = [0, *(round(step * 10.0**power, 1) for power in range(-1, 4) for step in (1, 2, 5))]
POINTS = [-80, -40, -20, -10, -5, -2, -1, -0.5, 0, 0.5, 1, 2, 5]
COLOURS = [colour for name in ("tab20", "Dark2") for colour in colormaps[name].colors]  # type: ignore[attr-defined]
APART = 15  # printer's points between the centres of two markers


def accuracy_against_resources(rows: Sequence[Row], measure: str, title: str, path: Path) -> None:
    """Plot how far each code's reconstructions are from the deployed model's own score, against what they cost.

    Beside each row of panels, its codes are listed by their A_d, the best first, and numbered so in its panels. Each of
    parmtrain's codes has one colour in all figures. A dot is where a code belongs; where numbers would hide each other,
    they are moved aside, and a line leads to the dot. The front has black rims: no code has a better A_d for as much of
    the resource or less.

    Args:
        rows: Rows of the table.
        measure: Name of the measure.
        title: Title of the figure.
        path: PNG to write.
    """
    groups: dict[int, list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: -row["degraded"]):
        if row["late"] == 1 and row["code"] != GUESS:
            groups[row["k"]].append(row)
    ours = [name for name in options("code") if name != AUTO]
    colours = {name: COLOURS[number % len(COLOURS)] for number, name in enumerate(_in_order(ours, rows))}
    tallest = max(len(some) for some in groups.values())
    height = max(3.4, 0.2 * tallest + 0.8)
    figure = Figure(figsize=(15, height * len(groups) + 0.8), layout="constrained")
    grid = figure.subplots(len(groups), len(RESOURCES), squeeze=False, sharex="col")
    for line, (k, some) in zip(grid, sorted(groups.items()), strict=True):
        for axes, resource in zip(line, RESOURCES, strict=True):
            _frame(axes, some, resource)
        line[0].set_ylabel(f"k = {k}\n$A_d − A_a$, points of {measure}")
        place = {"loc": "center left", "bbox_to_anchor": (1.02, 0.5), "frameon": False, "fontsize": "small"}
        line[-1].legend(handles=_legend(some, rows, colours), **place)
    for axes, unit in zip(grid[-1], RESOURCES.values(), strict=True):
        axes.set_xlabel(unit)
    figure.suptitle(f"{title}\na number beside a dot belongs to the dot")
    drawing.settle(figure)
    for line, (_, some) in zip(grid, sorted(groups.items()), strict=True):
        for axes, resource in zip(line, RESOURCES, strict=True):
            _markers(axes, some, resource, colours)
    drawing.save(figure, path)


def _frame(axes: Axes, rows: Sequence[Row], resource: str) -> None:
    """Draw the axes of a panel and the steps of the front."""
    ringed = front(rows, resource)
    xs, ys = [cost_of(row)[resource] for row in ringed], [_points(row) for row in ringed]
    if xs:
        further = [*xs, 1.6 * max(xs)], [*ys, ys[-1]]
        axes.step(*further, where="post", color=drawing.GREY, linewidth=1, zorder=1)
    axes.axhline(0, color="black", linestyle=":", linewidth=1)
    axes.set_xscale("symlog", linthresh=STRAIGHT_UNDER)
    axes.set_yscale("symlog", linthresh=0.5, linscale=0.4)
    every = [_points(row) for row in rows]
    axes.set_ylim(1.6 * min(-1, *every), max(0.3, *(1.6 * one for one in every)))
    axes.set_xlim(-0.02, 2.5 * max(1, *(cost_of(row)[resource] or 0 for row in rows)))
    for axis, ticks in ((axes.xaxis, TICKS), (axes.yaxis, POINTS)):
        axis.set_major_locator(FixedLocator(ticks))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter("{x:g}")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _markers(axes: Axes, rows: Sequence[Row], resource: str, colours: dict[str, object]) -> None:
    """Draw a numbered marker for each row, beside its place where another one is there."""
    ringed = front(rows, resource)
    known = [(number, row) for number, row in enumerate(rows, 1) if cost_of(row)[resource] is not None]
    places = [(cost_of(row)[resource], _points(row)) for _, row in known]
    shifts = drawing.shifts_in(axes, places, APART)
    for (number, row), place, shift in zip(known, places, shifts, strict=True):
        axes.plot(*place, ".", color=colours[row["code"]], markersize=4, zorder=2)
        rim = {"edgecolor": "black", "linewidth": 1.8} if row in ringed else {"edgecolor": "white", "linewidth": 0.5}
        axes.annotate(
            f"{number}",
            place,
            shift,
            textcoords="offset points",
            ha="center",
            va="center",
            color=drawing.on(colours[row["code"]]),
            fontsize=7,
            fontweight="bold",
            bbox={"boxstyle": f"circle,pad={0.3 if number < 10 else 0.1}", "facecolor": colours[row["code"]], **rim},
            arrowprops=None if shift == (0, 0) else {"arrowstyle": "-", "color": drawing.GREY, "linewidth": 0.8},
            annotation_clip=False,
            zorder=3,
        ).set_in_layout(False)


def _in_order(ours: Sequence[str], rows: Sequence[Row]) -> list[str]:
    """Return the names of all of parmtrain's codes, and then those of others."""
    return [*ours, *sorted({row["code"] for row in rows}.difference(ours))]


def _legend(rows: Sequence[Row], every: Sequence[Row], colours: dict[str, object]) -> list[Line2D]:
    """Return one entry for each code of a row of panels."""
    texts = (f"{number:>2}  {row['degraded']:.4f}  {_label(row, every)}" for number, row in enumerate(rows, 1))
    return [
        Line2D([], [], linestyle="", marker="o", color=colours[row["code"]], label=text)  # type: ignore[arg-type]
        for row, text in zip(rows, texts, strict=True)
    ]


def _points(row: Row) -> float:
    return float(100 * (row["degraded"] - row["available"]))


def _label(row: Row, rows: Sequence[Row]) -> str:
    """Return the name of a code, with r if it is there with several, and its variant."""
    several = len({other["r"] for other in rows if other["code"] == row["code"]}) > 1
    parts = [row["code"], f"r={row['r']}" if several else "", row["variant"]]
    return ", ".join(part for part in parts if part)
