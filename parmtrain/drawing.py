"""Shared parts of all plots and pictures: colours, style, and saving."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from parmtrain.files import replacing

BLUE, ORANGE, GREY, GREEN = "#2563ab", "#d9772b", "#8a8a8a", "#2f9e44"


def finish(axes: Axes) -> None:
    """Apply the common style: a grid, no frame, a legend."""
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize="small")


def save(figure: Figure, path: Path) -> None:
    """Save a figure atomically."""
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=150)
