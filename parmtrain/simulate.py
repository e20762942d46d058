"""Compare services in a simulation: ``parmtrain simulate [key=value …]``."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import ClassVar

import numpy as np

from parmtrain.bounds import twice
from parmtrain.command import Terminal, ending_quietly, settings_command
from parmtrain.errors import ConfigError
from parmtrain.files import cannot_write
from parmtrain.outputs import SIMULATION, TABLE, Outputs
from parmtrain.progress import progress
from parmtrain.serving import Frontend, Limits
from parmtrain.serving.frontend.acceptance import Acceptance
from parmtrain.serving.frontend.trust import Trust
from parmtrain.serving.simulation.batch_curve import BatchCurve
from parmtrain.serving.simulation.delays import DELAYS, Draw, ServiceTimes, Slowdowns, drawn, lognormal
from parmtrain.serving.simulation.latency_report import Accuracies, ServiceRow, latency_table, plot_latency, write_csv
from parmtrain.serving.simulation.simulator import Costs, Outcome, Simulation, poisson
from parmtrain.serving.simulation.strategies import FIRST, NAMES, Strategy, strategies
from parmtrain.settings import at_defaults, setting

MOST_K = 1000
HELP = """Simulate a prediction service: parmtrain simulate [key=value …]

{settings}

Example: parmtrain simulate k=2,3 strategies=equal,coded,hedged slow=0.03

Each strategy except none has r·m/k extra instances. k=2,3,4 compares several group sizes.
The same seed gives the same table.
"""


@dataclass
class Load(Limits):
    """A service, its slowdowns and its load."""

    instances: int = setting(12, "instances of the deployed model, m", least=1, most=100_000)
    rate: float = setting(270.0, "queries per second, Poisson arrivals", above=0)
    queries: int = setting(100_000, "number of queries", above=0)
    service: float = setting(0.025, "mean seconds per prediction", above=0)
    batch_curve: str = setting(
        "", "CSV file of seconds by batch size (size, seconds); without it, queries of a batch take as long one by one"
    )
    variation: float = setting(0.1, "standard deviation of that ÷ its mean", least=0)
    slow: float = setting(0.01, "probability that an instance is slow", least=0, most=1)
    slot: float = setting(1.0, "length of a slow period in seconds; 0 draws for each prediction", least=0)
    slow_instances: int = setting(0, "number of instances that are always slow", least=0)
    correlation: float = setting(0.0, "share of slots in which all instances are slow or none is", least=0, most=1)
    delay: str = setting("constant", f"distribution of the added delay: {', '.join(DELAYS)}")
    delay_mean: float = setting(0.25, "mean added delay in seconds", least=0)
    kills: int = setting(0, "number of instances that die at random times", least=0)
    restart: float = setting(14.0, "seconds until a new instance is ready", least=0)
    encode: float = setting(0.0001, "seconds to encode a group", least=0)
    decode: float = setting(0.00002, "seconds to decode a group", least=0)
    hedge: float = setting(95.0, "percentile of latency after which hedged sends a query again")
    fallback: float = setting(0.1, "accuracy of default answers", least=0, most=1)
    seed: int = setting(0, "seed of arrivals, service times and slowdowns", least=0)
    folder: str = setting("runs/simulate", "folder for the table and the plot")
    progress: bool = setting(True, "tell how far this is: a bar in a terminal, a line every few seconds elsewhere")
    outputs: ClassVar[Outputs] = SIMULATION

    @property
    def curve(self) -> BatchCurve | None:
        """How long batches take."""
        return BatchCurve.read(Path(self.batch_curve).expanduser()) if self.batch_curve else None

    def faults(self) -> Iterator[str]:
        """Yield every fault except numbers out of bounds."""
        yield from self.conflicts()
        try:
            self.curve  # noqa: B018
        except ConfigError as fault:
            yield f"batch_curve={fault}"
        if self.batch_wait and self.batch_max == 1:
            yield f"batch_wait={self.batch_wait:g} needs batch_max=2 or more"
        if self.delay not in DELAYS:
            yield f"delay must be one of {', '.join(DELAYS)}, got {self.delay}"
        if not 0 < self.hedge < 100:
            yield f"hedge must be a percentile between 0 and 100, got {self.hedge:g}"
        if self.slow_instances > self.instances:
            yield f"slow_instances must be {self.instances} (instances) or less, got {self.slow_instances}"
        if not self.folder:
            yield "folder must be a folder, got an empty name"
        elif why := cannot_write(Path(self.folder)):
            yield f"folder={self.folder} cannot be written: {why}"
        elif why := self.outputs.in_the_way(Path(self.folder)):
            yield f"folder={self.folder} {why}; name another folder=…"


@dataclass
class SimulationSettings(Load):
    """Settings of a simulation."""

    strategies: list[str] = setting(list(FIRST), f"strategies to compare, of {', '.join(NAMES)}")
    k: list[int] = setting([2, 3, 4], "queries in a coding group")
    r: int = setting(1, "number of parity models", above=0)
    available: float = setting(0.895, "accuracy of the deployed model", least=0, most=1)
    degraded: float = setting(0.88, "accuracy of reconstructed predictions", least=0, most=1)
    accepted: float = setting(
        0.85, "share of reconstructions with enough confidence, of strategies that ask for it", least=0, most=1
    )
    accepted_degraded: float = setting(0.926, "accuracy of those reconstructions", least=0, most=1)
    accepted_available: float = setting(
        0.929, "accuracy of the deployed model's own predictions of the same queries", least=0, most=1
    )
    backup_speed: float = setting(5.0, "speed of the cheaper backup relative to the deployed model", above=0)
    backup_accuracy: float = setting(0.869, "accuracy of the cheaper backup", least=0, most=1)

    def faults(self) -> Iterator[str]:
        """Yield every fault except numbers out of bounds."""
        yield from super().faults()
        if (odd := next((k for k in self.k if not 2 <= k <= MOST_K), None)) is not None:
            yield f"k must be integers from 2 to {MOST_K}, got {odd}"
        for name, values in (("k", self.k), ("strategies", self.strategies)):
            if not values:
                yield f"{name} must have 1 or more values, got none"
            if (again := twice(values)) is not None:
                yield f"{name} must have different values, got {again} twice"
        if unknown := [name for name in self.strategies if name not in NAMES]:
            yield f"strategies: unknown {', '.join(unknown)}; choose from {', '.join(NAMES)}"
        if uneven := [k for k in self.k if k >= 2 and self.instances % k]:
            yield f"instances must be a multiple of k, got instances={self.instances}, k={uneven[0]}"

    def chosen(self) -> dict[int, list[Strategy]]:
        """Return the strategies to compare, for each k."""
        return {
            k: strategies(self.strategies, self.instances, k, self.r, self.backup_speed, self.hedge, self.accepted)
            for k in self.k
        }

    def accuracies_used(self) -> list[str]:
        """Return the names of the accuracies that the table depends on."""
        accepted = any(one.below is not None for some in self.chosen().values() for one in some)
        more = ["accepted_degraded", "accepted_available"] if accepted else []
        more += ["backup_accuracy"] if "backup" in self.strategies else []
        return ["available", "degraded", "fallback", *more]

    def accuracies(self, strategy: Strategy) -> Accuracies:
        """Return the accuracies of a strategy's answers."""
        if strategy.below is not None:
            return Accuracies.of_accepted(
                self.available,
                self.degraded,
                self.fallback,
                self.accepted,
                self.accepted_degraded,
                self.accepted_available,
            )
        rebuilt = self.backup_accuracy if strategy.name == "backup" else self.degraded
        return Accuracies(self.available, rebuilt, self.fallback)


def simulate(settings: Load, strategy: Strategy, title: str | None = None) -> Outcome:
    """Simulate one strategy.

    Args:
        settings: The service and its load.
        strategy: The strategy to run.
        title: Text of a progress bar; None shows no bar.

    Example:
        >>> settings = SimulationSettings(queries=1000, slow=0.0)
        >>> outcome = simulate(settings, settings.chosen()[2][0])
        >>> len(outcome.latency), outcome.counts["deployed"]
        (1000, 1000)
    """
    arrivals = poisson(settings.rate, settings.queries, settings.seed)
    delay: Draw = DELAYS[settings.delay](settings.delay_mean)
    slowdowns = Slowdowns(
        settings.slow, delay, settings.slot, settings.correlation, settings.seed, settings.slow_instances
    )
    service = ServiceTimes(
        lognormal(settings.service, settings.variation), slowdowns, strategy.speed, settings.seed + 1, settings.curve
    )
    after = None
    if strategy.copy_after is not None:
        after = _percentile(settings, strategy) if strategy.copy_after else 0.0
    base = settings.limits if strategy.scheme.k > 1 else replace(settings.limits, copy_after=inf)
    trust = None if strategy.below is None else Trust(Acceptance([1 - strategy.accepted], strategy.below))
    limits = strategy.limits(base, after)
    frontend = Frontend(strategy.scheme, strategy.instances, limits, trust=trust)
    sure = drawn(lambda random, count: random.random(count), np.random.default_rng([settings.seed, 4]))
    costs = Costs(settings.encode, settings.decode, settings.restart)
    shown = progress(arrivals, title, settings.queries) if title else arrivals
    simulation = Simulation(frontend, service, costs, confidences=sure.__next__)
    return simulation.run(shown, _kills(settings, sum(strategy.instances)))


def _percentile(settings: Load, strategy: Strategy) -> float:
    """Return the latency after which a query is sent again: a percentile of as many instances without hedging."""
    plain = Strategy("equal", strategy.scheme, strategy.instances)
    assert strategy.copy_after is not None
    return simulate(settings, plain).percentile(strategy.copy_after)


def _kills(settings: Load, instances: int) -> list[tuple[float, int]]:
    random = np.random.default_rng([settings.seed, 3])
    times = random.random(settings.kills) * settings.queries / settings.rate
    return [
        (float(at), int(which)) for at, which in zip(times, random.integers(0, instances, settings.kills), strict=True)
    ]


def _panels(settings: SimulationSettings) -> dict[str, list[ServiceRow]]:
    """Simulate every strategy once, and return the rows of each k."""
    done: dict[tuple[str, tuple[int, ...]], ServiceRow] = {}
    panels: dict[str, list[ServiceRow]] = {}
    for k, chosen in settings.chosen().items():
        for one in chosen:
            if (one.name, one.instances) not in done:
                outcome = simulate(settings, one, one.name)
                accuracy = settings.accuracies(one).overall(outcome)
                done[one.name, one.instances] = ServiceRow(one.name, one.instances, outcome, accuracy)
        panels[f"k = {k}, r = {settings.r}"] = [done[one.name, one.instances] for one in chosen]
    return panels


def simulate_and_show(settings: SimulationSettings) -> None:
    """Simulate the strategies, print one table, and write it with a plot."""
    panels = _panels(settings)
    rows = list({(row.name, row.instances): row for shown in panels.values() for row in shown}.values())
    folder = Path(settings.folder)
    write_csv(rows, folder / TABLE)
    plot_latency(panels, folder / "latency.png")
    title = f"{settings.rate:g} queries/s, {settings.instances} or more instances, slow {settings.slow:g}"
    Terminal(wide=True).print(latency_table(rows, title))
    if built_in := at_defaults(settings, settings.accuracies_used()):
        print(f"built in, not your models' own: {', '.join(built_in)}; give those of a run's metrics.json as key=value")
    print(f"in {folder}: table.csv, latency.png")


@ending_quietly
def main(arguments: list[str] | None = None) -> int:
    """Simulate what the command line asks for; return the exit status."""
    return settings_command(SimulationSettings, HELP, simulate_and_show, arguments)


if __name__ == "__main__":
    sys.exit(main())
