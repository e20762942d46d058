"""Marks with a number inside, none of which hides another."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.transforms import ScaledTranslation

from parmtrain.drawing import BLACK, GREY, INCH, LOOKS, box, frame, on, settle
from parmtrain.label_layout import shifts

SIZE, RIM = 16, 2.2  # of a mark and its rim, printer's points
SHAPES = {"o": 1.0, "s": 0.9, "p": 1.05, "D": 0.75}  # and their sizes ÷ that of a disc


@dataclass(frozen=True)
class Mark:
    """A mark with a number inside.

    Args:
        place: Where it belongs, in data coordinates.
        number: What stands inside.
        look: Its shape and colour, of ``shape``.
        rim: Whether it has a black rim.
    """

    place: tuple[float, float]
    number: int
    look: dict[str, Any]
    rim: bool = False


def shape(number: int) -> dict[str, Any]:
    """Return the colour, shape and filling of one of many marks with numbers; the first 64 differ.

    Of eight in a row, the first four are filled, and the others are white with a coloured edge.

    Example:
        >>> shape(0)
        {'color': '#0072B2', 'marker': 'o', 'markerfacecolor': '#0072B2', 'markeredgecolor': 'white'}
        >>> shape(4)
        {'color': '#56B4E9', 'marker': 'o', 'markerfacecolor': 'white', 'markeredgecolor': '#56B4E9'}
    """
    count = len(LOOKS["color"])
    colour, again = LOOKS["color"][number % count], (number + number // count) % count
    filled = again < len(SHAPES)
    fill, edge = (colour, "white") if filled else ("white", colour)
    marker = list(SHAPES)[again % len(SHAPES)]
    return {"color": colour, "marker": marker, "markerfacecolor": fill, "markeredgecolor": edge}


def draw_marks(panels: Sequence[tuple[Axes, Sequence[Mark]]]) -> None:
    """Draw the marks of all panels of a figure, whose axes keep their limits.

    A mark whose place is taken stands beside it, and a line leads to a dot at its place.

    Example:
        >>> from matplotlib.figure import Figure
        >>> axes = Figure().subplots()
        >>> draw_marks([(axes, [Mark((0.5, 0.5), 1, shape(0)), Mark((0.5, 0.5), 2, shape(1))])])
        >>> [text.get_text() for text in axes.texts if text.get_text()]
        ['1', '2']
    """
    for figure in {axes.get_figure(root=True) for axes, _ in panels}:
        assert figure is not None
        settle(figure)
    for axes, marks in panels:
        axes.set_autoscale_on(False)
        area = frame(axes)
        wide = area._replace(width=area.width + SIZE, height=area.height + SIZE)  # a centre may lie on its edge
        sizes = [SIZE + 2 * RIM if mark.rim else SIZE for mark in marks]
        boxes = [box(axes, mark.place, size, size) for mark, size in zip(marks, sizes, strict=True)]
        moved = shifts(boxes, frame=wide)
        for mark, shift in zip(marks, moved, strict=True):
            _draw(axes, mark, shift)


def _draw(axes: Axes, mark: Mark, shift: tuple[float, float]) -> None:
    figure = axes.get_figure(root=True)
    assert figure is not None
    aside = ScaledTranslation(shift[0] / INCH, shift[1] / INCH, figure.dpi_scale_trans)
    if shift != (0, 0):
        axes.plot(*mark.place, ".", color=mark.look["color"], markersize=4, zorder=2)
        line = {"arrowstyle": "-", "color": GREY, "linewidth": 0.8, "shrinkA": 0, "shrinkB": 0}
        lead = axes.annotate("", mark.place, shift, textcoords="offset points", arrowprops=line, zorder=2.5)
        lead.set_in_layout(False)
    size = SIZE * SHAPES[mark.look["marker"]]
    placed: dict[str, Any] = {"transform": axes.transData + aside, "clip_on": False}
    rim = {**mark.look, "color": BLACK, "markerfacecolor": BLACK, "markeredgecolor": "white"}
    for look, wide in ((rim, size + 2 * RIM), (mark.look, size))[0 if mark.rim else 1 :]:
        width = 1.6 if look["markerfacecolor"] == "white" else 0.6
        (drawn,) = axes.plot(
            *mark.place, **look, markeredgewidth=width, linestyle="", markersize=wide, **placed, zorder=3
        )
        drawn.set_in_layout(False)
    axes.annotate(
        f"{mark.number}",
        mark.place,
        shift,
        textcoords="offset points",
        ha="center",
        va="center_baseline",
        color=on(mark.look["markerfacecolor"]),
        fontsize=8 if mark.number < 100 else 6,
        fontweight="bold",
        annotation_clip=False,
        zorder=4,
    ).set_in_layout(False)
