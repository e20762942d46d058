"""How many queries a second two cores serve, and what each costs: a plain server, a front before it, and Ray.

    python experiments/serving/throughput.py OUT run=RUN [modes=plain,front,…] [clients=32] [seconds=10] [instances=4]

RUN is a run of digits with k = 2. ``plain`` is one server of the deployed model on uvicorn (``--instance``); ``front``
a front before ``instances`` of them that does not code, ``coded`` one that does, with half as many parity instances,
and ``coded_batches`` with ``batch_max=8``. ``ray_plain`` is the same model as a deployment of Ray Serve with as many
replicas, ``ray_plain_batches`` with ``serve.batch``, and ``ray``, ``ray_batches`` are parmtrain on Ray. Clients in this
process ask one query after the other over the Open Inference Protocol. Processor time is that of the whole machine but
for this process, so nothing else may run. OUT/throughput.csv has the figures; modes that it has are not run again.
"""

import asyncio
import csv
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from live import bodies
from rich.console import Console
from rich.table import Table
from sending import Sender, ended, ticks, wait_for

from parmtrain.serving.protocol.open_inference import Message
from parmtrain.settings import read_settings

HERE = Path(__file__).parent
PORT, FIRST, WARM = 8900, 8901, 2.0
MODES = ["plain", "front", "coded", "coded_batches", "ray_plain", "ray_plain_batches", "ray", "ray_batches"]
MOST = 8


@dataclass
class Settings:
    """What to measure."""

    run: str = ""
    modes: list[str] = field(default_factory=lambda: list(MODES))
    clients: int = 32
    seconds: float = 10.0
    instances: int = 4


def machine() -> float:
    """Return the processor time of the whole machine in seconds."""
    with open("/proc/stat", encoding="ascii") as file:
        user, nice, system, _, _, interrupts, soft, *_ = map(int, file.readline().split()[1:])
    return (user + nice + system + interrupts + soft) / 100


@contextmanager
def served(settings: Settings, mode: str, out: Path) -> Iterator[str]:
    """Serve in one mode; yield the address of the model."""
    own, processes = [sys.executable, "-m", "parmtrain.serve"], []
    bundle, port = f"bundle={settings.run}", f"port={PORT}"
    batches = f"batch_max={MOST if mode.endswith('batches') else 1}"
    parity = max(1, settings.instances // 2)
    if mode == "plain":
        commands = [[*own, "--instance", bundle, port, "name=digits"]]
    elif mode.startswith("ray_plain"):
        commands = [
            [sys.executable, str(HERE / "ray_plain.py"), settings.run, str(PORT), str(settings.instances), mode]
        ]
    elif mode.startswith("ray"):
        commands = [[*own, bundle, port, f"replicas={settings.instances}", f"parity_replicas={parity}", batches]]
    else:
        pools = ["deployed"] * settings.instances + (["parity"] * parity if mode != "front" else [])
        ports = list(range(FIRST, FIRST + len(pools)))
        fleet: dict[str, list[str]] = {pool: [] for pool in pools}
        for at, pool in zip(ports, pools, strict=True):
            fleet[pool].append(f"http://127.0.0.1:{at}")
        (out / "fleet.yaml").write_text(yaml.safe_dump(fleet))
        commands = [
            [*own, "--instance", bundle, f"model={pool}", f"port={at}", f"largest={MOST}"]
            for at, pool in zip(ports, pools, strict=True)
        ]
        coded = f"coded={str(mode != 'front').lower()}"
        commands.append(
            [*own, bundle, port, f"metrics_port={PORT + 99}", f"fleet={out / 'fleet.yaml'}", coded, batches]
        )
    try:
        processes = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for command in commands]
        wait_for(f"http://127.0.0.1:{PORT}/v2/health/ready")
        yield f"http://127.0.0.1:{PORT}/v2/models/digits"
    finally:
        ended(processes)


def measured(settings: Settings, model: str) -> dict[str, float]:
    """Return throughput, latency and cost."""
    requests, _ = bodies()
    times: list[float] = []
    latency: list[float] = []
    refused: list[int] = []

    def heard(number: int, seconds: float, status: int, message: Message | None) -> None:
        if message is None:
            refused.append(status)
            return
        times.append(time.monotonic())
        latency.append(seconds)

    async def ask(seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await Sender(model, requests, heard).together(10**9, settings.clients)
        except TimeoutError:
            pass

    asyncio.run(ask(WARM))
    times.clear()
    latency.clear()
    used, mine, began = machine(), ticks(os.getpid()), time.monotonic()
    asyncio.run(ask(settings.seconds))
    taken = time.monotonic() - began
    cost = (machine() - used - (ticks(os.getpid()) - mine)) / len(times)
    return {
        "queries/s": len(times) / taken, "ms of processor time a query": 1e3 * cost,
        "p50 ms": 1e3 * float(np.percentile(latency, 50)), "p99 ms": 1e3 * float(np.percentile(latency, 99)),
        "refused": len(refused),
    }  # fmt: skip


def main(out: Path, settings: Settings) -> None:
    out.mkdir(parents=True, exist_ok=True)
    path, rows = out / "throughput.csv", list[dict[str, Any]]()
    if path.is_file():
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
    for mode in settings.modes:
        if any(row["mode"] == mode for row in rows):
            continue
        with served(settings, mode, out) as model:
            rows.append({"mode": mode, **{name: round(value, 2) for name, value in measured(settings, model).items()}})
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        print(rows[-1], flush=True)
        time.sleep(5)
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*map(str, row.values()))
    Console(width=110).print(table)


if __name__ == "__main__":
    main(Path(sys.argv[1]), read_settings(Settings, sys.argv[2:]))
