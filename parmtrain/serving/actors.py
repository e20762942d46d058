"""Instances and metrics on Ray."""

import asyncio
from typing import Any

import numpy as np
import ray
import torch
from ray.util import metrics
from torch import Tensor

from parmtrain.serving.service import Prediction
from parmtrain.serving.worker import Worker

LATENCIES = [0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0]
LEAST = 1e-9  # Ray's histograms reject zero


class ActorInstance:
    """Run one instance as an actor, and start another when it dies.

    Args:
        model: Reference to a ``Packed`` network in Ray's object store.
        cpus: CPUs that Ray reserves for it.
        worker: Class that the actor runs; it is given the model.
    """

    def __init__(self, model: Any, cpus: float, worker: type[Worker] = Worker) -> None:
        self._model, self._cpus, self._worker = model, cpus, worker
        self.actor = self._made()

    def _made(self) -> Any:
        remote: Any = ray.remote(self._worker)
        return remote.options(num_cpus=self._cpus, scheduling_strategy="SPREAD").remote(self._model)

    async def ready(self) -> None:
        """Wait until the actor is ready."""
        await self.actor.ready.remote()

    async def run(self, query: Tensor) -> Any:
        """Run one query; raise Ray's own error if the actor is gone."""
        output = await self.actor.run.remote(query.numpy())
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


class Metrics:
    """Count answers and times in Ray's metrics, which its agents export to Prometheus."""

    def __init__(self) -> None:
        self.answers = metrics.Counter("parmtrain_answers", "Answers by how they were made.", tag_keys=("kind",))
        self.refused = metrics.Counter("parmtrain_refused", "Requests that were refused.", tag_keys=("status",))
        self.latency = metrics.Histogram(
            "parmtrain_latency_seconds", "From arrival to answer.", boundaries=LATENCIES, tag_keys=("kind",)
        )
        self.fill = metrics.Histogram(
            "parmtrain_group_fill_seconds", "From a group's first query until it is encoded.", boundaries=LATENCIES
        )

    def answered(self, prediction: Prediction) -> None:
        """Count an answer."""
        tags = {"kind": prediction.kind.value}
        self.answers.inc(tags=tags)
        self.latency.observe(max(prediction.seconds, LEAST), tags=tags)

    def filled(self, seconds: float) -> None:
        """Count a full group."""
        self.fill.observe(max(seconds, LEAST))
