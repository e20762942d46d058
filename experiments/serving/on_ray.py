"""Tail latency on Ray on one machine: modes that use as many instances, one after the other, twice around.

    python experiments/serving/on_ray.py RUN FOLDER [rate=30] [queries=2500] [kills=0] [modes=equal,coded] …

RUN is a run's folder; its bundle is served with k = 2 by 4 + 2 instances, or its deployed model alone by 6. An
instance's prediction takes ``service`` seconds, during which its process is blocked; in 3 % of time slots an instance
is slow, and takes ten times as long. The slots are the same for all modes, counted from the first query. Queries come
over HTTP from this process, at random times (Poisson) that do not wait for answers, and latency counts from when a
query was meant to be sent. Each mode's figures are put beside the simulator's on the same slots and arrivals.
"""

import asyncio
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import numpy as np
import ray
import torch
from ray import serve
from rich.console import Console
from rich.progress import Progress

from parmtrain import load
from parmtrain.errors import ParmtrainError
from parmtrain.serving import Frontend, Kind, Limits, erasure_code, uncoded
from parmtrain.serving.app import build
from parmtrain.serving.delays import Service, Slowdowns, constant
from parmtrain.serving.settings import read
from parmtrain.serving.simulator import KINDS, Outcome, Simulation, poisson
from parmtrain.serving.tails import Row, plot, table, write_csv

MODES = {
    "none": (uncoded(), (4,), {"coded": False, "replicas": 4}),
    "equal": (uncoded(), (6,), {"coded": False, "replicas": 6}),
    "coded": (erasure_code(2, 1), (4, 2), {"replicas": 4}),
    "replication": (uncoded(), (6,), {"coded": False, "replicas": 6}),
}


@dataclass
class Settings:
    """What to measure."""

    modes: list[str] = field(default_factory=lambda: ["equal", "coded"])
    rate: float = 30.0
    queries: int = 2500
    rounds: int = 2
    service: float = 0.05
    slow: float = 0.03
    slot: float = 0.1
    kills: int = 0
    seed: int = 0


@dataclass
class Blocked:
    """Blocks an instance as long as its schedule says; experiment time begins when the file says so."""

    instance: int
    settings: Settings
    begun: Path
    since: float | None = None

    def __call__(self) -> None:
        if self.since is None and self.begun.exists():
            self.since = float(self.begun.read_text())
        now = 0.0 if self.since is None else time.time() - self.since
        slow = self.slowdowns().slow(self.instance, max(now, 0.0))
        time.sleep(self.settings.service * (10 if slow else 1))

    def slowdowns(self) -> Slowdowns:
        if not hasattr(self, "_slowdowns"):
            self._slowdowns = slowdowns(self.settings)
        return self._slowdowns


def slowdowns(settings: Settings) -> Slowdowns:
    return Slowdowns(settings.slow, constant(9 * settings.service), settings.slot, seed=settings.seed)


async def send(url: str, shape: list[int], settings: Settings, begun: Path, kill: Callable[[], None]) -> Outcome:
    """Send all queries at their times; return their latencies and how they were answered."""
    arrivals = list(poisson(settings.rate, settings.queries, settings.seed))
    queries = torch.rand(64, *shape, generator=torch.Generator().manual_seed(settings.seed)).numpy()
    latency, kinds, refused = np.zeros(len(arrivals)), np.zeros(len(arrivals), np.int8), Counter()
    answers: Counter[int] = Counter()
    kills = sorted(random.Random(settings.seed).sample(range(len(arrivals)), settings.kills))
    connector = aiohttp.TCPConnector(limit=0)
    headers = {"Content-Type": "application/octet-stream"}
    async with aiohttp.ClientSession(connector=connector) as session:

        async def ask(number: int) -> None:
            body = queries[number % 64].tobytes()
            async with session.post(url, data=body, headers=headers) as answer:
                content = await answer.json()
            latency[number] = time.time() - begun_at - arrivals[number]
            answers[number] += 1
            if "kind" in content:
                kinds[number] = KINDS.index(Kind(content["kind"]))
            else:
                refused[answer.status] += 1

        for number in range(20):  # connections and caches
            async with session.post(url, data=queries[number].tobytes(), headers=headers) as answer:
                await answer.read()
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
        async with session.get(f"{url}healthz") as health:
            counts = (await health.json())["counts"]
    lost, twice = sum(answers[i] == 0 for i in range(len(arrivals))), sum(count > 1 for count in answers.values())
    print(f"sent {len(arrivals)}, lost {lost}, answered twice {twice}, refused {dict(refused)}, frontend {counts}")
    return Outcome(latency, kinds, float("nan"), float("nan"), counts)


def kill_one() -> None:
    """Kill an instance's process, whichever."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "cmdline").read_bytes().startswith(b"ray::Worker"):
                found.append(int(folder.name))
        except OSError:
            continue
    if found:
        os.kill(random.choice(found), signal.SIGKILL)


def on_ray(run: Path, mode: str, settings: Settings, folder: Path) -> Outcome:
    """Serve in one mode, and send it all queries."""
    _, instances, arguments = MODES[mode]
    begun = folder / "begun.txt"
    begun.unlink(missing_ok=True)
    waits = [Blocked(instance, settings, begun) for instance in range(sum(instances))]
    arguments = {"bundle": str(run.resolve()), "copy_after": 0.0 if mode == "replication" else 5.0, **arguments}
    arguments |= {"deadline": 60.0, "hung_after": 30.0}
    serve.run(build(arguments, waits), name="parmtrain", route_prefix="/")
    shape = load(run).about["shapes"]["query"]
    outcome = asyncio.run(send("http://127.0.0.1:8000/", shape, settings, begun, kill_one))
    serve.delete("parmtrain")
    return outcome


def simulated(mode: str, settings: Settings, overhead: float) -> Outcome:
    """Simulate the same mode on the same slots and arrivals, with what Ray adds to every query put on top."""
    scheme, instances, _ = MODES[mode]
    limits = Limits(60.0, 0.0 if mode == "replication" else 5.0)
    times = Service(constant(settings.service), slowdowns(settings))
    simulation = Simulation(Frontend(scheme, instances, limits), times)
    outcome = simulation.run(poisson(settings.rate, settings.queries, settings.seed))
    return Outcome(outcome.latency + overhead, outcome.kind, outcome.work, outcome.utilisation, outcome.counts)


def together(outcomes: list[Outcome]) -> Outcome:
    """Return all queries of several rounds as one."""
    counts: Counter[str] = Counter()
    for outcome in outcomes:
        counts.update(outcome.counts)
    latency = np.concatenate([outcome.latency for outcome in outcomes])
    return Outcome(latency, np.concatenate([o.kind for o in outcomes]), float("nan"), float("nan"), dict(counts))


def main(run: Path, folder: Path, settings: Settings) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(log_to_driver=False, include_dashboard=False, logging_level="WARNING")
    serve.start(http_options={"host": "127.0.0.1", "port": 8000}, logging_config={"log_level": "WARNING"})
    measured: dict[str, list[Outcome]] = {mode: [] for mode in settings.modes}
    for number in range(settings.rounds):
        order = settings.modes if number % 2 == 0 else settings.modes[::-1]
        for mode in order:
            print(f"round {number + 1}, {mode}", flush=True)
            measured[mode].append(on_ray(run, mode, settings, folder))
    serve.shutdown()
    ray.shutdown()
    rows = []
    for mode, outcomes in measured.items():
        outcome = together(outcomes)
        model = simulated(mode, settings, 0.0)
        overhead = outcome.percentile(50) - model.percentile(50)
        rows.append(Row(f"{mode}, Ray", MODES[mode][1], outcome))
        rows.append(
            Row(f"{mode}, simulated + {overhead * 1e3:.0f} ms", MODES[mode][1], simulated(mode, settings, overhead))
        )
    title = (
        f"{settings.rate:g} queries/s, {settings.service * 1e3:g} ms, {settings.slow:.0%} of slots ten times as slow"
    )
    write_csv(rows, folder / "table.csv")
    plot({title: rows}, folder / "latency.png")
    Console(width=None if sys.stdout.isatty() else 190).print(table(rows, title))
    tails = {row.name: row.outcome.percentile(99) - row.outcome.percentile(50) for row in rows}
    if {"equal, Ray", "coded, Ray"} <= set(tails):
        medians = [row.outcome.percentile(50) for row in rows if row.name in ("equal, Ray", "coded, Ray")]
        print(
            f"(p99 − median) of equal ÷ that of coded: {tails['equal, Ray'] / tails['coded, Ray']:.2f}; "
            f"median of coded ÷ that of equal: {medians[1] / medians[0]:.3f}"
        )


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), Path(sys.argv[2]), read(Settings, sys.argv[3:]))
    except ParmtrainError as fault:
        sys.exit(str(fault))
