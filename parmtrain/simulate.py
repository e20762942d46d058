"""Services side by side in a simulation: ``python -m parmtrain.simulate [key=value …]``."""

import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

from parmtrain.errors import ConfigError, ParmtrainError
from parmtrain.serving import Frontend, Limits
from parmtrain.serving.delays import Draw, Service, Slowdowns, constant, exponential, lognormal, pareto
from parmtrain.serving.settings import read
from parmtrain.serving.simulator import Costs, Outcome, Simulation, poisson
from parmtrain.serving.strategies import NAMES, Strategy, strategies
from parmtrain.serving.tails import Accuracies, Row, plot, table, write_csv

DELAYS = {"constant": constant, "exponential": exponential, "pareto": pareto}
ABOVE = ("instances", "rate", "queries", "service", "deadline", "hung_after", "backup_speed", "waiting")
LEAST = (
    "variation",
    "slot",
    "slow_instances",
    "delay_mean",
    "kills",
    "restart",
    "encode",
    "decode",
    "reconstruct_after",
    "seed",
)
SHARES = ("slow", "correlation", "fallback", "available", "degraded", "backup_accuracy")
HELP = """Simulate a prediction service: python -m parmtrain.simulate [key=value …]

  strategies  which to compare: {names}; all where none is named
  instances   of the deployed model, m; each strategy but none has r·m/k more
  k, r        queries in a coding group (2,3,4 compares), parity models
  rate        queries a second, Poisson arrivals
  queries     how many
  service     seconds that a prediction takes; variation: its standard deviation ÷ mean
  slow        probability that an instance is slow; slot: for how many seconds, 0 for each prediction by itself
  slow_instances           how many instances are slow at any time
  correlation share of slots in which all instances are slow or none is
  delay       what slowness adds: constant, exponential or pareto, of mean delay_mean seconds
  kills       instances that die, at random times; a new one takes restart seconds
  encode, decode           seconds that the frontend takes
  deadline, hung_after, reconstruct_after, waiting     limits of the frontend
  copy_after  seconds after which a coded service sends a query whose group is not full once more
  hedge       percentile of latency behind which hedged sends a query once more
  backup_speed             how many times as fast as the deployed model the cheaper backup is
  available, degraded, fallback    accuracy of deployed, reconstructed and default answers
  backup_accuracy          accuracy of the cheaper backup
  seed        of arrivals, times and slowdowns; the same seed gives the same table
  folder      where table.csv and latency.png go
"""


@dataclass
class Load:
    """A service, what slows it, and what it is sent; ``HELP`` explains each."""

    instances: int = 12
    rate: float = 270.0
    queries: int = 100_000
    service: float = 0.025
    variation: float = 0.1
    slow: float = 0.01
    slot: float = 1.0
    slow_instances: int = 0
    correlation: float = 0.0
    delay: str = "constant"
    delay_mean: float = 0.25
    kills: int = 0
    restart: float = 14.0
    encode: float = 0.0001
    decode: float = 0.00002
    deadline: float = 10.0
    hung_after: float = float("inf")
    reconstruct_after: float = 0.0
    copy_after: float = float("inf")
    waiting: int = 10_000
    hedge: float = 95.0
    backup_speed: float = 5.0
    fallback: float = 0.1
    seed: int = 0
    folder: str = "runs/simulate"

    def check(self) -> None:
        """Raise a ``ConfigError`` with every value that is not right."""
        found = [f"{name}={getattr(self, name)}: more than 0 is right" for name in ABOVE if getattr(self, name) <= 0]
        found += [f"{name}={getattr(self, name)}: 0 or more is right" for name in LEAST if getattr(self, name) < 0]
        shares = [name for name in SHARES if hasattr(self, name)]
        found += [
            f"{name}={getattr(self, name)}: 0 to 1 is right" for name in shares if not 0 <= getattr(self, name) <= 1
        ]
        if self.delay not in DELAYS:
            found.append(f"delay={self.delay}: one of {', '.join(DELAYS)} is right")
        if not 0 < self.hedge < 100:
            found.append(f"hedge={self.hedge}: a percentile between 0 and 100 is right")
        if found:
            raise ConfigError(found)


@dataclass
class Settings(Load):
    """What to simulate."""

    strategies: list[str] = field(default_factory=lambda: list(NAMES))
    k: list[int] = field(default_factory=lambda: [2, 3, 4])
    r: int = 1
    available: float = 0.895
    degraded: float = 0.88
    backup_accuracy: float = 0.869

    def chosen(self) -> dict[int, list[Strategy]]:
        """Return the strategies to compare, for each k."""
        return {
            k: strategies(self.strategies, self.instances, k, self.r, self.backup_speed, self.hedge) for k in self.k
        }

    def accuracies(self, strategy: Strategy) -> Accuracies:
        """Return what the answers of a strategy are worth."""
        rebuilt = self.backup_accuracy if strategy.name == "backup" else self.degraded
        return Accuracies(self.available, rebuilt, self.fallback)


def simulate(settings: Load, strategy: Strategy, title: str | None = None) -> Outcome:
    """Simulate one strategy.

    Args:
        settings: Of the simulation.
        strategy: What to run.
        title: What a progress bar says; None for none.

    Example:
        >>> settings = Settings(queries=1000, slow=0.0)
        >>> outcome = simulate(settings, settings.chosen()[2][0])
        >>> len(outcome.latency), outcome.counts["deployed"]
        (1000, 1000)
    """
    arrivals = poisson(settings.rate, settings.queries, settings.seed)
    delay: Draw = DELAYS[settings.delay](settings.delay_mean)
    slowdowns = Slowdowns(
        settings.slow, delay, settings.slot, settings.correlation, settings.seed, settings.slow_instances
    )
    service = Service(lognormal(settings.service, settings.variation), slowdowns, strategy.speed, settings.seed + 1)
    after = None
    if strategy.copy_after is not None:
        after = _percentile(settings, strategy) if strategy.copy_after else 0.0
    copy_after = settings.copy_after if strategy.scheme.k > 1 else float("inf")
    base = Limits(settings.deadline, copy_after, settings.reconstruct_after, settings.hung_after, settings.waiting)
    frontend = Frontend(strategy.scheme, strategy.instances, strategy.limits(base, after))
    costs = Costs(settings.encode, settings.decode, settings.restart)
    shown = track(arrivals, title, settings.queries, transient=True) if title else arrivals
    return Simulation(frontend, service, costs).run(shown, _kills(settings, sum(strategy.instances)))


def _percentile(settings: Load, strategy: Strategy) -> float:
    """Return the latency behind which a query is sent once more: that of as many instances that hedge nothing."""
    plain = Strategy("equal", strategy.scheme, strategy.instances)
    assert strategy.copy_after is not None
    return simulate(settings, plain).percentile(strategy.copy_after)


def _kills(settings: Load, instances: int) -> list[tuple[float, int]]:
    random = np.random.default_rng([settings.seed, 3])
    times = random.random(settings.kills) * settings.queries / settings.rate
    return [
        (float(at), int(which)) for at, which in zip(times, random.integers(0, instances, settings.kills), strict=True)
    ]


def _panels(settings: Settings) -> dict[str, list[Row]]:
    """Simulate every strategy once, and return those of each k."""
    done: dict[tuple[str, tuple[int, ...]], Row] = {}
    panels: dict[str, list[Row]] = {}
    for k, chosen in settings.chosen().items():
        for one in chosen:
            if (one.name, one.instances) not in done:
                outcome = simulate(settings, one, one.name)
                accuracy = settings.accuracies(one).overall(outcome)
                done[one.name, one.instances] = Row(one.name, one.instances, outcome, accuracy)
        panels[f"k = {k}, r = {settings.r}"] = [done[one.name, one.instances] for one in chosen]
    return panels


def main(arguments: list[str] | None = None) -> int:
    """Simulate what the command line asks for, print one table and write it with a plot; return the exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    if any(argument in ("-h", "--help") for argument in given):
        print(HELP.format(names=", ".join(NAMES)))
        return 0
    try:
        settings = read(Settings, given)
        settings.check()
        panels = _panels(settings)
    except ParmtrainError as fault:
        print(fault, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    rows = list({(row.name, row.instances): row for shown in panels.values() for row in shown}.values())
    folder = Path(settings.folder)
    write_csv(rows, folder / "table.csv")
    plot(panels, folder / "latency.png")
    title = f"{settings.rate:g} queries/s, {settings.instances} instances and more, slow {settings.slow:g}"
    Console(width=None if sys.stdout.isatty() else 190).print(table(rows, title))
    print(f"in {folder}: table.csv, latency.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
