"""Strategies against slow predictions with the same extra instances: tail latency and overall accuracy.

    python experiments/trust/strategies.py OUT heads=RUN sum=RUN [backup=RUN] [slow=0.01] [correlation=0.0] …

In the paper's setting: 12 instances of the deployed model and 6 more, 25 ms a prediction, 270 queries a second, k = 2.
Accuracies are those of the runs' test splits: F's, of reconstructions, and of accepted and other ones at a promised
agreement of 0.98.
"""

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from parmtrain.serving.frontend.events import Kind
from parmtrain.serving.simulation.latency_report import Accuracies, ServiceRow, latency_table, plot_latency, write_csv
from parmtrain.serving.simulation.strategies import NAMES
from parmtrain.settings import read_settings
from parmtrain.simulate import SimulationSettings, simulate

PROMISED = "0.98"
LEFT_OUT = ("none",)


@dataclass
class Settings:
    """What to simulate."""

    heads: str = ""
    sum: str = ""
    backup: str = ""
    slow: float = 0.01
    slot: float = 0.1
    correlation: float = 0.0
    queries: int = 400_000
    k: int = 2


def accuracies(run: str, sure: bool) -> tuple[Accuracies, float]:
    """Return the accuracies of a run, and the share of its reconstructions that is accepted."""
    metrics: dict[str, Any] = json.loads((Path(run) / "metrics.json").read_text())
    measure = metrics["measure"]
    accepted = metrics["confidence"]["1"]["promised_agreement"][PROMISED]
    share, own = accepted["share"], metrics["available"][measure]
    known = own, metrics["degraded"][measure], metrics["default"][measure]
    if not sure or not share:
        return Accuracies(*known), share
    return Accuracies.of_accepted(*known, share, accepted["value"], accepted["own_value"]), share


def main(out: Path, settings: Settings) -> None:
    out.mkdir(parents=True, exist_ok=True)
    base = SimulationSettings(
        queries=settings.queries, slow=settings.slow, slot=settings.slot, correlation=settings.correlation,
        k=[settings.k], strategies=[name for name in NAMES if name not in LEFT_OUT],
    )  # fmt: skip
    rows = []
    for name, strategy in zip(base.strategies, base.chosen()[settings.k], strict=True):
        run = settings.sum if name == "coded" else settings.backup if name == "backup" else settings.heads
        if not run:
            continue
        known, share = accuracies(run, strategy.below is not None)
        outcome = simulate(base, replace(strategy, accepted=share), strategy.name)
        rows.append(ServiceRow(strategy.name, strategy.instances, outcome, known.overall(outcome)))
    equal = next(row.outcome for row in rows if row.name == "equal")
    spread = equal.percentile(99.9) - equal.percentile(50)
    write_csv(rows, out / "strategies.csv")
    title = f"slow {settings.slow:g}, slots of {settings.slot:g} s, correlation {settings.correlation:g}"
    plot_latency({title: rows}, out / "strategies.png")
    Console(width=200).print(latency_table(rows, title))
    for row in rows:
        own = row.outcome.percentile(99.9) - row.outcome.percentile(50)
        sent = row.outcome.counts.get("copies", 0) + row.outcome.counts.get("coded", 0)
        print(
            f"{row.name}: (p99.9 - median) of equal ÷ its own {spread / own:.1f}; "
            f"{sent / settings.queries:.3f} further dispatches a query, "
            f"{row.outcome.share(Kind.uncertain):.4f} uncertain"
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]), read_settings(Settings, sys.argv[2:]))
