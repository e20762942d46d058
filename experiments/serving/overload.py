"""Twice as many queries as a fleet can serve: how soon is a query refused, and how long do the others take?

    python experiments/serving/overload.py OUT run=RUN [seconds=30] [times=2.0] [overloaded_after=0.5]

RUN is a run of digits with k = 2. Four instances of its deployed model and two of its parity model
(``live_instances.py``) block for 25 ms a prediction, so the fleet serves 160 queries per second; ``times`` as many come
at random times (Poisson). OUT/overload.json has the shares and the percentiles of answers and of refusals.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from live import FIRST, HERE, MODEL, PORT, bodies
from sending import Sender, wait_for
from soak import SCHEDULE

from parmtrain.serving.protocol.open_inference import Message
from parmtrain.serving.simulation.simulator import poisson
from parmtrain.settings import read_settings

DEPLOYED, PARITY, SERVICE = 4, 2, 0.025


@dataclass
class Settings:
    """What to do."""

    run: str = ""
    seconds: float = 30.0
    times: float = 2.0
    overloaded_after: float = 0.5


def main(out: Path, settings: Settings) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "schedule.json").write_text(json.dumps(SCHEDULE | {"service": SERVICE}))
    count = DEPLOYED + PARITY
    ports = [f"http://127.0.0.1:{FIRST + number}/v2/models" for number in range(count)]
    fleet = {
        "deployed": [f"{port}/deployed" for port in ports[:DEPLOYED]],
        "parity": [f"{port}/parity" for port in ports[DEPLOYED:]],
    }
    (out / "fleet.yaml").write_text(yaml.safe_dump(fleet))
    given = [str(FIRST), str(count), str(out / "schedule.json"), f"parity={settings.run}"]
    instances = subprocess.Popen([sys.executable, str(HERE / "live_instances.py"), *given], start_new_session=True)
    command = [
        sys.executable, "-m", "parmtrain.serve", f"bundle={settings.run}", f"fleet={out / 'fleet.yaml'}",
        f"port={PORT}", f"metrics_port={PORT + 99}", f"overloaded_after={settings.overloaded_after}", "copy_after=inf",
    ]  # fmt: skip
    answers: list[float] = []
    refusals: list[float] = []

    def heard(number: int, seconds: float, status: int, message: Message | None) -> None:
        (answers if message is not None else refusals).append(1e3 * seconds)

    rate = settings.times * DEPLOYED / SERVICE
    arrivals = np.array(list(poisson(rate, int(rate * settings.seconds), seed=0)))
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as front:
        try:
            for number in range(count):
                wait_for(f"http://127.0.0.1:{FIRST + number}/v2/health/ready")
            wait_for(f"http://127.0.0.1:{PORT}/v2/health/ready")
            asyncio.run(Sender(MODEL, bodies()[0], heard).at(arrivals))
        finally:
            front.terminate()
            os.killpg(instances.pid, signal.SIGTERM)
    found = {
        "queries per second": rate, "answered": len(answers), "refused": len(refusals),
        "without either": len(arrivals) - len(answers) - len(refusals),
        "p50, p99, longest of answers in ms": [round(float(np.percentile(answers, p)), 1) for p in (50, 99, 100)],
        "p50, p99, longest of refusals in ms": [round(float(np.percentile(refusals, p)), 1) for p in (50, 99, 100)],
    }  # fmt: skip
    (out / "overload.json").write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]), read_settings(Settings, sys.argv[2:]))
