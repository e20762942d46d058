"""A service under load whose instances are killed, stopped and started again at random: is any query lost?

    python experiments/serving/soak.py OUT run=RUN [queries=1000000] [rate=270] [every=2.0] [seed=0]

RUN is a run of digits with k = 2. Six instances of its deployed model and three of its parity model
(``live_instances.py``) are processes of their own, before which a front stands. Every ``every`` seconds on average one
of them is killed, and started again two seconds later, or stopped for as long. At most a third of each pool is away at
a time. OUT/soak.json has what came of all queries, and the front's memory over time.
"""

import asyncio
import json
import random
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from live import FIRST, HERE, MODEL, PORT, bodies
from rich.progress import Progress
from sending import Sender, memory, wait_for

from parmtrain.serving.protocol.open_inference import Message
from parmtrain.serving.simulation.simulator import poisson
from parmtrain.settings import read_settings

POOLS = {"deployed": 6, "parity": 3}
AWAY = 2.0  # seconds
SCHEDULE = {
    "began": 0.0, "service": 0.005, "slow": 0.0, "slot": 0.0, "correlation": 0.0, "delay": "constant",
    "delay_mean": 0.0, "seed": 0,
}  # fmt: skip


@dataclass
class Settings:
    """What to do."""

    run: str = ""
    queries: int = 1_000_000
    rate: float = 270.0
    every: float = 2.0
    seed: int = 0


class Instances:
    """Processes that come and go."""

    def __init__(self, settings: Settings, out: Path) -> None:
        self.settings, self.out, self.random = settings, out, random.Random(settings.seed)
        self.ports = range(FIRST, FIRST + sum(POOLS.values()))
        self.pool_of = dict(zip(self.ports, self._pools(), strict=True))
        self.processes = {port: self.start(port) for port in self.ports}
        self.away: set[int] = set()
        self.events: Counter[str] = Counter()

    @staticmethod
    def _pools() -> list[str]:
        return [pool for pool, count in POOLS.items() for _ in range(count)]

    def start(self, port: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, str(HERE / "live_instances.py"), str(port), "1", str(self.out / "schedule.json")]
        return subprocess.Popen([*command, f"parity={self.settings.run}"], start_new_session=True)

    def signal(self, port: int, which: signal.Signals) -> None:
        subprocess.run(["kill", f"-{int(which)}", "--", f"-{self.processes[port].pid}"], check=False)

    async def disturb(self) -> None:
        """Kill or stop one instance after the other."""
        while True:
            await asyncio.sleep(self.random.expovariate(1 / self.settings.every))
            port = self.random.choice(list(self.ports))
            pool = self.pool_of[port]
            gone = sum(self.pool_of[other] == pool for other in self.away)
            if port in self.away or gone >= POOLS[pool] // 3:
                continue
            self.away.add(port)
            asyncio.get_running_loop().create_task(self.one(port, self.random.choice(["killed", "stopped"])))

    async def one(self, port: int, how: str) -> None:
        self.events[how] += 1
        self.signal(port, signal.SIGKILL if how == "killed" else signal.SIGSTOP)
        await asyncio.sleep(AWAY)
        if how == "killed":
            self.processes[port] = self.start(port)
            await asyncio.sleep(15.0)  # it loads PyTorch
        else:
            self.signal(port, signal.SIGCONT)
        self.away.discard(port)

    def end(self) -> None:
        for port in self.ports:
            self.signal(port, signal.SIGCONT)
            self.signal(port, signal.SIGKILL)


async def load(settings: Settings, instances: Instances, front: int) -> dict[str, Any]:
    arrivals = np.array(list(poisson(settings.rate, settings.queries, settings.seed)))
    requests, _ = bodies()
    answers, latency = np.zeros(len(arrivals), np.int8), np.full(len(arrivals), np.nan)
    kinds: Counter[str] = Counter()
    used: list[float] = []

    def heard(number: int, seconds: float, status: int, message: Message | None) -> None:
        answers[number] += 1
        latency[number] = seconds
        kinds[str(message.parameters["kind"]) if message else f"status {status}"] += 1

    disturbing = asyncio.create_task(instances.disturb())
    with Progress(transient=True) as progress:
        bar = progress.add_task("queries", total=len(arrivals))

        def sent(number: int) -> None:
            if number % (len(arrivals) // 50 or 1) == 0:
                used.append(round(memory(front), 1))
                progress.update(bar, completed=number)

        await Sender(MODEL, requests, heard).at(arrivals, sent=sent)
    disturbing.cancel()
    return {
        "queries": len(arrivals),
        "lost": int((answers == 0).sum()),
        "twice": int((answers > 1).sum()),
        "kinds": dict(kinds),
        "killed and stopped": dict(instances.events),
        "p50, p99, p99.9, longest in ms": [
            round(float(np.nanpercentile(latency, p)) * 1e3, 1) for p in (50, 99, 99.9, 100)
        ],
        "memory of the front in MiB": used,
    }


def main(out: Path, settings: Settings) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "schedule.json").write_text(json.dumps(SCHEDULE))
    instances = Instances(settings, out)
    fleet: dict[str, list[str]] = {pool: [] for pool in POOLS}
    for port, pool in instances.pool_of.items():
        fleet[pool].append(f"http://127.0.0.1:{port}/v2/models/{pool}")
    (out / "fleet.yaml").write_text(yaml.safe_dump(fleet))
    command = [
        sys.executable, "-m", "parmtrain.serve", f"bundle={settings.run}", f"fleet={out / 'fleet.yaml'}",
        f"port={PORT}", f"metrics_port={PORT + 99}", "deadline=30", "hung_after=0.5", "copy_after=0.2",
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as front:
        try:
            for port in instances.ports:
                wait_for(f"http://127.0.0.1:{port}/v2/health/ready")
            wait_for(f"http://127.0.0.1:{PORT}/v2/health/ready")
            found = asyncio.run(load(settings, instances, front.pid))
        finally:
            front.send_signal(signal.SIGTERM)
            instances.end()
    (out / "soak.json").write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]), read_settings(Settings, sys.argv[2:]))
