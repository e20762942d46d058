"""The paper's headline, live: tail latency of real processes before which a front stands, in modes of equal cost.

    python experiments/serving/live.py OUT sum=RUN heads=RUN [k=2] [modes=none,equal,sum,…] [queries=100000] …

RUN is a run of digits with this k; each name is a mode, ``coded`` by that run's bundle. Other modes are ``none`` (m
instances of the deployed model), ``equal`` (m + m/k), ``hedged`` (``equal``; a query is sent again behind the 95th
percentile of ``equal``), and the simulator's further strategies, as ``heads_sure`` with the bundle of
``heads``. ``backup`` must be a run of code=backup. Instances (``live_instances.py``) are 18 processes
that block for ``service`` seconds a prediction, and ``delay_mean`` more while they are slow. Queries come at random
times (Poisson) that do not wait for answers; latency counts from when a query was meant to be sent. All modes see the
same arrivals and the same slowdowns. OUT/MODE.npz has every latency; a mode that has one is not run again. OUT gets
table.csv and latency.png, with the simulator's figures beside.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import urllib.request
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from rich.console import Console
from sending import Sender, ticks, wait_for

from parmtrain import compose
from parmtrain.bundle import Bundle
from parmtrain.config import assemble
from parmtrain.serving import Frontend, Kind, Limits, uncoded
from parmtrain.serving.frontend.acceptance import Acceptance
from parmtrain.serving.frontend.trust import Trust
from parmtrain.serving.protocol.open_inference import Message, write
from parmtrain.serving.simulation.delays import ServiceTimes, Slowdowns, constant, drawn
from parmtrain.serving.simulation.latency_report import ServiceRow, latency_table, plot_latency, write_csv
from parmtrain.serving.simulation.simulator import KINDS, Costs, Outcome, Simulation, poisson
from parmtrain.serving.simulation.strategies import NAMES, Strategy, strategies
from parmtrain.settings import read_settings
from parmtrain.simulate import DELAYS

HERE = Path(__file__).parent
PORT, FIRST, INSTANCES = 8700, 8701, 18
LEFT_OUT = 5.0  # seconds at the start
UNKNOWN = 1.0  # seconds after which a query is late while no percentile is known
MODEL = f"http://127.0.0.1:{PORT}/v2/models/digits"


@dataclass
class Settings:
    """What to measure."""

    sum: str = ""
    heads: str = ""
    lowres: str = ""
    backup: str = ""
    k: int = 2
    m: int = 12
    modes: list[str] = field(default_factory=lambda: ["none", "equal", "sum", "heads", "hedged", "backup"])
    rate: float = 270.0
    queries: int = 100_000
    service: float = 0.025
    slow: float = 0.01
    slot: float = 0.1
    correlation: float = 0.0
    delay: str = "constant"
    delay_mean: float = 0.25
    transport: float = 0.0
    accept: float = 0.97  # promised agreement, of modes that ask for confidence
    seed: int = 0

    def strategy(self, mode: str) -> Strategy:
        """Return the simulator's strategy of a mode's name, or of one that is named after its code."""
        return strategies([mode if mode in NAMES else "coded"], self.m, self.k, r=1)[0]

    @property
    def runs(self) -> dict[str, str]:
        every = {name: getattr(self, name) for name in ("sum", "heads", "lowres", "backup")}
        return {name: run for name, run in every.items() if run}

    def run(self, mode: str) -> str | None:
        """Return the name of the run that a mode codes with; None for one that does not."""
        name = mode.partition("_")[0]
        return name if name in self.runs else None


def bodies() -> tuple[list[tuple[bytes, dict[str, str]]], np.ndarray]:
    """Return the queries of the test split as requests, and their labels."""
    task = assemble.build(compose().task)
    test = task.splits().test
    stored, labels = test[torch.arange(len(test))]
    queries = task.input(stored).numpy()
    return [write("inputs", {"query": (query[None], True)}, wanted="prediction") for query in queries], labels.numpy()


async def load(settings: Settings, schedule: Path, front: int) -> dict[str, np.ndarray]:
    """Send all queries at their times; return what came of them."""
    arrivals = np.array(list(poisson(settings.rate, settings.queries, settings.seed)))
    requests, labels = bodies()
    count = len(arrivals)
    latency, kinds, answers = np.full(count, np.inf), np.full(count, -1, np.int8), np.zeros(count, np.int8)
    right = np.zeros(count, bool)

    def heard(number: int, seconds: float, status: int, message: Message | None) -> None:
        answers[number] += 1
        if message is not None:  # one that fails has no latency
            latency[number], kinds[number] = seconds, KINDS.index(Kind(message.parameters["kind"]))
            right[number] = message.tensors["prediction"].argmax() == labels[number % len(labels)]

    sender = Sender(MODEL, requests, heard)
    await sender.together(200, clients=1)
    latency[:], kinds[:], answers[:], right[:] = np.inf, -1, 0, False
    used = ticks(front)
    await sender.at(arrivals, lambda began: write_schedule(settings, schedule, began))
    used = ticks(front) - used
    with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/metrics", timeout=5) as response:
        lines = response.read().decode().splitlines()
    pause = next(float(line.split()[1]) for line in lines if line.startswith("parmtrain_loop_pause_seconds "))
    return {
        "arrivals": arrivals, "latency": latency, "kinds": kinds, "right": right, "answers": answers,
        "processor": np.array(used / count), "pause": np.array(pause),
    }  # fmt: skip


def write_schedule(settings: Settings, path: Path, began: float) -> None:
    names = ("service", "slow", "slot", "correlation", "delay", "delay_mean", "seed")
    path.with_suffix(".new").write_text(
        json.dumps({"began": began} | {name: getattr(settings, name) for name in names})
    )
    path.with_suffix(".new").rename(path)


def live(settings: Settings, mode: str, out: Path, late: float) -> dict[str, np.ndarray]:
    """Serve in one mode, and send it all queries."""
    strategy, coding = settings.strategy(mode), settings.run(mode)
    servers = iter(range(FIRST, FIRST + INSTANCES))
    fleet = {
        pool: [f"http://127.0.0.1:{next(servers)}/v2/models/{name}" for _ in range(count)]
        for pool, name, count in zip(["deployed", "parity"], ["deployed", coding], strategy.instances, strict=False)
    }
    (out / "fleet.yaml").write_text(yaml.safe_dump(fleet))
    run = settings.runs[coding or next(iter(settings.runs))]
    command = [
        sys.executable, "-m", "parmtrain.serve", f"bundle={run}", f"fleet={out / 'fleet.yaml'}", f"port={PORT}",
        f"metrics_port={PORT + 99}", f"coded={str(coding is not None).lower()}", f"copy_after={late}",
        "fill_after=inf", "deadline=60", *(f"{name}={value}".lower() for name, value in strategy.changes.items()),
    ]  # fmt: skip
    if strategy.below is not None:
        command += [f"accept={settings.accept}", f"below={strategy.below}"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as front:
        try:
            wait_for(f"http://127.0.0.1:{PORT}/v2/health/ready")
            return asyncio.run(load(settings, out / "schedule.json", front.pid))
        finally:
            front.send_signal(signal.SIGTERM)


def simulated(settings: Settings, mode: str, late: float) -> Outcome:
    """Return the outcome of the same mode in simulated time."""
    strategy, coding = settings.strategy(mode), settings.run(mode)
    scheme = uncoded() if coding is None else Bundle(settings.runs[coding]).scheme
    delay = DELAYS[settings.delay](settings.delay_mean)
    slowdowns = Slowdowns(settings.slow, delay, settings.slot, settings.correlation, settings.seed)
    times = ServiceTimes(constant(settings.service + settings.transport), slowdowns, seed=settings.seed)
    trust, share = None, 1.0
    if strategy.below is not None and coding is not None:
        share = accepted(settings.runs[coding], settings.accept)
        trust = Trust(Acceptance([1 - share], strategy.below))
    limits = strategy.limits(Limits(deadline=60, copy_after=late), None)
    frontend = Frontend(scheme, strategy.instances, limits, trust=trust)
    arrivals = poisson(settings.rate, settings.queries, settings.seed)
    confidences = drawn(lambda random, count: random.random(count), np.random.default_rng([settings.seed, 4]))
    return Simulation(frontend, times, Costs(0.0, 0.0, 14.0), confidences=confidences.__next__).run(arrivals)


def accepted(run: str, promised: float) -> float:
    """Return the share of a run's reconstructions that is accepted, as its test split says."""
    metrics = json.loads((Path(run) / "metrics.json").read_text())
    return float(metrics["confidence"]["1"]["promised_agreement"][f"{promised:g}"]["share"])


def outcome_of(found: dict[str, np.ndarray]) -> Outcome:
    counted = found["arrivals"] > LEFT_OUT
    return Outcome(found["latency"][counted], found["kinds"][counted], 0.0, 0.0, {})


def copy_after(settings: Settings, mode: str, done: dict[str, dict[str, Any]]) -> float:
    """Return the seconds after which a mode sends a query again, or does until it knows its own percentiles."""
    if mode == "hedged":
        return outcome_of(done["equal"]).percentile(95)
    return UNKNOWN if "copy_percentile" in settings.strategy(mode).changes else inf


def spread(outcome: Outcome) -> float:
    return outcome.percentile(99.9) - outcome.percentile(50)


def main(out: Path, settings: Settings) -> None:
    out.mkdir(parents=True, exist_ok=True)
    write_schedule(settings, out / "schedule.json", 0.0)
    done: dict[str, dict[str, Any]] = {}
    given = [f"{name}={run}" for name, run in settings.runs.items()]
    arguments = [str(FIRST), str(INSTANCES), str(out / "schedule.json"), *given]
    instances = subprocess.Popen([sys.executable, str(HERE / "live_instances.py"), *arguments], start_new_session=True)
    try:
        for port in range(FIRST, FIRST + INSTANCES):
            wait_for(f"http://127.0.0.1:{port}/v2/health/ready")
        for mode in settings.modes:
            kept = out / f"{mode}.npz"
            if not kept.is_file():
                np.savez_compressed(out / "part.npz", **live(settings, mode, out, copy_after(settings, mode, done)))
                (out / "part.npz").rename(kept)
            done[mode] = dict(np.load(kept))
            report(settings, done, out)
    finally:
        os.killpg(instances.pid, signal.SIGTERM)


def report(settings: Settings, done: dict[str, dict[str, Any]], out: Path) -> None:
    """Print and write what is known."""
    rows, lines = [], []
    equal = spread(outcome_of(done["equal"])) if "equal" in done else np.nan
    for mode, found in done.items():
        lived, counts = outcome_of(found), settings.strategy(mode).instances
        model = simulated(settings, mode, copy_after(settings, mode, done))
        rows += [ServiceRow(f"{mode}, live", counts, lived, float(found["right"][found["arrivals"] > LEFT_OUT].mean()))]
        rows += [ServiceRow(f"{mode}, simulated", counts, model)]
        lines.append(
            f"{mode}: (p99.9 - median) of equal ÷ its own {equal / spread(lived):.1f}; front "
            f"{1e3 * found['processor']:.2f} ms of processor time a query, longest pause of the last minute "
            f"{1e3 * found['pause']:.0f} ms; lost {int((found['answers'] == 0).sum())}, twice "
            f"{int((found['answers'] > 1).sum())}, without a prediction {int((found['kinds'] < 0).sum())}"
        )
    write_csv(rows, out / "table.csv")
    plot_latency({f"k = {settings.k}, {settings.rate:g} queries/s": rows}, out / "latency.png")
    Console(width=190).print(latency_table(rows, f"{settings.queries} queries, slow {settings.slow:g}"))
    print("\n".join(lines), flush=True)
    (out / "ratios.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), read_settings(Settings, sys.argv[2:]))
