"""Which code to deploy: ``parmtrain advise results=STUDY/table.csv [key=value …]``."""

import logging
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from parmtrain.codes import Scheme
from parmtrain.command import Terminal, ending_quietly, log_to_terminal, settings_command
from parmtrain.compare.lines import AcceptedCells, Line, accepted_of, lines_of, read_line
from parmtrain.compare.table import GUESS
from parmtrain.errors import DataError
from parmtrain.outputs import ADVICE, TABLE, Outputs
from parmtrain.progress import progress
from parmtrain.serving.frontend.acceptance import Below
from parmtrain.serving.simulation.advice import TAIL, advice, plot_advice
from parmtrain.serving.simulation.latency_report import Accuracies, ServiceRow, latency_table, write_csv
from parmtrain.serving.simulation.strategies import Strategy, strategies
from parmtrain.settings import setting
from parmtrain.simulate import Load, simulate

log = logging.getLogger("parmtrain.advise")  # as __main__, it would not be heard
HELP = """Advise on a code: parmtrain advise results=FOLDER/table.csv [key=value …]

{settings}

Example: parmtrain advise results=comparison/table.csv rate=270 slow=0.01

The first answer to a query counts: a cheap model that is often first lowers the accuracy, unless reconstruct_after=…
waits for the deployed model.
"""
RIVALS = ("none", "equal", "hedged")


@dataclass
class AdviceSettings(Load):
    """Settings of the advice."""

    results: str = setting("", "table.csv of parmtrain compare, with codes, their schemes and accuracies")
    margin: float = setting(0.001, "overall accuracy to give up at most for a shorter tail", least=0, most=1)
    folder: str = setting("runs/advise", "folder for the table and the plot")
    outputs: ClassVar[Outputs] = ADVICE

    def faults(self) -> Iterator[str]:
        """Yield every fault except numbers out of bounds."""
        yield from super().faults()
        if not self.results:
            yield "results must be the table.csv that parmtrain compare wrote, got none; set results=…"


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
    read = list(lines_of(path))
    lines = [(number, *read_line(cells, f"results={path}, line {number}")) for number, cells in read]
    accepted = {number: accepted_of(cells, f"results={path}, line {number}") for number, cells in read}
    first: dict[str, int] = {}
    for number, line, _ in lines:
        if line.late == 1:
            first.setdefault(line.name, number)
    left_out: dict[str, dict[str, None]] = {}
    for number, line, scheme in lines:
        if line.code == GUESS or (line.late != 1 and line.name in first):
            continue
        why = _why_not(line, scheme, load)
        if any(one.share and one.own is None for one in accepted[number].values()):
            left_out.setdefault("the table of an older version does not state accepted_own_…", {})[
                f"{line.name} accept=…"
            ] = None
        if why is None and first[line.name] != number:
            why = f"line {first[line.name]} is for the same code as line {number}"
        if why is not None:
            left_out.setdefault(why, {})[line.name] = None
        else:
            assert scheme is not None
            for candidate in _candidates(line, scheme, load, accepted[number]):
                found.setdefault((candidate.strategy.name, candidate.strategy.instances), candidate)
    reasons = [f"{why}: {', '.join(names)}" for why, names in left_out.items()]
    if not found:
        more = f"; {reasons[0]}" if reasons else ""
        raise DataError(f"results={path} must have a code that can be simulated, got none{more}")
    for reason in reasons:
        log.info("left out, since %s", reason)
    return list(found.values())


def _why_not(line: Line, scheme: Scheme | None, load: Load) -> str | None:
    """Return why a code cannot be simulated; None if it can."""
    if line.late != 1:
        return "the table has no line with late=1"
    if scheme is None:
        return "the table has no scheme"
    return f"instances={load.instances} is not a multiple of k={line.k}" if load.instances % line.k else None


def _candidates(line: Line, scheme: Scheme, load: Load, accepted: dict[str, AcceptedCells]) -> Iterator[Candidate]:
    """Yield a code of the table, also with each promise that it can give, and rivals with r·m/k extra instances.

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
    for promised, one in accepted.items():
        if scheme.systematic and one.share and one.value is not None and one.own is not None:
            sure = replace(strategy, name=f"{line.name} accept={promised}", below=Below.wait, accepted=one.share)
            of_accepted = available, rebuilt, load.fallback, one.share, one.value, one.own
            yield Candidate(sure, Accuracies.of_accepted(*of_accepted))
    if r and scheme.systematic:  # where nobody is late, a code that is not systematic answers worse than F
        rivals = strategies(RIVALS, load.instances, k, r, hedge=load.hedge)
        yield from (Candidate(one, Accuracies(available, degraded, load.fallback)) for one in rivals)


def _share(line: Line, scheme: Scheme) -> float:
    """Return the time of one run of a parity model ÷ that of one run of the deployed model; 1 if unknown.

    It is the measured latency, or for older tables the FLOPs.
    """
    if not scheme.systematic or not scheme.pools:
        return 1.0
    return line.parity_latency or line.parity_flops / len(scheme.pools) or 1.0


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
