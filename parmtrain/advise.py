"""Which code to deploy: ``python -m parmtrain.advise results=STUDY/table.csv [key=value …]``."""

import csv
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import track

from parmtrain import drawing
from parmtrain.errors import ConfigError, DataError, ParmtrainError
from parmtrain.serving.scheme import Scheme, erasure_code, mask
from parmtrain.serving.settings import read
from parmtrain.serving.strategies import Strategy, strategies
from parmtrain.serving.tails import Accuracies, Row, table, write_csv
from parmtrain.simulate import Load, simulate

HELP = """Advise on a code: python -m parmtrain.advise results=FOLDER/table.csv [key=value …]

  results     the table that parmtrain.compare wrote: codes, their k and r, and their A_d; codes whose workers all
              run coded queries are left out

and all that describes a service and its load, as python -m parmtrain.simulate --help explains: instances, rate,
queries, service, variation, slow, slot, correlation, delay, delay_mean, kills, …, seed, folder
"""


@dataclass
class Settings(Load):
    """What to advise on."""

    results: str = ""
    folder: str = "runs/advise"


@dataclass(frozen=True)
class Candidate:
    """A way to run the service, and what its answers are worth."""

    strategy: Strategy
    accuracies: Accuracies


def candidates(path: Path, load: Load) -> list[Candidate]:
    """Return what the table of a comparison lets one choose from, beside as many instances without a code.

    Raises:
        DataError: If it is no such table, or has nothing that can be simulated.
    """
    found: dict[tuple[str, tuple[int, ...]], Candidate] = {}
    for line in _lines(path):
        code, k, r = line["code"], int(line["k"]), int(line["r"])
        available, degraded = float(line["nobody_late"]), float(line["degraded"])
        accuracies = Accuracies(available, degraded, load.fallback)
        name = code if code in ("replication", "backup") else "coded"
        extra = 1 if name != "coded" else r
        if line["late"] != "1" or load.instances % k or not _systematic(code):
            continue
        for strategy in strategies(["none", "equal", "hedged", name], load.instances, k, extra, load.backup_speed):
            one = strategy
            if strategy.name.startswith("coded"):
                one = Strategy(f"{code} k={k} r={r}", scheme(code, k, r), strategy.instances)
            found.setdefault((one.name, one.instances), Candidate(one, accuracies))
    if not found:
        raise DataError(f"{path} has no code that divides instances={load.instances} into whole groups")
    return list(found.values())


def scheme(code: str, k: int, r: int) -> Scheme:
    """Return the scheme of a code by its name: one output of a code with heads gives all k predictions.

    Example:
        >>> bin(scheme("concat_heads", 3, 1).recoverable(0b1000))
        '0b111'
    """
    if not code.endswith("_heads"):
        return erasure_code(k, r)
    everyone = mask([True] * k)
    return Scheme(k, k + 1, True, (1,), lambda arrived: everyone if arrived >> k else arrived & everyone)


def _systematic(code: str) -> bool:
    return not code.startswith(("berrut", "nercc", "learned", "guess", "default", "mean", "always"))


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with open(path, encoding="utf-8", newline="") as file:
            lines = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError) as fault:
        raise DataError(f"results={path} cannot be read: {fault}") from fault
    needed = {"code", "k", "r", "late", "nobody_late", "degraded"}
    if not lines or not needed <= set(lines[0]):
        raise DataError(f"results={path} is no table of parmtrain.compare: it needs {', '.join(sorted(needed))}")
    yield from lines


def plot(rows: list[Row], title: str, path: Path) -> None:
    """Plot accuracy against the 99.9th percentile of latency, each mark with its number of instances."""
    families: dict[str, list[Row]] = {}
    for row in rows:
        families.setdefault(row.name.split()[0], []).append(row)
    figure = Figure(figsize=(8.4, 5.2), layout="constrained")
    axes = figure.subplots()
    for number, (family, members) in enumerate(families.items()):
        tails = [row.outcome.percentile(99.9) * 1e3 for row in members]
        accuracies = [row.accuracy or 0.0 for row in members]
        axes.plot(tails, accuracies, "osD^v*P"[number % 7], color=f"C{number % 10}", alpha=0.7, ms=8, label=family)
        for row, tail, accuracy in zip(members, tails, accuracies, strict=True):
            place = {"xytext": (6, 3), "textcoords": "offset points", "fontsize": 6}
            axes.annotate(str(sum(row.instances)), (tail, accuracy), **place)  # type: ignore[arg-type]
    axes.set(title=title, xlabel="99.9th percentile of latency in ms", ylabel="overall accuracy", xscale="log")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    drawing.save(figure, path)


def main(arguments: list[str] | None = None) -> int:
    """Print one table, the best tail first, and write it with a plot; return the exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    if any(argument in ("-h", "--help") for argument in given):
        print(HELP)
        return 0
    try:
        settings = read(Settings, given)
        settings.check()
        if not settings.results:
            raise ConfigError(["results=: the table.csv that parmtrain.compare wrote is right"])
        rows = []
        for one in track(candidates(Path(settings.results), settings), description="simulating", transient=True):
            outcome = simulate(settings, one.strategy)
            rows.append(Row(one.strategy.name, one.strategy.instances, outcome, one.accuracies.overall(outcome)))
    except ParmtrainError as fault:
        print(fault, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    rows.sort(key=lambda row: row.outcome.percentile(99.9))
    title = f"{settings.rate:g} queries/s, {settings.instances} instances and more, slow {settings.slow:g}"
    folder = Path(settings.folder)
    write_csv(rows, folder / "table.csv")
    plot(rows, title, folder / "advice.png")
    Console(width=None if sys.stdout.isatty() else 190).print(table(rows, title))
    print(f"in {folder}: table.csv, advice.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
