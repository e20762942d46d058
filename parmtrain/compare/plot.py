"""The plot of a comparison: reconstruction accuracy against extra resources, one row for each k."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from parmtrain import drawing
from parmtrain.compare.budget import cost_of, front
from parmtrain.compare.plan import AUTO
from parmtrain.compare.table import GUESS, Row
from parmtrain.config.sources import options
from parmtrain.marks import Mark, draw_marks, shape

RESOURCES = {
    "flops": "extra FLOPs of a group\n÷ FLOPs of F",
    "bytes": "bytes of a group's coded queries\n÷ bytes of a query",
    "dispatches": "extra dispatches of a group\n(queries sent beyond its own)",
}
STRAIGHT_UNDER = 0.1
POINTS = [-80, -40, -20, -10, -5, -2, -1, -0.5, 0, 0.5, 1, 2, 5]
HOW = "a line leads from a number to its dot; black rims: no code is better at the same cost or less"
WIDE = 12  # inches
MOST_LETTERS, MOST_SMALL, SMALL = 34, 44, 8  # of a line in the list of codes, and of one in small print
BEYOND = 1e3  # the right edge of every panel
FINE_UP_TO = 6.0  # of a resource: ticks at 1, 2 and 5


@drawing.styled()
def accuracy_against_resources(rows: Sequence[Row], measure: str, title: str, path: Path) -> None:
    """Plot how far each code's reconstructions are from the deployed model's own score, against what they cost.

    Beside each row of panels, its codes are listed by their A_d, the best first, and numbered so in its panels. Each of
    parmtrain's codes has one shape and colour in all figures. A mark is where its code belongs; where marks would hide
    each other, they are moved aside, and a line leads to the dot. The front has black rims: no code has a better A_d
    for as much of the resource or less.

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
    looks = {name: shape(number) for number, name in enumerate(_in_order(ours, rows))}
    texts = {k: _texts(some, rows) for k, some in groups.items()}
    small = any("\n" in text for some in texts.values() for text in some)
    if small:
        texts = {k: _texts(some, rows, MOST_SMALL) for k, some in groups.items()}
    tallest = max(sum(text.count("\n") + 1 for text in some) for some in texts.values())
    height = max(3.6, (0.16 if small else 0.23) * tallest + 0.6)
    place = {"loc": "center left", "bbox_to_anchor": (1.02, 0.5), "handlelength": 1.4, "title": "code, $A_d$ and name"}
    place |= {"fontsize": SMALL} if small else {}
    figure = Figure(figsize=(WIDE, height * len(groups) + 1.2))
    grid = figure.subplots(len(groups), len(RESOURCES), squeeze=False, sharex="col")
    for line, (k, some) in zip(grid, sorted(groups.items()), strict=True):
        for axes, resource in zip(line, RESOURCES, strict=True):
            _frame(axes, some, resource)
        line[0].set_ylabel(f"$A_d − A_a$, points of {measure}")
        line[0].set_title(f"groups of k = {k}", fontweight="bold")
        handles = [
            Line2D([], [], **looks[row["code"]], linestyle="", label=text)
            for row, text in zip(some, texts[k], strict=True)
        ]
        line[-1].legend(handles=handles, **place)
    for axes, (resource, unit) in zip(grid[-1], RESOURCES.items(), strict=True):
        axes.set_xlabel(unit)
        _ticks(axes, [cost_of(row)[resource] or 0 for some in groups.values() for row in some])
    about = title.replace("A_a", "$A_a$").replace("A_d", "$A_d$")
    figure.suptitle(
        f"{about}\nhow far reconstructions $A_d$ are from the deployed model $A_a$, and what they cost\n{HOW}"
    )
    panels = [
        (axes, _marks(some, resource, looks))
        for line, (_, some) in zip(grid, sorted(groups.items()), strict=True)
        for axes, resource in zip(line, RESOURCES, strict=True)
    ]
    draw_marks(panels)
    drawing.save(figure, path)


def _frame(axes: Axes, rows: Sequence[Row], resource: str) -> None:
    """Draw the axes of a panel and the steps of the front."""
    ringed = front(rows, resource)
    xs, ys = [cost_of(row)[resource] for row in ringed], [_points(row) for row in ringed]
    if xs:
        further = [*xs, BEYOND * (1 + max(xs))], [*ys, ys[-1]]
        axes.plot(*further, drawstyle="steps-post", color=drawing.GREY, linestyle="-", marker="", linewidth=1, zorder=1)
    axes.axhline(0, color="black", linestyle=":", linewidth=1)
    axes.set_xscale("symlog", linthresh=STRAIGHT_UNDER)
    axes.set_yscale("symlog", linthresh=0.5, linscale=0.4)
    every = [_points(row) for row in rows]
    axes.set_ylim(1.6 * min(-1, *every), max(0.3, *(1.6 * one for one in every)))
    axes.set_xlim(-0.02, 2.5 * max(1, *(cost_of(row)[resource] or 0 for row in rows)))
    axes.yaxis.set_major_locator(FixedLocator(POINTS))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter("{x:g}")


def _ticks(axes: Axes, costs: Sequence[float]) -> None:
    """Put ticks on the axis of a resource, fewer where it reaches far."""
    steps = (1, 2, 5) if max(costs) <= FINE_UP_TO else (1,)
    ticks = [0, *(round(step * 10.0**power, 1) for power in range(-1, 5) for step in steps)]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:g}")


def _marks(rows: Sequence[Row], resource: str, looks: dict[str, dict[str, Any]]) -> list[Mark]:
    """Return a numbered mark for each row whose cost is known."""
    ringed = front(rows, resource)
    return [
        Mark((cost, _points(row)), number, looks[row["code"]], row in ringed)
        for number, row in enumerate(rows, 1)
        if (cost := cost_of(row)[resource]) is not None
    ]


def _in_order(ours: Sequence[str], rows: Sequence[Row]) -> list[str]:
    """Return the names of all of parmtrain's codes, and then those of others."""
    return [*ours, *sorted({row["code"] for row in rows}.difference(ours))]


def _texts(rows: Sequence[Row], every: Sequence[Row], letters: int = MOST_LETTERS) -> list[str]:
    """Return what the list beside a row of panels says of each code."""
    return [
        fill(f"{number}  {row['degraded']:.4f}  {_label(row, every)}", letters, subsequent_indent=" " * 4)
        for number, row in enumerate(rows, 1)
    ]


def _points(row: Row) -> float:
    return float(100 * (row["degraded"] - row["available"]))


def _label(row: Row, rows: Sequence[Row]) -> str:
    """Return the name of a code, with r if it is there with several, and its variant."""
    several = len({other["r"] for other in rows if other["code"] == row["code"]}) > 1
    parts = [row["code"], f"r={row['r']}" if several else "", row["variant"]]
    return ", ".join(part for part in parts if part)
