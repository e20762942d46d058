"""Which code to deploy: ``python -m parmtrain.advise results=STUDY/table.csv [key=value …]``."""

import csv
import json
import logging
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from pydantic import BaseModel, ValidationError

from parmtrain import drawing
from parmtrain.bounds import Bounds, Count, NotNegative, Share, Whole, bounded
from parmtrain.codes import Scheme
from parmtrain.command import Terminal, ending_quietly, log_to_terminal, progress, settings_command
from parmtrain.errors import DataError, reason_of
from parmtrain.outputs import ADVICE, TABLE, Outputs
from parmtrain.serving.latency_report import Accuracies, ServiceRow, latency_table, write_csv
from parmtrain.serving.strategies import Strategy, strategies
from parmtrain.settings import setting
from parmtrain.simulate import Load, simulate

log = logging.getLogger(__name__)
HELP = """Advise on a code: python -m parmtrain.advise results=FOLDER/table.csv [key=value …]

{settings}
"""
NEEDED = {"code", "k", "r", "late", "nobody_late", "degraded", "all_k", "scheme"}
RIVALS = ("none", "equal", "hedged")


class _Line(BaseModel):
    """One line of a comparison's table, as far as advice needs it."""

    code: str
    k: Annotated[int, bounded(Bounds(least=2))]
    r: Whole
    late: Count
    nobody_late: Share
    degraded: Share
    all_k: Share
    parity_flops: NotNegative = 0.0
    scheme: str = ""


_SHARE = "must be a number from 0 to 1"
_WORDS = {
    "code": "must be a name",
    "k": "must be an integer of 2 or more",
    "r": "must be an integer of 0 or more",
    "late": "must be an integer of 1 or more",
    **dict.fromkeys(("nobody_late", "degraded", "all_k"), _SHARE),
    "parity_flops": "must be a number of 0 or more",
}


@dataclass
class AdviceSettings(Load):
    """Settings of the advice."""

    results: str = setting("", "table.csv of parmtrain.compare, with codes, their schemes and accuracies")
    folder: str = setting("runs/advise", "folder for the table and the plot")
    outputs: ClassVar[Outputs] = ADVICE

    def faults(self) -> Iterator[str]:
        """Yield every fault except numbers out of bounds."""
        yield from super().faults()
        if not self.results:
            yield "results must be the table.csv that parmtrain.compare wrote, got none; set results=…"


@dataclass(frozen=True)
class Candidate:
    """A way to run the service, and the accuracies of its answers."""

    strategy: Strategy
    accuracies: Accuracies


def candidates(path: Path, load: Load) -> list[Candidate]:
    """Return the codes in the table of a comparison, and rivals with as many instances but without a code.

    Codes that cannot be simulated are left out, and the log says why.

    Raises:
        DataError: If the file is not such a table, or has no code that can be simulated.
    """
    found: dict[tuple[str, tuple[int, ...]], Candidate] = {}
    for number, cells in enumerate(_lines(path), 2):
        try:
            line = _Line.model_validate({name: cell for name, cell in cells.items() if name and cell})
            scheme = Scheme.from_json(json.loads(line.scheme)) if line.scheme else None
        except ValidationError as faults:
            fault = faults.errors()[0]
            name = str(fault["loc"][0])
            raise DataError(
                f"results={path}, line {number}: {name} {_WORDS[name]}, got {cells[name] or 'nothing'}"
            ) from faults
        except ValueError as fault:
            raise DataError(f"results={path}, line {number}: scheme cannot be read: {fault}") from fault
        name = f"code={line.code} k={line.k} r={line.r}"
        if line.late != 1:
            continue
        if scheme is None:
            log.info("%s: left out, since the table has no scheme for it", name)
        elif load.instances % line.k:
            log.info("%s: left out, since instances=%d is not a multiple of k", name, load.instances)
        else:
            for candidate in _candidates(line, scheme, load):
                found.setdefault((candidate.strategy.name, candidate.strategy.instances), candidate)
    if not found:
        raise DataError(
            f"{path} must have a code with a scheme and a k that divides instances={load.instances}, got none"
        )
    return list(found.values())


def _candidates(line: _Line, scheme: Scheme, load: Load) -> Iterator[Candidate]:
    """Yield a code of the table, and its rivals with r·m/k extra instances.

    Each instance of a pool of parity models gets the same load as one of the deployed model: a cheaper model needs
    fewer.
    """
    code, k, r = line.code, line.k, line.r
    available, degraded = line.nobody_late, line.degraded
    rebuilt = degraded if scheme.systematic else line.all_k
    share = _share(line, scheme)
    extra = [load.instances * scheme.pools.count(pool) / k for pool in range(max((0, *scheme.pools)) + 1)]
    instances = (
        load.instances + round(extra[0] if scheme.systematic else load.instances * r / k),
        *(max(1, round(share * more)) for more in extra[1:]),
    )
    speed = (1.0, *[1 / share] * len(extra[1:]))
    strategy = Strategy(f"{code} k={k} r={r}", scheme, instances, speed=speed)
    yield Candidate(strategy, Accuracies(available, rebuilt, load.fallback))
    if r and scheme.systematic:  # where nobody is late, a code that is not systematic answers worse than F
        rivals = strategies(RIVALS, load.instances, k, r, hedge=load.hedge)
        yield from (Candidate(one, Accuracies(available, degraded, load.fallback)) for one in rivals)


def _share(line: _Line, scheme: Scheme) -> float:
    """Return the arithmetic of one run of a parity model ÷ that of one run of the deployed model; 1 if unknown."""
    flops = line.parity_flops
    return flops / len(scheme.pools) if flops > 0 and scheme.systematic and scheme.pools else 1.0


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with open(path, encoding="utf-8", newline="") as file:
            lines = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as fault:
        raise DataError(f"results={path} cannot be read: {reason_of(fault)}") from fault
    missing = sorted(NEEDED - set(lines[0])) if lines else sorted(NEEDED)
    if missing:
        raise DataError(
            f"results={path} must be a table that this version of parmtrain.compare wrote; it lacks the columns "
            f"{', '.join(missing)}"
        )
    yield from lines


def plot_advice(rows: list[ServiceRow], title: str, path: Path) -> None:
    """Plot accuracy against the 99.9th percentile of latency, each mark labelled with its number of instances."""
    families: dict[str, list[ServiceRow]] = {}
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
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    drawing.save(figure, path)


def advise(settings: AdviceSettings) -> None:
    """Simulate every candidate, print one table sorted by tail latency, and write it with a plot."""
    rows = []
    for one in progress(candidates(Path(settings.results), settings), "simulating"):
        outcome = simulate(settings, one.strategy)
        rows.append(ServiceRow(one.strategy.name, one.strategy.instances, outcome, one.accuracies.overall(outcome)))
    rows.sort(key=lambda row: row.outcome.percentile(99.9))
    title = f"{settings.rate:g} queries/s, {settings.instances} or more instances, slow {settings.slow:g}"
    folder = Path(settings.folder)
    write_csv(rows, folder / TABLE)
    plot_advice(rows, title, folder / "advice.png")
    Terminal(wide=True).print(latency_table(rows, title))
    print(f"in {folder}: table.csv, advice.png")


@ending_quietly
def main(arguments: list[str] | None = None) -> int:
    """Advise on what the command line asks for; return the exit status."""
    log_to_terminal()
    return settings_command(AdviceSettings, HELP, advise, arguments)


if __name__ == "__main__":
    sys.exit(main())
