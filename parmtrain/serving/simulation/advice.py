"""Which of several services to choose: a sentence, and a plot of what there is to choose from."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter

from parmtrain import drawing
from parmtrain.marks import Mark, draw_marks, shape
from parmtrain.serving.simulation.latency_report import BEHIND, ServiceRow

TAIL = 99.9  # the percentile of latency that matters
NEAR = 1.1  # tails of up to this times the shortest are as good
ROUNDING = 1e-9


def advice(rows: Sequence[ServiceRow], margin: float) -> str:
    """Return a sentence that names the service to choose, and by which rule.

    Args:
        rows: Services and what they did.
        margin: Overall accuracy to give up at most for a shorter tail.
    """
    able = [row for row in rows if not row.outcome.counts.get("refused")]
    if not able:
        return "no advice, since every candidate refuses queries; lower rate=… or raise instances=…"
    known = [(tail, row) for row in able if (tail := row.percentile(TAIL)) is not None]
    if not known:
        return f"no advice, since the {TAIL}th percentile needs queries={round(100 * BEHIND / (100 - TAIL))} or more"
    accuracy = max(row.accuracy or 0.0 for _, row in known) - margin - ROUNDING
    accurate = [(tail, row) for tail, row in known if (row.accuracy or 0.0) >= accuracy]
    longest = NEAR * min(tail for tail, _ in accurate)
    _, _, chosen = min(
        ((sum(row.instances), tail, row) for tail, row in accurate if tail <= longest), key=lambda one: one[:2]
    )
    instances = " + ".join(map(str, chosen.instances))
    return (
        f"advice: {chosen.name} on {instances} instances, the fewest of those whose overall accuracy is within "
        f"margin={margin:g} of the best and whose {TAIL}th percentile is within {NEAR - 1:.0%} of the shortest of these"
    )


@drawing.styled()
def plot_advice(rows: Sequence[ServiceRow], title: str, path: Path) -> None:
    """Plot accuracy against the 99.9th percentile of latency, with its number of instances inside each mark."""
    looks: dict[str, dict[str, Any]] = {}
    marks: dict[tuple[object, ...], Mark] = {}
    for row in rows:
        family = row.name.split()[0]
        look = looks.setdefault(family, shape(len(looks)))
        place = (row.outcome.percentile(TAIL) * 1e3, row.accuracy or 0.0)
        count = sum(row.instances)
        marks.setdefault((family, count, f"{place[0]:.3g} {place[1]:.3f}"), Mark(place, count, look))
    figure = Figure(figsize=(9, max(5.4, 0.24 * len(looks) + 1.6)))
    axes = figure.subplots()
    axes.plot(*zip(*(mark.place for mark in marks.values()), strict=True), linestyle="", marker="")
    axes.set(
        title=f"What each service reaches: {title}\na number is that of instances; a line leads to its dot",
        xlabel=f"{TAIL}th percentile of latency in ms",
        ylabel="overall accuracy",
        xscale="log",
    )
    axes.margins(0.08)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    handles = [Line2D([], [], **look, linestyle="", markersize=9, label=family) for family, look in looks.items()]
    axes.legend(handles=handles, loc="center left", bbox_to_anchor=(1.02, 0.5), handlelength=1.4)
    draw_marks([(axes, list(marks.values()))])
    drawing.save(figure, path)
