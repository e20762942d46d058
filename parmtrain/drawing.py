"""What all plots and pictures share: colours, a finish, and writing them whole."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from parmtrain.files import replacing

BLUE, ORANGE, GREY, GREEN = "#2563ab", "#d9772b", "#8a8a8a", "#2f9e44"


def finish(axes: Axes) -> None:
    """Add what all plots have: a grid, no frame, a legend."""
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize="small")


def save(figure: Figure, path: Path) -> None:
    """Write a figure, whole or not at all."""
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=150)
