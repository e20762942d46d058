"""Instances for ``live.py``: processes that block as long as a schedule says, and then predict.

    python experiments/serving/live_instances.py PORT COUNT SCHEDULE NAME=RUN [NAME=RUN …]

COUNT processes listen on PORT, PORT + 1, …; each serves the deployed model of the first run as ``deployed``, and the
parity model of each run by its name, over the Open Inference Protocol. SCHEDULE is a JSON file with the seconds that a
prediction takes and with the slowdowns; it is read again when it changes, and experiment time begins when it says so.
"""

import json
import multiprocessing
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from parmtrain.serving.instances.model_server import InstanceSettings, OneModel, one_model
from parmtrain.serving.process.event_loop import freeze
from parmtrain.serving.protocol.dataplane import Answered, DataPlane
from parmtrain.serving.protocol.http import Protocol, application
from parmtrain.serving.protocol.listening import serve, taken
from parmtrain.serving.simulation.delays import ServiceTimes, Slowdowns, constant
from parmtrain.simulate import DELAYS


class Schedule:
    """How long an instance takes, as a file says."""

    def __init__(self, path: Path, number: int) -> None:
        self.path, self.number, self.changed = path, number, 0
        self.began, self.times = 0.0, ServiceTimes(constant(0.0))

    def seconds(self) -> float:
        """Return the seconds of a prediction that starts now."""
        changed = self.path.stat().st_mtime_ns
        if changed != self.changed:
            self.changed, given = changed, json.loads(self.path.read_text())
            delay = DELAYS[given["delay"]](given["delay_mean"])
            slowdowns = Slowdowns(given["slow"], delay, given["slot"], given["correlation"], given["seed"])
            self.began = given["began"]
            self.times = ServiceTimes(constant(given["service"]), slowdowns, seed=given["seed"] + self.number)
        return self.times.seconds(self.number, 0, max(time.monotonic() - self.began, 0.0))


class Blocking(OneModel):
    """A model whose whole process blocks while it predicts."""

    schedule: Schedule

    async def infer(self, queries: np.ndarray, parameters: Mapping[str, Any], headers: Mapping[str, Any]) -> Answered:
        time.sleep(self.schedule.seconds())
        return Answered(self.run(queries))


def models(runs: dict[str, str]) -> list[OneModel]:
    """Return the deployed model, and a parity model for each run that has one."""
    first = next(iter(runs.values()))
    own = [one_model(InstanceSettings(bundle=first))]
    return own + [one_model(InstanceSettings(bundle=run, model="parity", name=name)) for name, run in runs.items()]


def run(port: int, number: int, schedule: Path, served: list[OneModel]) -> None:
    blocking = []
    for model in served:
        one = Blocking(model.name, model.runner, model.query_shape, model.outputs)
        one.schedule = Schedule(schedule, number)
        blocking.append(one)
    freeze()
    with taken("127.0.0.1", port + number, "port") as bound:
        serve(application(Protocol(DataPlane(*blocking)).routes), bound)


if __name__ == "__main__":
    torch.set_num_threads(1)
    first, count, path, *given = sys.argv[1:]
    loaded = models(dict(one.split("=", 1) for one in given))
    fork = multiprocessing.get_context("fork")  # PyTorch is loaded once
    for number in range(int(count)):
        fork.Process(target=run, args=(int(first), number, Path(path), loaded)).start()
