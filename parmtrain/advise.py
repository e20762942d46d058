"""Which code to deploy: ``python -m parmtrain.advise results=STUDY/table.csv [key=value …]``."""

import csv
import json
import logging
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ValidationError

from parmtrain.bounds import Bounds, Count, NotNegative, Share, Whole, bounded
from parmtrain.codes import Scheme
from parmtrain.command import Terminal, ending_quietly, log_to_terminal, progress, settings_command
from parmtrain.compare.table import GUESS
from parmtrain.errors import DataError, reason_of
from parmtrain.outputs import ADVICE, TABLE, Outputs
from parmtrain.serving.simulation.advice import TAIL, advice, plot_advice
from parmtrain.serving.simulation.latency_report import Accuracies, ServiceRow, latency_table, write_csv
from parmtrain.serving.simulation.strategies import Strategy, strategies
from parmtrain.settings import setting
from parmtrain.simulate import Load, simulate

log = logging.getLogger("parmtrain.advise")  # as __main__, it would not be heard
HELP = """Advise on a code: python -m parmtrain.advise results=FOLDER/table.csv [key=value …]

{settings}

The first answer to a query counts: a cheap model that is often first lowers the accuracy, unless reconstruct_after=…
waits for the deployed model.
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
    parity_latency: NotNegative = 0.0
    variant: str = ""
    scheme: str = ""

    @property
    def name(self) -> str:
        """The code, and what else distinguishes it from other lines."""
        return " ".join(part for part in (self.code, self.variant, f"k={self.k} r={self.r}") if part)


_SHARE = "must be a number from 0 to 1"
_WORDS = {
    "code": "must be a name",
    "k": "must be an integer of 2 or more",
    "r": "must be an integer of 0 or more",
    "late": "must be an integer of 1 or more",
    **dict.fromkeys(("nobody_late", "degraded", "all_k"), _SHARE),
    **dict.fromkeys(("parity_flops", "parity_latency"), "must be a number of 0 or more"),
}


@dataclass
class AdviceSettings(Load):
    """Settings of the advice."""

    results: str = setting("", "table.csv of parmtrain.compare, with codes, their schemes and accuracies")
    margin: float = setting(0.001, "overall accuracy to give up at most for a shorter tail", least=0, most=1)
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
    lines = [(number, *_read(cells, f"results={path}, line {number}")) for number, cells in _lines(path)]
    first: dict[str, int] = {}
    for number, line, _ in lines:
        if line.late == 1:
            first.setdefault(line.name, number)
    left_out: dict[str, dict[str, None]] = {}
    for number, line, scheme in lines:
        if line.code == GUESS or (line.late != 1 and line.name in first):
            continue
        why = _why_not(line, scheme, load)
        if why is None and first[line.name] != number:
            why = f"line {first[line.name]} is for the same code as line {number}"
        if why is not None:
            left_out.setdefault(why, {})[line.name] = None
        else:
            assert scheme is not None
            for candidate in _candidates(line, scheme, load):
                found.setdefault((candidate.strategy.name, candidate.strategy.instances), candidate)
    reasons = [f"{why}: {', '.join(names)}" for why, names in left_out.items()]
    if not found:
        more = f"; {reasons[0]}" if reasons else ""
        raise DataError(f"results={path} must have a code that can be simulated, got none{more}")
    for reason in reasons:
        log.info("left out, since %s", reason)
    return list(found.values())


def _why_not(line: _Line, scheme: Scheme | None, load: Load) -> str | None:
    """Return why a code cannot be simulated; None if it can."""
    if line.late != 1:
        return "the table has no line with late=1"
    if scheme is None:
        return "the table has no scheme"
    return f"instances={load.instances} is not a multiple of k={line.k}" if load.instances % line.k else None


def _read(cells: dict[str, Any], where: str) -> tuple[_Line, Scheme | None]:
    """Return one line of the table, and its scheme if it has one.

    Raises:
        DataError: If they cannot be read, or contradict each other.
    """
    try:
        line = _Line.model_validate({name: cell for name, cell in cells.items() if name and cell})
        scheme = Scheme.from_json(json.loads(line.scheme)) if line.scheme else None
    except ValidationError as faults:
        fault = faults.errors()[0]
        name = str(fault["loc"][0])
        raise DataError(f"{where}: {name} {_WORDS[name]}, got {cells[name] or 'nothing'}") from faults
    except ValueError as fault:
        raise DataError(f"{where}: scheme cannot be read: {fault}") from fault
    if scheme is not None:
        for column, given, right in (("k", line.k, scheme.k), ("r", line.r, scheme.n - scheme.k)):
            if given != right:
                raise DataError(f"{where}: {column} must be {right}, as in the scheme of the line, got {given}")
    return line, scheme


def _candidates(line: _Line, scheme: Scheme, load: Load) -> Iterator[Candidate]:
    """Yield a code of the table, and its rivals with r·m/k extra instances.

    Each instance of a pool of parity models gets the same load as one of the deployed model: a cheaper model needs
    fewer.
    """
    k, r = line.k, line.r
    available, degraded = line.nobody_late, line.degraded
    rebuilt = degraded if scheme.systematic else line.all_k
    share = _share(line, scheme)
    extra = [load.instances * scheme.pools.count(pool) / k for pool in range(max((0, *scheme.pools)) + 1)]
    instances = (
        load.instances + round(extra[0] if scheme.systematic else load.instances * r / k),
        *(max(1, round(share * more)) for more in extra[1:]),
    )
    speed = (1.0, *[1 / share] * len(extra[1:]))
    strategy = Strategy(line.name, scheme, instances, speed=speed)
    yield Candidate(strategy, Accuracies(available, rebuilt, load.fallback))
    if r and scheme.systematic:  # where nobody is late, a code that is not systematic answers worse than F
        rivals = strategies(RIVALS, load.instances, k, r, hedge=load.hedge)
        yield from (Candidate(one, Accuracies(available, degraded, load.fallback)) for one in rivals)


def _share(line: _Line, scheme: Scheme) -> float:
    """Return the time of one run of a parity model ÷ that of one run of the deployed model; 1 if unknown.

    It is the measured latency, or for older tables the FLOPs.
    """
    if not scheme.systematic or not scheme.pools:
        return 1.0
    return line.parity_latency or line.parity_flops / len(scheme.pools) or 1.0


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield each line of the table with its number.

    Raises:
        DataError: If the file cannot be read, or is no such table.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:  # with the mark that Excel writes, or without
            reader = csv.DictReader(file)
            names = list(reader.fieldnames or [])
            lines = [(reader.line_num, cells) for cells in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as fault:
        raise DataError(f"results={path} cannot be read: {reason_of(fault)}") from fault
    for mark, other in ((";", "semicolons"), ("\t", "tabs")):
        if len(names) == 1 and mark in names[0]:
            raise DataError(f"results={path} must have commas between its columns, got {other}; save it with commas")
    if missing := sorted(NEEDED - set(names)):
        raise DataError(
            f"results={path} must be a table that this version of parmtrain.compare wrote; it lacks the columns "
            f"{', '.join(missing)}"
        )
    yield from lines


def advise(settings: AdviceSettings) -> None:
    """Simulate every candidate, print one table sorted by tail latency, and write it with a plot."""
    rows = []
    for one in progress(candidates(Path(settings.results), settings), "simulating"):
        outcome = simulate(settings, one.strategy)
        rows.append(ServiceRow(one.strategy.name, one.strategy.instances, outcome, one.accuracies.overall(outcome)))
    rows.sort(key=lambda row: row.outcome.percentile(TAIL))
    title = f"{settings.rate:g} queries/s, {settings.instances} or more instances, slow {settings.slow:g}"
    folder = Path(settings.folder)
    write_csv(rows, folder / TABLE)
    plot_advice(rows, title, folder / "advice.png")
    Terminal(wide=True).print(latency_table(rows, title))
    print(advice(rows, settings.margin))
    print(f"in {folder}: table.csv, advice.png")


@ending_quietly
def main(arguments: list[str] | None = None) -> int:
    """Advise on what the command line asks for; return the exit status."""
    log_to_terminal()
    return settings_command(AdviceSettings, HELP, advise, arguments)


if __name__ == "__main__":
    sys.exit(main())
