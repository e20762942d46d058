"""Tail latency on Ray on one machine: modes that use as many instances, one after the other.

    python experiments/serving/on_ray.py FOLDER run=RUN [modes=equal,coded,hedged] [rate=30] [queries=2500] …

RUN is the folder of a run with k = 2; its bundle is served by 4 + 2 instances, or its deployed model alone by 4
(``none``) or 6 (``equal``, ``hedged``, ``replication``). ``run3`` and ``run4`` are runs of k = 3 and 4, for ``coded3``
with 6 + 2 instances beside ``equal8``, and ``coded4`` with 4 + 1 beside ``equal5``; ``backup`` is a run of
``code=backup``.

An instance's prediction takes ``service`` seconds, during which its process is blocked; a backup's a fifth of that. In
a share ``slow`` of time slots an instance is slow, or a share of predictions where ``slot`` is 0, or the first
``slow_instances`` always are: that adds ``delay_mean`` seconds, of a ``delay`` distribution. Slots are the same for all
modes, counted from the first query. Queries come over HTTP from this process, at random times (Poisson) that do not
wait for answers, and latency counts from when a query was meant to be sent. Hedged sends a query once more behind the
95th percentile of ``equal``, which is measured before it. Each mode's figures are put beside the simulator's with the
same slots and arrivals. FOLDER gets table.csv, latency.png, and latency.npz with every query's latency.
"""

import asyncio
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import ray
import torch
from ray import serve
from rich.console import Console
from rich.progress import Progress

from parmtrain import load
from parmtrain.errors import ConfigError, ParmtrainError
from parmtrain.programs import Packed
from parmtrain.run_folder import RunFolder
from parmtrain.serving import Frontend, Kind, Limits, uncoded
from parmtrain.serving.on_ray.actors import ActorInstance
from parmtrain.serving.on_ray.app import FrontendDeployment, application
from parmtrain.serving.on_ray.worker import Worker
from parmtrain.serving.settings import ServeSettings
from parmtrain.serving.simulation.delays import ServiceTimes, Slowdowns, constant
from parmtrain.serving.simulation.latency_report import Accuracies, ServiceRow, latency_table, plot_latency, write_csv
from parmtrain.serving.simulation.simulator import KINDS, Outcome, Simulation, poisson
from parmtrain.settings import read_settings
from parmtrain.simulate import DELAYS

ADDRESS = "http://127.0.0.1:8000/"
BACKUP_SPEED = 5.0
WORKER = "BlockedWorker"  # which Ray puts into the name of its process


@dataclass(frozen=True)
class Mode:
    """A way to use instances: of which run, how many of each pool, and whether it is coded."""

    run: str
    instances: tuple[int, ...]
    coded: bool = False
    copies: str = ""


MODES = {
    "none": Mode("run", (4,)),
    "equal": Mode("run", (6,)),
    "coded": Mode("run", (4, 2), coded=True),
    "hedged": Mode("run", (6,), copies="late"),
    "replication": Mode("run", (6,), copies="at once"),
    "backup": Mode("backup", (4, 2), coded=True),
    "equal5": Mode("run", (5,)),
    "coded4": Mode("run4", (4, 1), coded=True),
    "equal8": Mode("run", (8,)),
    "coded3": Mode("run3", (6, 2), coded=True),
}


@dataclass
class Settings:
    """What to measure."""

    run: str = ""
    run3: str = ""
    run4: str = ""
    backup: str = ""
    modes: list[str] = field(default_factory=lambda: ["equal", "coded"])
    rate: float = 30.0
    queries: int = 2500
    rounds: int = 2
    service: float = 0.05
    slow: float = 0.03
    slot: float = 0.1
    slow_instances: int = 0
    delay: str = "constant"
    delay_mean: float = 0.45
    kills: int = 0
    seed: int = 0

    def faults(self) -> Iterator[str]:
        for mode in self.modes:
            if mode not in MODES:
                yield f"modes must be some of {', '.join(MODES)}, got {mode}"
        for name in sorted({MODES[mode].run for mode in self.modes if mode in MODES}):
            run = getattr(self, name)
            if not run or not RunFolder(Path(run)).finished:
                yield f"{name} must be the folder of a finished run, got {run or 'none'}"
        if "hedged" in self.modes and "equal" not in self.modes[: self.modes.index("hedged")]:
            yield "modes must have equal before hedged, which waits as long as 95 % of its queries take"
        if self.delay not in DELAYS:
            yield f"delay must be one of {', '.join(DELAYS)}, got {self.delay}"

    def folder(self, mode: Mode) -> RunFolder:
        return RunFolder(Path(getattr(self, mode.run)).resolve())

    def times(self, mode: Mode, seed: int) -> ServiceTimes:
        """Return how long instances take."""
        slowdowns = Slowdowns(
            self.slow, DELAYS[self.delay](self.delay_mean), self.slot, 0.0, self.seed, self.slow_instances
        )
        speed = (1.0, BACKUP_SPEED if mode.run == "backup" else 1.0)
        return ServiceTimes(constant(self.service), slowdowns, speed, seed)


@dataclass(frozen=True)
class Blocking:
    """How long predictions take in one mode; experiment time begins when a file says so."""

    mode: Mode
    settings: Settings
    begun: Path


class BlockedWorker(Worker):
    """A worker that blocks as long as the schedule of its instance says, and then predicts."""

    number: int
    pool: int
    how: Blocking
    since: float | None = None

    def __init__(self, model: Packed, **runs: str) -> None:
        super().__init__(model, **runs)
        self.times = self.how.settings.times(self.how.mode, self.how.settings.seed + self.number)

    def run(self, queries: np.ndarray) -> np.ndarray:
        if self.since is None and self.how.begun.exists():
            self.since = float(self.how.begun.read_text())
        now = 0.0 if self.since is None else time.time() - self.since
        time.sleep(self.times.seconds(self.number, self.pool, max(now, 0.0)))
        return super().run(queries)


class BlockedFrontend(FrontendDeployment):
    """The frontend of a service whose instances block."""

    async def __init__(self, settings: dict[str, Any], how: Blocking) -> None:  # type: ignore[misc]
        self.how = how
        await super().__init__(settings)  # type: ignore[misc]

    def instance(self, number: int, pool: int, model: Any) -> ActorInstance:
        slowed = type(WORKER, (BlockedWorker,), {"number": number, "pool": pool, "how": self.how})
        return ActorInstance(model, self.settings.cpus, worker=slowed)


async def health(session: aiohttp.ClientSession) -> dict[str, Any]:
    async with session.get(f"{ADDRESS}healthz") as answer:
        state: dict[str, Any] = await answer.json()
        return state


async def send(
    shape: tuple[int, ...], instances: int, settings: Settings, begun: Path, kill: Callable[[], None]
) -> Outcome:
    """Send all queries at their times; return their latencies and how they were answered."""
    arrivals = list(poisson(settings.rate, settings.queries, settings.seed))
    queries = torch.rand(64, *shape, generator=torch.Generator().manual_seed(settings.seed)).numpy()
    latency, kinds = np.zeros(len(arrivals)), np.zeros(len(arrivals), np.int8)
    refused: Counter[int] = Counter()
    answers: Counter[int] = Counter()
    kills = sorted(random.Random(settings.seed).sample(range(len(arrivals)), settings.kills))
    connector = aiohttp.TCPConnector(limit=0)
    headers = {"Content-Type": "application/octet-stream"}
    async with aiohttp.ClientSession(connector=connector) as session:

        async def ask(number: int) -> None:
            body = queries[number % 64].tobytes()
            async with session.post(ADDRESS, data=body, headers=headers) as answer:
                content = await answer.json()
            latency[number] = time.time() - begun_at - arrivals[number]
            answers[number] += 1
            if "kind" in content:
                kinds[number] = KINDS.index(Kind(content["kind"]))
            else:
                refused[answer.status] += 1

        for number in range(20):  # connections and caches
            async with session.post(ADDRESS, data=queries[number].tobytes(), headers=headers) as answer:
                await answer.read()
        await asyncio.sleep(1.0)  # what the others of a group still run
        before = await health(session)
        begun_at = time.time() + 0.5
        begun.write_text(str(begun_at))
        asked = []
        with Progress(transient=True) as progress:
            bar = progress.add_task("queries", total=len(arrivals))
            for number, at in enumerate(arrivals):
                await asyncio.sleep(max(begun_at + at - time.time(), 0.0))
                asked.append(asyncio.create_task(ask(number)))
                if kills and number == kills[0]:
                    kills.pop(0)
                    kill()
                progress.update(bar, completed=number)
            await asyncio.gather(*asked)
        span = time.time() - begun_at
        await asyncio.sleep(1.0)
        after = await health(session)
    counts = {name: count - before["counts"].get(name, 0) for name, count in after["counts"].items()}
    occupied = np.subtract(after["occupied"], before["occupied"])
    lost, twice = sum(answers[i] == 0 for i in range(len(arrivals))), sum(count > 1 for count in answers.values())
    print(f"sent {len(arrivals)}, lost {lost}, answered twice {twice}, refused {dict(refused)}, frontend {counts}")
    return Outcome(latency, kinds, float(occupied.sum()) / len(arrivals), float(occupied[0]) / span / instances, counts)


def kill_one() -> None:
    """Kill an instance's process, whichever."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "cmdline").read_bytes().startswith(f"ray::{WORKER}".encode()):
                found.append(int(folder.name))
        except OSError:
            continue
    if found:
        os.kill(random.choice(found), signal.SIGKILL)


def copy_after(mode: Mode, equal: list[Outcome]) -> float:
    """Return when a query is sent once more."""
    if mode.copies == "at once":
        return 0.0
    return equal[-1].percentile(95.0) if mode.copies == "late" else 5.0


def on_ray(mode: Mode, after: float, settings: Settings, folder: Path) -> Outcome:
    """Serve in one mode, and send it all queries."""
    begun = folder / "begun.txt"
    begun.unlink(missing_ok=True)
    run = settings.folder(mode).path
    served = ServeSettings(
        bundle=str(run),
        coded=mode.coded,
        replicas=mode.instances[0],
        parity_replicas=mode.instances[1] if mode.coded else None,
        deadline=60.0,
        copy_after=after,
        hung_after=30.0,
    )
    blocking = Blocking(mode, settings, begun.resolve())
    serve.run(application(served, BlockedFrontend, how=blocking), name="parmtrain", route_prefix="/")
    outcome = asyncio.run(send(load(run).query_shape, mode.instances[0], settings, begun, kill_one))
    serve.delete("parmtrain")
    return outcome


def simulated(mode: Mode, after: float, settings: Settings) -> Outcome:
    """Simulate the same mode with the same slots and arrivals."""
    scheme = load(settings.folder(mode).path).scheme if mode.coded else uncoded()
    frontend = Frontend(scheme, mode.instances, Limits(deadline=60.0, copy_after=after))
    simulation = Simulation(frontend, settings.times(mode, settings.seed))
    return simulation.run(poisson(settings.rate, settings.queries, settings.seed))


def accuracies(run: RunFolder) -> Accuracies:
    """Return what answers of each kind are worth, as the run measured it on its test split."""
    metrics = run.read_metrics()
    return Accuracies(*(metrics[part]["accuracy"] for part in ("available", "degraded", "default")))


def together(outcomes: list[Outcome]) -> Outcome:
    """Return all queries of several rounds as one."""
    counts: Counter[str] = Counter()
    for outcome in outcomes:
        counts.update(outcome.counts)
    return Outcome(
        np.concatenate([outcome.latency for outcome in outcomes]),
        np.concatenate([outcome.kind for outcome in outcomes]),
        float(np.mean([outcome.work for outcome in outcomes])),
        float(np.mean([outcome.utilisation for outcome in outcomes])),
        dict(counts),
    )


def compared(rows: dict[str, ServiceRow], one: str, other: str) -> None:
    """Print how much nearer to its median the tail of the other is."""
    if one in rows and other in rows:
        medians, high = ([rows[name].percentile(percent) for name in (one, other)] for percent in (50, 99))
        if None in high:
            return  # too few queries
        tails = np.subtract(high, medians)
        print(
            f"(p99 − median) of {one} ÷ that of {other}: {tails[0] / tails[1]:.2f}; "
            f"median of {other} ÷ that of {one}: {medians[1] / medians[0]:.3f}"
        )


def main(folder: Path, settings: Settings) -> None:
    faults = list(settings.faults())
    if faults:
        raise ConfigError(faults)
    folder.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(log_to_driver=False, include_dashboard=False, logging_level="WARNING")
    serve.start(http_options={"host": "127.0.0.1", "port": 8000}, logging_config={"log_level": "WARNING"})
    measured: dict[str, list[Outcome]] = {mode: [] for mode in settings.modes}
    waited: dict[str, float] = {}
    for number in range(settings.rounds):
        order = settings.modes if number % 2 == 0 else settings.modes[::-1]
        for name in order:
            print(f"round {number + 1}, {name}", flush=True)
            waited[name] = copy_after(MODES[name], measured.get("equal", []))
            measured[name].append(on_ray(MODES[name], waited[name], settings, folder))
    serve.shutdown()
    ray.shutdown()
    rows: list[ServiceRow] = []
    real: dict[str, ServiceRow] = {}
    model: dict[str, ServiceRow] = {}
    for name, outcomes in measured.items():
        mode, worth = MODES[name], accuracies(settings.folder(MODES[name]))
        simulation = simulated(mode, copy_after(mode, [model["equal"].outcome] if "equal" in model else []), settings)
        for label, found, outcome in (("Ray", real, together(outcomes)), ("simulated", model, simulation)):
            found[name] = ServiceRow(f"{name}, {label}", mode.instances, outcome, worth.overall(outcome))
            rows.append(found[name])
    slow = f"{settings.slow:.0%} of {'slots' if settings.slot else 'predictions'} slow"
    title = f"{settings.rate:g} queries/s, {settings.service * 1e3:g} ms, {slow}"
    write_csv(rows, folder / "table.csv")
    np.savez_compressed(folder / "latency.npz", **{row.name: row.outcome.latency for row in rows})
    plot_latency({f"Ray: {title}": list(real.values()), "simulated": list(model.values())}, folder / "latency.png")
    Console(width=None if sys.stdout.isatty() else 190).print(latency_table(rows, title))
    for label, found in (("Ray", real), ("simulated", model)):
        print(f"{label}:")
        for one, other in (("equal", "coded"), ("hedged", "coded"), ("equal5", "coded4"), ("equal8", "coded3")):
            compared(found, one, other)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), read_settings(Settings, sys.argv[2:]))
    except ParmtrainError as fault:
        sys.exit(str(fault))
