"""The plot of a search: A_d on the validation split against each value that differed between runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from parmtrain import drawing
from parmtrain.objectives import DEGRADED, objectives

ACROSS = 3  # panels side by side
WIDE = 10.0  # largest value ÷ smallest one, from which an axis is logarithmic


@dataclass(frozen=True)
class Run:
    """A finished run.

    Args:
        metrics: Content of its ``metrics.json``.
        settings: What it was given, by key.
    """

    metrics: dict[str, Any]
    settings: dict[str, Any]


@drawing.styled()
def searched(runs: Sequence[Run], keys: Sequence[str], path: Path) -> None:
    """Plot A_d on the validation split against k, if it differed, and each of some keys; one marker for each code.

    Args:
        runs: The runs.
        keys: Keys that differ between them.
        path: PNG to write, or to remove where no run has such a figure.
    """
    known = [(run, value) for run in runs if isinstance(value := objectives(run.metrics, [DEGRADED]), float)]
    if not known:
        path.unlink(missing_ok=True)
        return
    panels = {key: [run.settings.get(key) for run, _ in known] for key in keys}
    ks = [run.metrics["k"] for run, _ in known]
    if len(set(ks)) > 1 or not panels:
        panels = {"k": ks} | panels
    rows = ceil(len(panels) / ACROSS)
    across = min(ACROSS, len(panels))
    figure = Figure(figsize=(4.2 * across + 1.6, 3.4 * rows), layout="constrained")
    grid = figure.subplots(rows, across, squeeze=False, sharey=True)
    codes = sorted({run.metrics["code"] for run, _ in known})
    for axes, (key, values) in zip(grid.flat, panels.items(), strict=False):
        places = _places(axes, values)
        for number, code in enumerate(codes):
            own = [(place, y) for place, (run, y) in zip(places, known, strict=True) if run.metrics["code"] == code]
            axes.plot(*zip(*own, strict=True), **drawing.look(number) | {"linestyle": "", "label": code})
        axes.set_xlabel(key)
    for axes in grid[:, 0]:
        axes.set_ylabel(f"$A_d$, validation split ({known[0][0].metrics['measure']})")
    for axes in grid.flat[len(panels) :]:
        axes.remove()
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", frameon=False, fontsize="small")
    figure.suptitle(f"{known[0][0].metrics['task']}: {len(known)} runs, one mark each")
    drawing.save(figure, path)


def _places(axes: Axes, values: Sequence[Any]) -> list[float]:
    """Return where values stand on the x axis: numbers where they are, other things side by side."""
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        if min(values) > 0 and max(values) / min(values) >= WIDE:
            axes.set_xscale("log")
        elif all(isinstance(value, int) for value in values):
            axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        return [float(value) for value in values]
    names = sorted({str(value) for value in values})
    axes.set_xticks(range(len(names)), names)
    axes.margins(x=0.2)
    return [float(names.index(str(value))) for value in values]
