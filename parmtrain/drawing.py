"""Shared parts of all plots and pictures: the style sheet, its colours, legends, and saving."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from matplotlib import rc_params_from_file, style
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from parmtrain.files import replacing
from parmtrain.label_layout import Box

STYLE = Path(__file__).with_name("plots.mplstyle")
LOOKS = rc_params_from_file(STYLE, use_default_template=False)["axes.prop_cycle"].by_key()
BLUE, ORANGE, GREEN, PURPLE, SKY, AMBER, BLACK, GREY = LOOKS["color"]
PALE = "#c8c8c8"  # of areas
INCH = 72  # printer's points
MOST_COLUMNS = 3  # of a legend
LIGHT = 0.5  # luminance


@contextmanager
def styled() -> Iterator[None]:
    """Draw in the style of all plots: a context, and a decorator of functions that draw.

    Example:
        >>> from matplotlib import rcParams
        >>> with styled():
        ...     rcParams["legend.frameon"]
        False
    """
    with style.context(STYLE, after_reset=True):
        yield


def look(number: int) -> dict[str, Any]:
    """Return the colour, line style and marker of one of many lines; the first 64 differ.

    Each next eight have the colours again, with other markers and line styles.

    Example:
        >>> look(0)
        {'color': '#0072B2', 'linestyle': '-', 'marker': 'o'}
        >>> look(8)
        {'color': '#0072B2', 'linestyle': '--', 'marker': 's'}
    """
    count = len(LOOKS["color"])
    again = (number + number // count) % count
    return {"color": LOOKS["color"][number % count], **{name: LOOKS[name][again] for name in ("linestyle", "marker")}}


def finish(axes: Axes) -> None:
    """Put the legend above the data, in as many columns as fit, and the title above the legend."""
    handles, _ = axes.get_legend_handles_labels()
    for columns in range(min(MOST_COLUMNS, len(handles)), 0, -1):
        legend = axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, borderaxespad=0.1, borderpad=0.1)
        if legend.get_window_extent().width <= axes.bbox.width:
            break
    if handles:
        axes.set_title(axes.get_title("left"), pad=points(axes, legend.get_window_extent().height) + 6)


@styled()
def save(figure: Figure, path: Path) -> None:
    """Save a figure atomically."""
    with replacing(path) as temporary:
        figure.savefig(temporary)


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


def points(axes: Axes, pixels: float) -> float:
    """Return a length in printer's points."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    return INCH / figure.dpi * pixels


def frame(axes: Axes) -> Box:
    """Return the area of settled axes, in printer's points."""
    x, y = ((low + high) / 2 for low, high in (axes.bbox.intervalx, axes.bbox.intervaly))
    return Box(*(points(axes, pixels) for pixels in (x, y, axes.bbox.width, axes.bbox.height)))


def box(axes: Axes, place: tuple[float, float], width: float, height: float) -> Box:
    """Return the rectangle of a mark of some printer's points at a place of settled axes."""
    x, y = axes.transData.transform(place)
    return Box(points(axes, x), points(axes, y), width, height)
