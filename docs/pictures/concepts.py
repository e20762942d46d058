"""Draw the pictures of the page on concepts: ``python docs/pictures/concepts.py``."""

from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from sklearn.datasets import load_digits
from torch import Tensor

from parmtrain.codes import Concat, LowRes, Sum
from parmtrain.drawing import BLACK, BLUE, ORANGE, PALE, finish, look, save, styled

HERE = Path(__file__).parent
SHOWN = (0, 4)  # digits of the pictures
WORKERS = ("F on $X_1$", "F on $X_2$", "parity model")
PATTERNS = ((True, True, True), (False, True, True), (True, False, True), (True, True, False), (False, False, True))


@styled()
def patterns() -> Figure:
    """Return the picture of which outputs arrive, and which predictions two kinds of codes have then."""
    figure = Figure(figsize=(8.6, 3.1), layout="none")
    axes = figure.add_axes((0.01, 0.02, 0.98, 0.96))
    axes.set(xlim=(-0.1, 10.6), ylim=(-5.3, 0.75))
    axes.axis("off")
    columns = [1.2, 2.8, 4.4]
    for x, worker in zip(columns, WORKERS, strict=True):
        axes.text(x, 0.3, worker, ha="center", va="center")
    axes.text(6.9, 0.3, "subtraction has", ha="center", va="center", color=BLUE)
    axes.text(9.4, 0.3, "heads have", ha="center", va="center", color=BLUE)
    for row, arrived in enumerate(PATTERNS):
        y = -0.55 - row
        for x, there in zip(columns, arrived, strict=True):
            colour = PALE if there else "white"
            axes.add_patch(Rectangle((x - 0.7, y - 0.32), 1.4, 0.64, fc=colour, ec=BLACK if there else ORANGE, lw=1.5))
            axes.text(x, y, "arrived" if there else "late", ha="center", va="center", color=BLACK if there else ORANGE)
        for x, heads in ((6.9, False), (9.4, True)):
            axes.text(x, y, _had(arrived, heads), ha="center", va="center")
    return figure


def _had(arrived: tuple[bool, ...], heads: bool) -> str:
    """Return the predictions that a code with k = 2 has."""
    parity = arrived[2] and (heads or sum(arrived) == 2)
    there = [arrived[i] or parity for i in range(2)]
    names = [rf"$F(X_{i + 1})$" if arrived[i] else rf"$\hat F(X_{i + 1})$" for i in range(2) if there[i]]
    return "   ".join(names) if names else "none"


@styled()
def multiplexing() -> Figure:
    """Return the picture of what three encoders make of the same two queries."""
    images = load_digits().images
    queries = torch.tensor(np.stack([images[one] for one in SHOWN]), dtype=torch.float32)[None, :, None] / 16
    shown: list[tuple[str, Tensor]] = [(f"query $X_{i + 1}$", queries[0, i, 0]) for i in range(2)]
    shown.append(("sum: $X_1 + X_2$", Sum(2).encode(queries)[0, 0, 0]))
    shown.append(("concat: cells of one image", Concat(2).encode(queries)[0, 0, 0]))
    small = LowRes(2).encode(queries)[0].flatten(0, -3)
    shown.append(("lowres: smaller pictures", torch.cat(list(small), dim=-1)))
    figure = Figure(figsize=(9.4, 2.3), layout="constrained")
    for axes, (title, image) in zip(figure.subplots(1, len(shown)), shown, strict=True):
        axes.imshow(image, cmap="gray_r")
        axes.set_title(title, fontsize="small")
        axes.set(xticks=[], yticks=[])
    return figure


@styled()
def tail() -> Figure:
    """Return the plot of how often a query is late, by how often a prediction is, if slowness is independent."""
    figure = Figure(figsize=(6.6, 4.2), layout="constrained")
    axes = figure.add_subplot()
    p = np.logspace(-4, -0.7, 60)
    curves = {
        "no code, or all are slow at once": p,
        "subtraction, k = 4": p * (1 - (1 - p) ** 4),
        "subtraction, k = 2": p * (1 - (1 - p) ** 2),
        "heads, any k": p * p,
    }
    for number, (name, late) in enumerate(curves.items()):
        axes.loglog(p, late, **look(number) | {"marker": ""}, label=name)
    axes.set_xlabel("share of predictions that are slow, p")
    axes.set_ylabel("share of queries that wait")
    finish(axes)
    return figure


if __name__ == "__main__":
    for draw in (patterns, multiplexing, tail):
        save(draw(), HERE / f"{draw.__name__}.png")
