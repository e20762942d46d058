"""The service on Ray: a Serve deployment that is the frontend, and an actor for each instance.

Ray is imported here and nowhere else in the package. Instances are actors that the frontend calls one at a time, since
a coding group's work must be placed by the frontend: Serve's own replicas of one deployment are chosen by its router,
which may give both queries of a pair to the same one.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray
import torch
from omegaconf import DictConfig, OmegaConf
from ray import serve
from ray.util import metrics
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from torch import Tensor, nn

from parmtrain.bundle import Bundle
from parmtrain.deployed import DeployedModel
from parmtrain.errors import ConfigError, DataError, DeployedModelError
from parmtrain.serving.frontend import Frontend, Kind, Limits, Overloaded
from parmtrain.serving.requests import RAW, Refused, as_json, check, most_bytes, parse
from parmtrain.serving.scheme import Scheme, scheme_of, uncoded
from parmtrain.serving.service import Prediction, Service
from parmtrain.serving.worker import Worker, archive

LATENCIES = [0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0]
WARM_UP = 5


@dataclass
class ServeSettings:
    """How a bundle is served; ``python -m parmtrain.serve --help`` explains each."""

    bundle: str = ""
    k: int | None = None
    deployed: str | None = None
    coded: bool = True
    replicas: int = 2
    parity_replicas: int | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    metrics_port: int = 8080
    cpus: float = 0.0
    deadline: float = 10.0
    copy_after: float = 1.0
    reconstruct_after: float = 0.0
    hung_after: float = 60.0
    waiting: int = 1000

    def check(self) -> None:
        """Raise a ``ConfigError`` with every value that is not right."""
        positive = ("replicas", "deadline", "hung_after", "waiting")
        found = [f"{name}={getattr(self, name)}: more than 0 is right" for name in positive if getattr(self, name) <= 0]
        rest = ("copy_after", "reconstruct_after", "cpus")
        found += [f"{name}={getattr(self, name)}: 0 or more is right" for name in rest if getattr(self, name) < 0]
        if self.parity_replicas is not None and self.parity_replicas < 1:
            found.append(f"parity_replicas={self.parity_replicas}: 1 or more is right")
        if not self.bundle:
            found.append("bundle=: the folder of a run, or its export folder, is right")
        if found:
            raise ConfigError(found)

    @property
    def limits(self) -> Limits:
        """The frontend's limits."""
        return Limits(self.deadline, self.copy_after, self.reconstruct_after, self.hung_after, self.waiting)


@dataclass
class Served:
    """A bundle with the deployed model that it is for."""

    bundle: Bundle
    deployed: DeployedModel
    coded: bool

    @property
    def query_shape(self) -> tuple[int, ...]:
        """Shape of one query."""
        return tuple(self.bundle.about["shapes"]["query"])

    @property
    def outputs(self) -> int:
        """Length of one prediction."""
        return int(self.bundle.about["shapes"]["prediction"][0])

    @property
    def width(self) -> int:
        """Length of an output of a parity model."""
        return int(self.bundle.about["shapes"]["worker_output"][0])

    @property
    def models(self) -> list[nn.Module]:
        """The model of each pool."""
        own = self.bundle.about["parity"]["models"] if self.coded else 0
        return [self.deployed, *(self.bundle.parity_models[:own])]  # type: ignore[list-item]

    @property
    def scheme(self) -> Scheme:
        """Who runs what."""
        return scheme_of(self.bundle, len(self.models) - 1, self.width) if self.coded else uncoded()


def read_served(settings: ServeSettings) -> Served:
    """Load what settings name: TorchScript archives, and the deployed model of the run that the bundle is of.

    Raises:
        ConfigError: If the bundle has another k.
        DataError: If there is no run beside the bundle that says which deployed model it is for.
        DeployedModelError: If the deployed model is another one.
        ExportError: If the bundle is incomplete or changed.
    """
    from parmtrain import assemble  # and with it all that training needs, which instances do without

    bundle = Bundle(settings.bundle)
    if settings.k not in (None, bundle.k):
        raise ConfigError([f"k={settings.k}: the bundle in {settings.bundle} has k={bundle.k}"])
    path = bundle.folder.parent / "config.yaml"
    if not path.is_file():
        raise DataError(f"there is no {path}, which says what the deployed model of the bundle is")
    cfg = OmegaConf.load(path)
    assert isinstance(cfg, DictConfig)
    if settings.deployed is not None:
        cfg.deployed.path = settings.deployed
    task = assemble.build(cfg.task)
    splits = None if cfg.deployed.path else task.splits()  # data names the deployed model that was trained on it
    deployed = assemble.deployed_model(cfg, task, splits, None)  # type: ignore[arg-type]
    expected = bundle.about["deployed"]["fingerprint"]
    if deployed.fingerprint != expected:
        raise DeployedModelError(
            f"the bundle in {settings.bundle} was trained for the deployed model {expected[:16]}…, and this one is "
            f"{deployed.fingerprint[:16]}…; deployed=… names the file of the right one"
        )
    return Served(bundle, deployed, settings.coded)


def pools(settings: ServeSettings, served: Served) -> list[int]:
    """Return how many instances each pool has: m, and m/k (rounded up) for each parity model unless settings say."""
    parity = settings.parity_replicas or -(-settings.replicas // served.bundle.k)
    return [settings.replicas, *[parity] * (len(served.models) - 1)]


class ActorInstance:
    """One instance: an actor, and another in its place when it is gone."""

    def __init__(self, model: Any, wait: Callable[[], None] | None, cpus: float) -> None:
        self._model, self._wait, self._cpus = model, wait, cpus
        self.actor = self._made()

    def _made(self) -> Any:
        remote: Any = ray.remote(Worker)
        return remote.options(num_cpus=self._cpus, scheduling_strategy="SPREAD").remote(self._model, self._wait)

    async def ready(self) -> None:
        """Return when the actor is there."""
        await self.actor.ready.remote()

    async def run(self, query: Tensor) -> Any:
        """Run one query; raise what Ray raises when the actor is gone."""
        output = await self.actor.run.remote(query.numpy())
        return torch.from_numpy(output.copy()) if isinstance(output, np.ndarray) else output

    async def restart(self) -> None:
        """Start another actor, and return when it is there."""
        ray.kill(self.actor)
        while True:
            self.actor = self._made()
            try:
                await self.actor.ready.remote()
                return
            except ray.exceptions.RayActorError:
                await asyncio.sleep(1.0)


class Metrics:
    """What is counted, in Ray's own metrics, which its agents give to Prometheus."""

    def __init__(self) -> None:
        self.answers = metrics.Counter("parmtrain_answers", "Answers by how they were made.", tag_keys=("kind",))
        self.refused = metrics.Counter("parmtrain_refused", "Requests that were refused.", tag_keys=("status",))
        self.latency = metrics.Histogram(
            "parmtrain_latency_seconds", "From arrival to answer.", boundaries=LATENCIES, tag_keys=("kind",)
        )
        self.fill = metrics.Histogram(
            "parmtrain_group_fill_seconds", "From a group's first query to its last.", boundaries=LATENCIES
        )
        self.lost = metrics.Gauge("parmtrain_events", "What the frontend counted.", tag_keys=("what",))

    def answered(self, prediction: Prediction) -> None:
        """Count an answer."""
        tags = {"kind": prediction.kind.value}
        self.answers.inc(tags=tags)
        self.latency.observe(max(prediction.seconds, 1e-9), tags=tags)


class FrontendDeployment:
    """The frontend as a Serve deployment: over HTTP, and through a Python handle.

    Args:
        settings: What to serve, and how.
        waits: For each instance, what slows it, in experiments.
    """

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self, settings: dict[str, Any], waits: list[Callable[[], None] | None] | None = None
    ) -> None:
        self.settings = ServeSettings(**settings)
        self.settings.check()
        served = read_served(self.settings)
        self.shape = served.query_shape
        counts = pools(self.settings, served)
        scheme = served.scheme
        models = [ray.put(archive(model)) for model in served.models]
        pool_of = [pool for pool, count in enumerate(counts) for _ in range(count)]
        waits = waits or [None] * len(pool_of)
        instances = [
            ActorInstance(models[pool], wait, self.settings.cpus) for pool, wait in zip(pool_of, waits, strict=True)
        ]
        await asyncio.gather(*(instance.ready() for instance in instances))
        self.metrics = Metrics()
        self.frontend = Frontend(scheme, counts, self.settings.limits)
        self.service = Service(
            self.frontend,
            served.bundle,
            instances,
            served.outputs,
            served.width,
            happened=self.metrics.answered,
        )
        torch.set_num_threads(1)
        for _ in range(WARM_UP):  # TorchScript optimises as it runs
            served.bundle.encode(torch.zeros(1, served.bundle.k, *self.shape))
            late = torch.arange(served.bundle.n).eq(0).unsqueeze(0)
            served.bundle.decode(torch.zeros(1, served.bundle.n, served.width), ~late)
        self._groups, self._fill_time = 0, 0.0

    async def predict(self, query: Any) -> dict[str, Any]:
        """Answer a query that comes through a Python handle, a tensor or an array ``[*query]``."""
        return as_json(await self._predict(check(query, self.shape)))

    async def __call__(self, request: Request) -> Response:
        """Answer a query that comes over HTTP: POST to any path; GET /healthz asks whether the service is there."""
        if request.method == "GET":
            return self._health(request.url.path)
        if request.method != "POST":
            return self._refuse(405, f"{request.method} is no way to ask; POST is")
        try:
            length = int(request.headers.get("content-length") or 0)
            if length > most_bytes(self.shape):
                raise Refused(413, f"the body has {length} bytes; a query has {most_bytes(self.shape)} at the most")
            query = parse(await request.body(), request.headers.get("content-type", ""), self.shape)
            prediction = await self._predict(query)
        except Refused as fault:
            return self._refuse(fault.status, str(fault))
        except Overloaded as fault:
            return self._refuse(503, str(fault), {"Retry-After": "1"})
        if RAW in request.headers.get("accept", "") and prediction.output is not None:
            content = prediction.output.float().numpy().astype("<f4").tobytes()
            return Response(content, media_type=RAW, headers={"X-Parmtrain-Kind": prediction.kind.value})
        status = 504 if prediction.kind is Kind.default else 200
        return JSONResponse(as_json(prediction), status)

    async def _predict(self, query: Tensor) -> Prediction:
        prediction = self.service.predict(query)
        answer = await prediction
        groups = self.frontend.counts["groups"]
        if groups != self._groups:
            mean = (self.frontend.fill_time - self._fill_time) / (groups - self._groups)
            self.metrics.fill.observe(max(mean, 1e-9))
            self._groups, self._fill_time = groups, self.frontend.fill_time
        return answer

    def counts(self) -> dict[str, int]:
        """Return what the frontend counted."""
        return {str(name): count for name, count in self.frontend.counts.items()}

    def _health(self, path: str) -> Response:
        if not path.endswith("/healthz"):
            return self._refuse(404, f"there is nothing at {path}; POST a query, or GET /healthz")
        return JSONResponse({"status": "ok", "waiting": self.frontend.waiting, "counts": self.counts()})

    def _refuse(self, status: int, sentence: str, headers: dict[str, str] | None = None) -> Response:
        self.metrics.refused.inc(tags={"status": str(status)})
        return JSONResponse({"error": sentence}, status, headers)


def build(arguments: dict[str, Any], waits: list[Callable[[], None] | None] | None = None) -> Any:
    """Build the Serve application, for ``serve.run`` and for ``import_path`` in a file for ``serve deploy``.

    Args:
        arguments: Fields of ``ServeSettings``; ``bundle`` is needed. Every node must see the bundle's folder.
        waits: For each instance, what slows it, in experiments.
    """
    settings = ServeSettings(**arguments)
    settings.check()
    deployment = serve.deployment(
        FrontendDeployment,
        name="frontend",
        num_replicas=1,  # groups form in one place
        max_ongoing_requests=settings.waiting + 100,
        ray_actor_options={"num_cpus": 0},
    )
    return deployment.bind(vars(settings), waits)
