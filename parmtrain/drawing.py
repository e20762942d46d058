"""Shared parts of all plots and pictures: colours, style, and saving."""

from collections.abc import Sequence
from math import hypot, inf
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from parmtrain.files import replacing

BLUE, ORANGE, GREY, GREEN = "#2563ab", "#d9772b", "#8a8a8a", "#2f9e44"
INCH = 72  # printer's points
STEPS = sorted(((right, up) for right in range(-4, 5) for up in range(-2, 3)), key=lambda step: hypot(*step))
LIGHT = 0.65  # luminance


def finish(axes: Axes) -> None:
    """Apply the common style: a grid, no frame, a legend."""
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize="small")


def save(figure: Figure, path: Path) -> None:
    """Save a figure atomically."""
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=150)


def on(colour: Any) -> str:
    """Return the colour of text that can be read on another colour.

    Example:
        >>> on("navy"), on("pink")
        ('white', 'black')
    """
    red, green, blue = to_rgb(colour)
    return "black" if 0.3 * red + 0.59 * green + 0.11 * blue > LIGHT else "white"


def settle(figure: Figure) -> None:
    """Lay a figure out, so that its axes have their sizes."""
    figure.draw_without_rendering()


def shifts_in(axes: Axes, places: Sequence[tuple[float, float]], apart: float) -> list[tuple[float, float]]:
    """Return by how many printer's points marks at some places of settled axes have to move, as ``aside`` does."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    dots = [axes.transData.transform(place) for place in places]
    low = INCH / figure.dpi * axes.bbox.y0 + apart / 2
    return aside([(INCH / figure.dpi * right, INCH / figure.dpi * up) for right, up in dots], apart, low)


def aside(places: Sequence[tuple[float, float]], apart: float, low: float = -inf) -> list[tuple[float, float]]:
    """Return how far right and up each of some marks has to move, in order, so that none hides another.

    Args:
        places: Right and up coordinates of the marks.
        apart: Distance that two marks need.
        low: None is moved below this.

    Example:
        >>> aside([(0, 0), (100, 0), (1, 0), (0, 1)], apart=10)
        [(0, 0), (0, 0), (-10, 0), (0, -10)]
    """
    taken: list[tuple[float, float]] = []
    shifts: list[tuple[float, float]] = []
    for right, up in places:
        steps = ((apart * across, apart * along) for across, along in STEPS)
        able = ((x, y) for x, y in steps if y >= 0 or up + y >= low)
        free = ((x, y) for x, y in able if all(hypot(right + x - a, up + y - b) > 0.8 * apart for a, b in taken))
        shifts.append(next(free, (0, 0)))
        taken.append((right + shifts[-1][0], up + shifts[-1][1]))
    return shifts
