"""Plot A_d against k, of tables that ``python -m parmtrain.compare`` wrote.

    python experiments/accuracy/plot.py out.png A_a label=table.csv:code …

Each argument names a line: what it is called, the table, and the code in it. Every k of the first one is drawn.
"""

import csv
import sys
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from parmtrain.drawing import finish, look, save, styled


def points(table: str, code: str) -> list[tuple[int, float, float]]:
    """Return k, A_d and its spread over seeds with one prediction missing, for each k of a code."""
    with Path(table).open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["code"] == code and row["late"] == "1"]
    return sorted((int(row["k"]), float(row["degraded"]), float(row["degraded_spread"] or 0)) for row in rows)


@styled()
def draw(path: Path, available: float, lines: list[str]) -> None:
    figure = Figure(figsize=(7, 5))
    axes = figure.subplots()
    axes.axhline(available, color="black", linestyle=":", label="deployed model, $A_a$")
    shown: set[int] = set()
    for number, line in enumerate(lines):
        label, _, source = line.partition("=")
        table, _, code = source.rpartition(":")
        found = points(table, code)
        shown = shown or {k for k, _, _ in found}
        ks, values, spreads = zip(*(point for point in found if point[0] in shown), strict=True)
        axes.errorbar(ks, values, spreads, **look(number), label=label, capsize=3, linewidth=1.2)
    axes.set(xlabel="queries in a coding group $k$", ylabel="degraded-mode accuracy $A_d$")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    finish(axes)
    save(figure, path)


if __name__ == "__main__":
    out, available, *lines = sys.argv[1:]
    draw(Path(out), float(available), lines)
