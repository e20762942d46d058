"""Tables and plots that compare the latency of services with the same resources."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from rich.table import Table

from parmtrain import drawing
from parmtrain.files import replacing
from parmtrain.serving.frontend.events import Kind
from parmtrain.serving.simulation.simulator import Outcome

PERCENTILES = (50.0, 99.0, 99.9, 99.99)
APART, MARKED = 0.25, 5  # between the markers of a line, of the diagonal; lines before they begin alike again
BEHIND = 10  # samples that must lie beyond a percentile for it to be reported


@dataclass(frozen=True)
class Accuracies:
    """Accuracy of each kind of answer, were it given to all queries.

    Args:
        deployed: Of the deployed model's predictions, A_a.
        reconstructed: Of reconstructed predictions, A_d.
        default: Of default answers.
        uncertain: Of reconstructions that were not accepted and sent for want of anything better; that of all
            reconstructions by default.
    """

    deployed: float
    reconstructed: float
    default: float
    uncertain: float | None = None

    @classmethod
    def of_accepted(
        cls, deployed: float, reconstructed: float, default: float, share: float, accepted: float, own: float
    ) -> "Accuracies":
        """Return accuracies where only a ``share`` of reconstructions is accepted.

        Accepted ones are of queries that are easier for the deployed model, too, and leave the harder ones to it. What
        they cost is what they lose against its own predictions of the same queries; the others lose the rest.

        Args:
            deployed: Accuracy of the deployed model's predictions, A_a.
            reconstructed: Accuracy of all reconstructed predictions, A_d.
            default: Accuracy of default answers.
            share: Share of reconstructions that is accepted.
            accepted: Accuracy of those.
            own: Accuracy of the deployed model's own predictions of the same queries.

        Example:
            >>> made = Accuracies.of_accepted(0.9, 0.8, 0.1, share=0.5, accepted=0.94, own=0.95)
            >>> round(made.reconstructed, 3), round(made.uncertain, 3)
            (0.89, 0.71)
        """
        lost = own - accepted
        others = (deployed - reconstructed - share * lost) / (1 - share) if share < 1 else lost
        return cls(deployed, _within(deployed - lost), default, _within(deployed - others))

    def overall(self, outcome: Outcome) -> float:
        """Return the overall accuracy of a service's answers."""
        uncertain = self.reconstructed if self.uncertain is None else self.uncertain
        every = {
            Kind.deployed: self.deployed,
            Kind.reconstructed: self.reconstructed,
            Kind.default: self.default,
            Kind.uncertain: uncertain,
        }
        return sum(accuracy * outcome.share(kind) for kind, accuracy in every.items())


def _within(accuracy: float) -> float:
    return min(max(accuracy, 0.0), 1.0)


@dataclass(frozen=True)
class ServiceRow:
    """One service, a row of a table.

    Args:
        name: Name of its strategy.
        instances: Number of instances of each pool.
        outcome: Its latencies and counts.
        accuracy: Overall accuracy of its answers, if known.
    """

    name: str
    instances: tuple[int, ...]
    outcome: Outcome
    accuracy: float | None = None

    def percentile(self, percent: float) -> float | None:
        """Return a percentile of the latency in ms; None if too few samples lie beyond it."""
        behind = len(self.outcome.latency) * (100 - percent) / 100
        return self.outcome.percentile(percent) * 1e3 if behind >= BEHIND * (1 - 1e-9) else None

    def figures(self) -> dict[str, str | float | int | None]:
        """Return all figures of the row by name."""
        counts = self.outcome.counts
        return {
            "strategy": self.name,
            "instances": " + ".join(map(str, self.instances)),
            "queries": len(self.outcome.latency),
            **{f"p{percent:g} ms": self.percentile(percent) for percent in PERCENTILES},
            **{kind.value: self.outcome.share(kind) for kind in Kind},
            "refused": counts.get("refused", 0),
            "overall accuracy": self.accuracy,
            "work per query ms": known(self.outcome.work * 1e3),
            "utilisation": known(self.outcome.utilisation),
        }


def known(value: float) -> float | None:
    """Return a figure, or None if it was not measured (NaN)."""
    return None if isnan(value) else value


def latency_table(rows: Sequence[ServiceRow], title: str) -> Table:
    """Return a table for the terminal, with one row per service; uncertain answers have a column if there are any."""
    made = Table(title=title, title_justify="left")
    every = [row.figures() for row in rows]
    if not any(figures[Kind.uncertain.value] for figures in every):
        every = [{name: value for name, value in figures.items() if name != Kind.uncertain.value} for figures in every]
    for number, figures in enumerate(every):
        if not number:
            for name in figures:
                made.add_column(name, justify="left" if name in ("strategy", "instances") else "right")
        made.add_row(*(_text(name, value) for name, value in figures.items()))
    return made


def _text(name: str, value: str | float | int | None) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.1f}" if "ms" in name else f"{value:.4f}"
    return str(value)


def write_csv(rows: Sequence[ServiceRow], path: Path) -> None:
    """Write the same figures to a CSV file."""
    lines = [row.figures() for row in rows]
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)


@drawing.styled()
def plot_latency(panels: Mapping[str, Sequence[ServiceRow]], path: Path) -> None:
    """Plot the share of queries that take longer than each latency, with one panel per title."""
    most = max(len(rows) for rows in panels.values())
    figure = Figure(figsize=(max(6.4, 4.3 * len(panels)), 4.2 + 0.2 * most))
    every = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (title, rows) in zip(every, panels.items(), strict=True):
        for number, row in enumerate(rows):
            latency = np.sort(row.outcome.latency) * 1e3
            longer = 1 - np.arange(1, len(latency) + 1) / (len(latency) + 1)
            label, begin = f"{row.name} ({sum(row.instances)})", number % MARKED * APART / MARKED
            look = {**drawing.look(number), "markevery": (begin, APART)}
            axes.plot(latency, longer, **look, drawstyle="steps-post", label=label)
        axes.set(title=title, xlabel="latency in ms", xscale="log", yscale="log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g}%"))
        drawing.finish(axes)
    every[0].set_ylabel("share of queries that take longer")
    figure.suptitle("How many queries take longer than a latency (number of instances)")
    drawing.save(figure, path)
