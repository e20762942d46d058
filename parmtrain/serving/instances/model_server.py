"""One instance as a server: a bundle's deployed model or a parity model behind the Open Inference Protocol."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from starlette.applications import Starlette

from parmtrain.command import log_to_terminal
from parmtrain.errors import ConfigError
from parmtrain.files import behind_a_link
from parmtrain.serving.fleet.endpoints import pool_names
from parmtrain.serving.instances.runner import TYPES, Runner, precision_of
from parmtrain.serving.process.link import Link
from parmtrain.serving.protocol.dataplane import FINGERPRINT, Answered, DataPlane
from parmtrain.serving.protocol.grpc_host import require_grpc_ports, serving_grpc
from parmtrain.serving.protocol.http import Protocol, application
from parmtrain.serving.protocol.listening import serve, taken
from parmtrain.serving.protocol.requests import Refused
from parmtrain.settings import require_valid, setting

AFTER_FRONTS = 2.0  # seconds until another version is taken, which fronts know then


@dataclass
class ModelSettings:
    """Which model of a bundle to run, and where."""

    bundle: str = setting("", "folder of a run, or its export folder")
    model: str = setting("deployed", "which model of the bundle: deployed, parity, parity_2, …")
    deployed: str | None = setting(None, "file of the deployed model, in place of the bundle's own")
    device: str = setting("cpu", "where it runs: cpu, cuda, cuda:1, …")
    precision: str = setting(
        "", f"type in which it calculates: {', '.join(TYPES)}; on a GPU by default what it was trained with"
    )
    threads: int = setting(1, "threads of PyTorch on the CPU", above=0)

    def faults(self) -> Iterator[str]:
        """Yield every fault except numbers out of bounds."""
        if not self.bundle:
            yield "bundle must be the folder of a run or its export folder, got none; set bundle=…"
        if self.precision not in ("", *TYPES):
            yield f"precision must be one of {', '.join(TYPES)}, got {self.precision}"
        try:
            kind = torch.device(self.device).type
        except RuntimeError:
            yield f"device must be a device of PyTorch, got {self.device}"
            return
        if kind == "cuda" and not torch.cuda.is_available():
            yield f"device={self.device} must be there, but PyTorch sees no GPU; set device=cpu"


@dataclass
class InstanceSettings(ModelSettings):
    """Settings of one instance."""

    name: str = setting("", "what the model is called; what it is in the bundle by default")
    host: str = setting("127.0.0.1", "address to listen on; the default is reachable from this machine only")
    port: int = setting(9000, "port to listen on", least=1, most=65535)
    grpc_port: int | None = setting(None, "port of the protocol over gRPC, too", least=1, most=65535)
    follow: bool = setting(
        False, "whether another version of the model is taken as the link that bundle=… names leads to it"
    )
    largest: int = setting(
        1, "queries in the largest batch that it is run with before it says that it is ready", above=0
    )

    def faults(self) -> Iterator[str]:
        """Yield every fault except numbers out of bounds."""
        yield from super().faults()
        if self.follow and self.bundle and not behind_a_link(Path(self.bundle)):
            yield f"follow=true needs a link to a bundle, as versions/current of parmtrain adapt, got {self.bundle}"


class OneModel:
    """A network as a model of the protocol; it runs in a thread of its own, so that the server answers meanwhile.

    Args:
        name: What it is called.
        runner: Runs the network.
        query_shape: Shape of one query.
        outputs: Length of one output.
        fingerprint: What tells it from every other model.
    """

    def __init__(
        self, name: str, runner: Runner, query_shape: tuple[int, ...], outputs: int, fingerprint: str = ""
    ) -> None:
        self.name, self.query_shape, self.outputs = name, query_shape, outputs
        self.runner, self.fingerprint = runner, fingerprint
        self._thread = ThreadPoolExecutor(1)

    ready = True

    async def infer(self, queries: np.ndarray, parameters: Mapping[str, Any], headers: Mapping[str, Any]) -> Answered:
        """Answer queries ``[b, *query]`` as one batch, whoever asks.

        Raises:
            Refused: If the network raises an error.
        """
        fingerprint = self.fingerprint
        try:
            outputs = await asyncio.get_running_loop().run_in_executor(self._thread, self.run, queries)
        except Exception as fault:  # a network can raise anything
            raise Refused(500, f"{self.name} raised {type(fault).__name__}: {fault}") from fault
        return Answered(outputs, {FINGERPRINT: fingerprint} if fingerprint else {})

    def take(self, other: "OneModel") -> None:
        """Run another version of the model from now on; what runs already finishes."""
        self.runner, self.fingerprint = other.runner, other.fingerprint

    def run(self, queries: np.ndarray) -> np.ndarray:
        """Map queries ``[b, *query]`` to outputs ``[b, w]``."""
        return self.runner(queries)


def read_model(settings: ModelSettings) -> OneModel:
    """Load the model that the settings name.

    Raises:
        ConfigError: If the bundle has no such model.
        ExportError: If the bundle is incomplete or changed.
    """
    from parmtrain.serving.front.served import read_served
    from parmtrain.serving.settings import ServeSettings

    served = read_served(ServeSettings(bundle=settings.bundle, deployed=settings.deployed))
    names = pool_names(len(served.models))
    if settings.model not in names:
        raise ConfigError([f"model must be one of {', '.join(names)} for this bundle, got {settings.model}"])
    pool = names.index(settings.model)
    bundle = served.bundle
    shape, width = (served.query_shape, served.outputs) if pool == 0 else (bundle.parity_shape, served.width)
    torch.set_num_threads(settings.threads)
    precision = settings.precision or precision_of(bundle.about, settings.device)
    runner = Runner(served.models[pool], settings.device, precision)
    return OneModel(settings.model, runner, shape, width, served.fingerprints[pool])


def one_model(settings: InstanceSettings) -> OneModel:
    """Load the model that the settings name, and run it until it is as quick as it gets.

    Raises:
        ConfigError: If the bundle has no such model, or it does not run on the device.
        ExportError: If the bundle is incomplete or changed.
    """
    model = read_model(settings)
    model.name = settings.name or model.name
    model.runner.warm_up(model.query_shape, settings.largest)
    return model


def serve_instance(settings: InstanceSettings) -> None:
    """Serve one model until the user stops it."""
    require_valid(settings)
    log_to_terminal()
    model = one_model(settings)
    with taken(settings.host, settings.port, "port") as socket:
        if settings.grpc_port is not None:
            require_grpc_ports(settings.host, [settings.grpc_port])
        plane = DataPlane(model)

        @asynccontextmanager
        async def life(app: Starlette) -> AsyncIterator[None]:
            async with serving_grpc(plane, settings.host, settings.grpc_port):
                link = Link(settings.bundle, partial(one_model, settings), model.take, AFTER_FRONTS)
                following = asyncio.create_task(link.follow()) if settings.follow else None
                yield
                if following is not None:
                    following.cancel()

        app = application(Protocol(plane).routes, lifespan=life)
        print(
            f"{model.name}: http://{settings.host}:{settings.port}/v2/models/{model.name} takes queries "
            f"{list(model.query_shape)}",
            flush=True,
        )
        serve(app, socket)
