"""Draw the system, for the README and the docs: ``python docs/pictures/system.py``."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from parmtrain.drawing import BLUE, ORANGE, save, styled

INK, CODED, LATE = "#333333", BLUE, ORANGE
OWN, PALE = "#eeeeee", "#dcebf5"
ROWS = {"first": 2.3, "second": 1.3, "parity": 0.3}


def box(axes: Axes, x: float, y: float, text: str, fill: str = OWN, edge: str = INK, width: float = 1.7) -> None:
    """Draw a box around a text."""
    axes.add_patch(FancyBboxPatch((x - width / 2, y - 0.3), width, 0.6, "round,pad=0.04", fc=fill, ec=edge, lw=1.4))
    axes.text(x, y, text, ha="center", va="center", fontsize=10, color=INK)


def arrow(
    axes: Axes, start: tuple[float, float], end: tuple[float, float], colour: str = INK, bend: float = 0.0
) -> None:
    """Draw an arrow."""
    style = f"arc3,rad={bend}"
    axes.add_patch(
        FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=12, color=colour, lw=1.4, connectionstyle=style)
    )


@styled()
def draw() -> Figure:
    """Return the picture: two queries, three workers, one of them late, and what the decoder makes of the others."""
    figure = Figure(figsize=(9.4, 3.3))
    axes = figure.add_subplot()
    axes.set(xlim=(-1.0, 10.6), ylim=(-0.35, 3.0), aspect="equal")
    axes.axis("off")
    for name, label in (("first", "query $X_1$"), ("second", "query $X_2$")):
        box(axes, 0.0, ROWS[name], label)
        arrow(axes, (0.9, ROWS[name]), (3.85, ROWS[name]))
        arrow(axes, (0.9, ROWS[name] - 0.1), (1.5, ROWS["parity"] + 0.35), CODED, -0.1)
    box(axes, 2.1, ROWS["parity"], "encoder", PALE, CODED, 1.5)
    arrow(axes, (2.95, ROWS["parity"]), (3.85, ROWS["parity"]), CODED)
    axes.text(3.4, ROWS["parity"] - 0.28, "parity\nquery", ha="center", va="top", fontsize=8, color=CODED)
    box(axes, 4.9, ROWS["first"], "deployed model F", OWN, INK, 2.0)
    box(axes, 4.9, ROWS["second"], "deployed model F", OWN, LATE, 2.0)
    box(axes, 4.9, ROWS["parity"], "parity model", PALE, CODED, 2.0)
    arrow(axes, (5.98, ROWS["first"]), (9.0, ROWS["first"]))
    axes.text(6.35, ROWS["second"], "slow, or lost", ha="left", va="center", fontsize=10, color=LATE)
    axes.plot([6.05, 6.25], [ROWS["second"] - 0.12, ROWS["second"] + 0.12], "-", color=LATE, lw=2)
    axes.plot([6.05, 6.25], [ROWS["second"] + 0.12, ROWS["second"] - 0.12], "-", color=LATE, lw=2)
    box(axes, 7.4, ROWS["parity"], "decoder", PALE, CODED, 1.5)
    arrow(axes, (5.98, ROWS["parity"]), (6.58, ROWS["parity"]), CODED)
    arrow(axes, (8.35, ROWS["first"] - 0.06), (7.75, ROWS["parity"] + 0.36), CODED, -0.12)
    arrow(axes, (8.22, ROWS["parity"] + 0.1), (9.0, ROWS["second"] - 0.1), CODED)
    box(axes, 9.8, ROWS["first"], r"$F(X_1)$", width=1.4)
    box(axes, 9.8, ROWS["second"], r"$\hat F(X_2)$", PALE, CODED, 1.4)
    return figure


if __name__ == "__main__":
    save(draw(), Path(__file__).with_suffix(".png"))
