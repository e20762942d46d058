"""Where coding wins, ties and loses: the paper's service, simulated over slowdowns, their correlation and load.

    python experiments/serving/map.py FOLDER [queries=100000] [strategy=heads]

For every code (k, r), probability that an instance is slow in a slot of 0.1 s, correlation of slots and rate:
(p99.9 − median) of as many instances without a code ÷ that of coding, beside the ratio of medians and the share of
answers that are reconstructed. ``strategy=heads`` has the codes whose parity output alone gives all predictions, in
place of those that need any k outputs. 12 deployed instances of 25 ms, slow ones add 250 ms; m·r/k more instances for
each.
"""

import csv
import sys
from dataclasses import dataclass, replace
from itertools import product
from multiprocessing import Pool
from pathlib import Path

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from rich.progress import track

from parmtrain.drawing import on, save, styled
from parmtrain.files import replacing
from parmtrain.serving import Kind
from parmtrain.serving.simulation.simulator import Outcome
from parmtrain.settings import read_settings
from parmtrain.simulate import SimulationSettings, simulate

CODES = {"coded": [(2, 1), (3, 1), (4, 1), (2, 2), (4, 2)], "heads": [(2, 1), (3, 1), (4, 1)]}
NAMES = {"coded": "map", "heads": "map_heads"}
SLOW = [0.001, 0.003, 0.01, 0.03, 0.1]
CORRELATION = [0.0, 0.2]
RATES = [150.0, 270.0, 390.0]


@dataclass
class Map:
    """What to simulate."""

    queries: int = 100_000
    slot: float = 0.1
    seed: int = 0
    strategy: str = "coded"


def tail(outcome: Outcome) -> float:
    return outcome.percentile(99.9) - outcome.percentile(50)


def cell(about: tuple[Map, float, float, float]) -> list[dict[str, float]]:
    """Simulate every code, and as many instances without one, in one cell of the map."""
    wanted, slow, correlation, rate = about
    base = SimulationSettings(queries=wanted.queries, seed=wanted.seed, slot=wanted.slot)
    equal: dict[tuple[int, ...], Outcome] = {}
    lines = []
    for k, r in CODES[wanted.strategy]:
        settings = replace(base, k=[k], r=r, slow=slow, correlation=correlation, rate=rate)
        plain, coded = replace(settings, strategies=["equal", wanted.strategy]).chosen()[k]
        if plain.instances not in equal:
            equal[plain.instances] = simulate(settings, plain)
        rival, ours = equal[plain.instances], simulate(settings, coded)
        lines.append(
            {
                "k": k,
                "r": r,
                "slow": slow,
                "correlation": correlation,
                "rate": rate,
                "ratio": tail(rival) / tail(ours),
                "p99.9 equal ms": rival.percentile(99.9) * 1e3,
                "p99.9 coded ms": ours.percentile(99.9) * 1e3,
                "median ratio": ours.percentile(50) / rival.percentile(50),
                "reconstructed": ours.share(Kind.reconstructed),
                "utilisation": ours.utilisation,
            }
        )
    return lines


def main(folder: Path, wanted: Map) -> None:
    cells = [(wanted, *values) for values in product(SLOW, CORRELATION, RATES)]
    with Pool() as pool:
        done = track(pool.imap(cell, cells), total=len(cells), description="simulating")
        lines = [line for lines in done for line in lines]
    name = NAMES[wanted.strategy]
    with replacing(folder / f"{name}.csv") as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
    draw(lines, CODES[wanted.strategy], folder / f"{name}.png")


@styled()
def draw(lines: list[dict[str, float]], codes: list[tuple[int, int]], path: Path) -> None:
    """Draw a map for each code and correlation: slowness across, load up, the ratio as colour and number."""
    figure = Figure(figsize=(3.1 * len(codes), 5.6))
    axes = figure.subplots(len(CORRELATION), len(codes), sharex=True, sharey=True)
    for (row, correlation), (column, (k, r)) in product(enumerate(CORRELATION), enumerate(codes)):
        here = {
            (line["slow"], line["rate"]): line["ratio"]
            for line in lines
            if (line["k"], line["r"], line["correlation"]) == (k, r, correlation)
        }
        values = np.array([[here[slow, rate] for slow in SLOW] for rate in RATES])
        panel = axes[row, column]
        panel.grid(visible=False)
        image = panel.imshow(values, cmap="RdBu", norm=LogNorm(1 / 20, 20), origin="lower", aspect="auto")
        for i, j in product(range(len(RATES)), range(len(SLOW))):
            panel.text(
                j, i, f"{values[i, j]:.1f}", ha="center", va="center", fontsize=8, color=on(image.to_rgba(values[i, j]))
            )
        panel.set_xticks(range(len(SLOW)), [f"{slow:g}" for slow in SLOW])
        panel.set_yticks(range(len(RATES)), [f"{rate:g}" for rate in RATES])
        panel.set_title(f"k = {k}, r = {r}; correlation {correlation:g}", fontsize=9)
    figure.supxlabel("probability that an instance is slow")
    figure.supylabel("queries a second")
    figure.colorbar(image, ax=axes, label="(p99.9 − median) of equal resources ÷ coded", shrink=0.8)
    save(figure, path)


if __name__ == "__main__":
    main(Path(sys.argv[1]), read_settings(Map, sys.argv[2:]))
