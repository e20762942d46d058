"""How far the reconstructions of finished runs can be trusted: one table and one plot.

    python experiments/trust/reliability.py OUT RUN [RUN …]

Runs of one task share a panel; F's own curve is that of the first. Confidences are fitted again on each run's
validation split, and scored on its test split.
"""

import csv
import json
import sys
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from rich.console import Console
from rich.table import Table

from parmtrain.drawing import GREY, finish, look, save, styled
from parmtrain.reopened import reopen

PROMISED = ("0.97", "0.98", "0.99")


def read(run: str) -> dict[str, Any]:
    """Return the results of a run, with a confidence that is fitted now."""
    metrics: dict[str, Any] = json.loads((Path(run) / "metrics.json").read_text())
    prepared, bundle = reopen(run)
    trusted = prepared.calibrate(bundle, bool(bundle.about["independent"]))
    return metrics | prepared.evaluate(bundle, trusted=trusted).to_json()


def row(metrics: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of a run, with one late worker, on the test split."""
    given, measure = metrics["confidence"]["1"], metrics["measure"]
    own = given["deployed"] or {}
    figures = {
        "task": metrics["task"], "code": metrics["code"], "k": metrics["k"],
        "A_a": metrics["available"][measure], "A_d": metrics["degraded"][measure],
        "agreement": metrics["degraded"]["agreement"],
        "ECE": given["agreement"]["calibration_error"], "Brier": given["agreement"]["brier"],
        "AURC": given["agreement"]["aurc"], f"AURC of {measure}": given["main"]["aurc"], "that of F": own.get("aurc"),
    }  # fmt: skip
    for promised in PROMISED:
        accepted = given["promised_agreement"][promised]
        figures[f"accepted at {promised}"] = accepted["share"]
        figures[f"agreement at {promised}"] = accepted["agreement"]
        figures[f"right at {promised}"] = accepted["value"]
        figures[f"F right at {promised}"] = accepted["own_value"]
    return figures


@styled()
def draw(every: list[dict[str, Any]], path: Path) -> None:
    """Draw risk against coverage: one panel for each task."""
    tasks = list(dict.fromkeys(metrics["task"] for metrics in every))
    figure = Figure(figsize=(4.6 * len(tasks), 4.8))
    for axes, task in zip(figure.subplots(1, len(tasks), squeeze=False)[0], tasks, strict=True):
        of_task = [metrics for metrics in every if metrics["task"] == task]
        for number, metrics in enumerate(of_task):
            taken = metrics["confidence"]["1"]["agreement"]["most_confident"]
            shares = [float(share) for share in taken]
            axes.plot(
                shares,
                [1 - value for value in taken.values()],
                **{**look(number), "markevery": 0.15},
                label=f"{metrics['code']}, k={metrics['k']}",
            )
        own = of_task[0]["confidence"]["1"]["deployed"]
        if own is not None:
            shares = [float(share) for share in own["most_confident"]]
            wrong = [1 - value for value in own["most_confident"].values()]
            axes.plot(shares, wrong, "--", color=GREY, label="F itself: wrong, by its own confidence")
        axes.set(title=task, xlabel="coverage: share taken, most confident first")
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        finish(axes)
    figure.axes[0].set_ylabel("risk: they disagree with F")
    save(figure, path)


def main(out: Path, runs: list[str]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    every = [read(run) for run in runs]
    rows = [row(metrics) for metrics in every]
    names = list(dict.fromkeys(name for one in rows for name in one))
    with open(out / "reliability.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
    table = Table(*names)
    for one in rows:
        cells = (one.get(name) for name in names)
        table.add_row(
            *(f"{cell:.4f}" if isinstance(cell, float) else "–" if cell is None else str(cell) for cell in cells)
        )
    Console(width=240).print(table)
    draw(every, out / "reliability.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
