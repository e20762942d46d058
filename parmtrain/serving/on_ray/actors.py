"""Instances and metrics on Ray."""

import asyncio
from typing import Any

import numpy as np
import ray
import torch
from ray.util import metrics
from torch import Tensor

from parmtrain.serving.frontend.events import Jobs
from parmtrain.serving.on_ray.worker import Worker
from parmtrain.serving.service.predictions import BATCHES, LATENCIES, MEASURES, Observer, Prediction

LEAST = 1e-9  # Ray's histograms reject zero


class ActorInstance:
    """Run one instance as an actor, and start another when it dies.

    Args:
        model: Reference to a ``Packed`` network in Ray's object store.
        cpus: CPUs that Ray reserves for it.
        gpus: GPUs that Ray reserves for it; without any it runs on the CPU.
        precision: In which type it calculates, as ``Runner`` takes it.
        worker: Class that the actor runs; it is given the model.
    """

    def __init__(
        self, model: Any, cpus: float, gpus: float = 0.0, precision: str = "float32", worker: type[Worker] = Worker
    ) -> None:
        self._model, self._worker = model, worker
        self._reserved = {"num_cpus": cpus, "num_gpus": gpus}
        self._runs = {"device": "cuda" if gpus else "cpu", "precision": precision}
        self.actor = self._made()

    def _made(self) -> Any:
        remote: Any = ray.remote(self._worker)
        return remote.options(**self._reserved, scheduling_strategy="SPREAD").remote(self._model, **self._runs)

    async def ready(self) -> None:
        """Wait until the actor is ready."""
        await self.actor.ready.remote()

    async def run(self, queries: Tensor) -> Any:
        """Run queries ``[b, *query]``; raise Ray's own error if the actor is gone."""
        output = await self.actor.run.remote(queries.numpy())
        return torch.from_numpy(output.copy()) if isinstance(output, np.ndarray) else output

    async def restart(self) -> None:
        """Replace the actor and wait until the new one is ready."""
        ray.kill(self.actor)
        while True:
            self.actor = self._made()
            try:
                await self.actor.ready.remote()
                return
            except ray.exceptions.RayActorError:
                await asyncio.sleep(1.0)


class Metrics(Observer):
    """Count answers and times in Ray's metrics, which its agents export to Prometheus."""

    def __init__(self) -> None:
        self.answers = metrics.Counter(*_named("answers"), tag_keys=("kind",))
        self.refused = metrics.Counter(*_named("refused"), tag_keys=("status",))
        self.latency = metrics.Histogram(*_named("latency_seconds"), boundaries=[*LATENCIES], tag_keys=("kind",))
        self.fill = metrics.Histogram(*_named("group_fill_seconds"), boundaries=[*LATENCIES])
        self.sizes = metrics.Histogram(*_named("batch_size"), boundaries=[*map(float, BATCHES)], tag_keys=("pool",))

    def answered(self, prediction: Prediction) -> None:
        """Count an answer."""
        tags = {"kind": prediction.kind.value}
        self.answers.inc(tags=tags)
        self.latency.observe(max(prediction.seconds, LEAST), tags=tags)

    def filled(self, seconds: float) -> None:
        """Count a group that was encoded."""
        self.fill.observe(max(seconds, LEAST))

    def dispatched(self, instance: int, jobs: Jobs) -> None:
        """Count a batch."""
        self.sizes.observe(len(jobs), tags={"pool": str(jobs[0].pool)})


def _named(measure: str) -> tuple[str, str]:
    """Return the name of a measure, and what it is."""
    return f"parmtrain_{measure}", MEASURES[measure]
