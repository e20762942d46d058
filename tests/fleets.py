"""Fronts before fleets of servers, and models whose queries can be kept waiting."""

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import torch

from parmtrain.result import Result
from parmtrain.serving.front.served import read_served
from parmtrain.serving.front.standalone import front_application
from parmtrain.serving.instances.model_server import InstanceSettings, OneModel, one_model
from parmtrain.serving.protocol.dataplane import DataPlane
from parmtrain.serving.protocol.http import Protocol, application
from parmtrain.serving.settings import ServeSettings
from tests.servers import serving

PATIENCE = 20


class Gate(OneModel):
    """A model whose queries wait while its gate is closed."""

    opened: threading.Event
    entered: threading.Event

    @classmethod
    def of(cls, model: OneModel) -> "Gate":
        gate = cls(model.name, model.runner, model.query_shape, model.outputs, model.fingerprint)
        gate.opened, gate.entered = threading.Event(), threading.Event()
        gate.opened.set()
        return gate

    def run(self, queries: np.ndarray) -> np.ndarray:
        self.entered.set()
        assert self.opened.wait(PATIENCE)
        return super().run(queries)


def app_of(model: Any) -> Any:
    return application(Protocol(DataPlane(model)).routes)


@contextmanager
def front_at_once(finished: Result, path: Path, **settings: Any) -> Iterator[str]:
    settings = {"copy_after": inf} | settings
    places: dict[str, Any] = {"bundle": str(finished.folder), "fleet": str(path)}
    given = ServeSettings(**places | settings)
    with serving(front_application(given, read_served(given)).app) as url:
        yield url


@contextmanager
def front(finished: Result, path: Path, **settings: Any) -> Iterator[str]:
    with front_at_once(finished, path, **settings) as url:
        pools = [len(servers) for servers in json.loads(path.read_text()).values()]
        wait_for(lambda: call(f"{url}/healthz")[1]["up"] == pools)
        yield url


def listed(path: Path, deployed: list[str], parity: list[str]) -> Path:
    path.write_text(json.dumps({"deployed": deployed, "parity": parity}))
    return path


def call(url: str, content: Any = None, headers: Mapping[str, str] | None = None) -> tuple[int, Any]:
    body = None if content is None else json.dumps(content).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json", **(headers or {})})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refusal:
        return refusal.code, json.load(refusal)


def ask(url: str, query: torch.Tensor, headers: Mapping[str, str] | None = None, **parameters: Any) -> tuple[int, Any]:
    one = {"name": "query", "shape": [1, *query.shape], "datatype": "FP32", "data": query.flatten().tolist()}
    return call(f"{url}/v2/models/digits/infer", {"inputs": [one], "parameters": parameters}, headers)


def wait_for(what: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < until
        time.sleep(0.02)


def gates_of(finished: Result) -> list[Gate]:
    """Return two instances of the deployed model and one of the parity model."""
    names = ("deployed", "deployed", "parity")
    return [Gate.of(one_model(InstanceSettings(bundle=str(finished.folder), model=name))) for name in names]


def queries_of(finished: Result, count: int) -> torch.Tensor:
    """Return queries of the test split ``[count, *query]``."""
    stored, _ = finished.splits.test[torch.arange(count)]
    prepared: torch.Tensor = finished.task.input(stored)
    return prepared
