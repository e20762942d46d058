"""What batches are worth: how long a model takes by batch size, and a service of it with and without batches.

    python experiments/serving/batches.py OUT [device=cuda] [most=1,8,32] [clients=64] [seconds=10] …

The deployed model is a ResNet-18 for 32x32 pictures with random weights, and so is the parity model (k = 2, sum), since
neither figure depends on what they were trained for. First each is timed in this process for every size of batch:
OUT/curve_PRECISION.csv, which ``parmtrain.simulate batch_curve=…`` reads. Then ``instances`` instances of the deployed
model and half as many parity instances run on the device, each a process, behind a front; for each ``batch_max`` of
``most``, ``clients`` clients ask one query after the other (throughput), and then queries come at random times at 0.8
times the throughput that was reached one by one (latency). OUT/batches.csv and OUT/batches.png have the figures.
"""

import asyncio
import csv
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
import yaml
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from sending import Sender, ended, ending, ticks, wait_for

import parmtrain
from parmtrain.bundle import Bundle
from parmtrain.drawing import finish, look, save, styled
from parmtrain.programs import Network
from parmtrain.serving.instances.runner import Runner
from parmtrain.serving.protocol.open_inference import Message, write
from parmtrain.serving.simulation.batch_curve import BatchCurve
from parmtrain.serving.simulation.simulator import poisson
from parmtrain.settings import read_settings

SHAPE, CLASSES = (3, 32, 32), 10
PORT, FIRST = 8800, 8801
SIZES = (1, 2, 4, 8, 16, 32, 64)
MODEL = f"http://127.0.0.1:{PORT}/v2/models/module"
LOAD = 0.8
WARM = 2.0  # seconds that are left out


@dataclass
class Settings:
    """What to measure."""

    device: str = "cpu"
    precisions: list[str] = field(default_factory=lambda: ["float32"])
    most: list[int] = field(default_factory=lambda: [1, 8, 32])
    instances: int = 2
    threads: int = 1
    clients: int = 64
    seconds: float = 10.0
    wait: float = 0.0


def bundle_of(out: Path) -> str:
    """Train for one step, so that there is a bundle; return its folder."""
    if not (out / "run" / "metrics.json").is_file():
        torch.manual_seed(0)
        network = torchvision.models.resnet18(num_classes=CLASSES).eval()
        queries = torch.rand(64, *SHAPE)
        data = torch.utils.data.TensorDataset(queries, torch.randint(CLASSES, (64,)))
        cfg = parmtrain.compose(
            "task=module", f"task.query_shape={list(SHAPE)}", f"task.outputs={CLASSES}", "k=2", "code=sum",
            "logger=csv", "trainer.max_epochs=1", "trainer.accelerator=cpu", "+trainer.limit_train_batches=1",
        )  # fmt: skip
        parmtrain.run(cfg, out / "run", deployed=network, data=data)
    return str(out / "run")


def curves(settings: Settings, run: str, out: Path) -> dict[str, dict[str, BatchCurve]]:
    """Measure each model of the bundle alone."""
    found: dict[str, dict[str, BatchCurve]] = {}
    torch.set_num_threads(settings.threads)
    for precision in settings.precisions:
        bundle = Bundle(run)
        models: dict[str, Network] = {"deployed": bundle.deployed, "parity": bundle.parity_models[0]}
        found[precision] = {
            name: BatchCurve.measured(Runner(model, settings.device, precision), SHAPE, SIZES)
            for name, model in models.items()
        }
        found[precision]["deployed"].write(out / f"curve_{precision}.csv")
    return found


def start(settings: Settings, run: str, precision: str, out: Path, processes: list[subprocess.Popen[bytes]]) -> None:
    """Start the instances."""
    pools = {"deployed": settings.instances, "parity": max(1, settings.instances // 2)}
    fleet: dict[str, list[str]] = {pool: [] for pool in pools}
    port = FIRST
    for pool, count in pools.items():
        for _ in range(count):
            command = [
                sys.executable, "-m", "parmtrain.serve", "--instance", f"bundle={run}", f"model={pool}",
                f"port={port}", f"device={settings.device}", f"precision={precision}", f"largest={max(settings.most)}",
                f"threads={settings.threads}",
            ]  # fmt: skip
            processes.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
            fleet[pool].append(f"http://127.0.0.1:{port}")
            port += 1
    (out / "fleet.yaml").write_text(yaml.safe_dump(fleet))
    for one in range(FIRST, port):
        wait_for(f"http://127.0.0.1:{one}/v2/health/ready")


class Heard:
    """Times and latencies of queries that were answered."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.seconds: list[float] = []
        self.kinds: list[str] = []

    def __call__(self, number: int, seconds: float, status: int, message: Message | None) -> None:
        if message is not None:
            self.times.append(time.monotonic())
            self.seconds.append(seconds)
            self.kinds.append(str(message.parameters.get("kind")))


def served(settings: Settings, run: str, most: int, out: Path, rate: float | None) -> dict[str, Any]:
    """Serve with one ``batch_max``; return throughput, and latency at a rate of queries."""
    command = [
        sys.executable, "-m", "parmtrain.serve", f"bundle={run}", f"fleet={out / 'fleet.yaml'}", f"port={PORT}",
        f"metrics_port={PORT + 99}", f"batch_max={most}", f"batch_wait={settings.wait}", "deadline=60",
        "unusual=coded", "copy_after=inf", "fill_after=inf",
    ]  # fmt: skip
    queries = np.random.default_rng(0).random((64, 1, *SHAPE), dtype=np.float32)
    requests = [write("inputs", {"query": (query, True)}, wanted="prediction") for query in queries]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as front, ending(front):
        wait_for(f"http://127.0.0.1:{PORT}/v2/health/ready")
        busy, spaced = Heard(), Heard()
        began, used = time.monotonic(), ticks(front.pid)
        asyncio.run(_for(settings, requests, busy))
        per_query = (ticks(front.pid) - used) / len(busy.times)
        late = np.array(busy.times) - began
        counted = late[(late > WARM) & (late < settings.seconds)]
        throughput = float(len(counted) / (counted.max() - counted.min()))
        rate = rate or LOAD * throughput
        arrivals = np.array(list(poisson(rate, int(rate * settings.seconds), seed=0)))
        asyncio.run(Sender(MODEL, requests, spaced).at(arrivals))
    latency = np.array(spaced.seconds) * 1e3
    return {
        "queries/s": throughput, "front ms a query": per_query * 1e3, "at queries/s": rate,
        **{f"p{percent:g} ms": float(np.percentile(latency, percent)) for percent in (50, 99, 99.9)},
        "answered": len(latency) / len(arrivals),
        "reconstructed": float(np.mean([kind == "reconstructed" for kind in spaced.kinds])),
    }  # fmt: skip


async def _for(settings: Settings, requests: Any, heard: Heard) -> None:
    sender = Sender(MODEL, requests, heard)
    try:
        async with asyncio.timeout(settings.seconds):
            await sender.together(10**9, settings.clients)
    except TimeoutError:
        pass


@styled()
def plot(found: dict[str, dict[str, BatchCurve]], path: Path) -> None:
    """Plot milliseconds a query by batch size."""
    figure = Figure(figsize=(6.4, 4.6))
    axes = figure.subplots()
    lines = [(precision, name, curve) for precision, models in found.items() for name, curve in models.items()]
    for number, (precision, name, curve) in enumerate(lines):
        each = [1e3 * seconds / size for size, seconds in zip(curve.sizes, curve.seconds, strict=True)]
        axes.plot(curve.sizes, each, **look(number), label=f"{name}, {precision}")
    axes.set(title="Time per query", xscale="log", yscale="log", xlabel="queries in a batch", ylabel="ms per query")
    axes.set_xticks(SIZES, [str(size) for size in SIZES])
    axes.minorticks_off()
    axes.yaxis.set_major_formatter("{x:g}")
    finish(axes)
    save(figure, path)


def main(out: Path, settings: Settings) -> None:
    out.mkdir(parents=True, exist_ok=True)
    run = bundle_of(out)
    found = curves(settings, run, out)
    plot(found, out / "batches.png")
    where = torch.cuda.get_device_name() if settings.device.startswith("cuda") else "CPU, a core each"
    for precision, models in found.items():
        for name, curve in models.items():
            each = ", ".join(
                f"{size}: {1e3 * value:.3g}" for size, value in zip(curve.sizes, curve.seconds, strict=True)
            )
            print(f"{where}, {name}, {precision}, ms by batch size: {each}", flush=True)
    rows: list[dict[str, Any]] = []
    for precision in settings.precisions:
        processes, rate = list[subprocess.Popen[bytes]](), None
        try:
            start(settings, run, precision, out, processes)
            for most in settings.most:
                figures = served(settings, run, most, out, rate)
                rate = figures["at queries/s"]
                rows.append({"precision": precision, "batch_max": most, **figures})
                print(rows[-1], flush=True)
                with (out / "batches.csv").open("w", newline="") as file:
                    writer = csv.DictWriter(file, list(rows[0]))
                    writer.writeheader()
                    writer.writerows(rows)
        finally:
            ended(processes)
    table = Table(*rows[0], title=where)
    for row in rows:
        table.add_row(*(f"{value:.4g}" if isinstance(value, float) else str(value) for value in row.values()))
    Console(width=150).print(table)


if __name__ == "__main__":
    main(Path(sys.argv[1]), read_settings(Settings, sys.argv[2:]))
