"""One instance that is reached over gRPC: long messages, calls that are given up, wrong answers, TLS."""

import asyncio
import gc
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from shutil import which
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from parmtrain.serving.fleet.connections import Connections
from parmtrain.serving.fleet.endpoints import Endpoint
from parmtrain.serving.fleet.remote import InstanceError, RemoteInstance
from parmtrain.serving.protocol.requests import Refused
from tests.foreign_grpc import Answers, Foreign, flat, foreign
from tests.servers import serving_over_grpc

pytest.importorskip("grpc", reason="pip install 'parmtrain[grpc]'")


def before(url: str, shape: tuple[int, ...], work: Callable[[RemoteInstance], Any], longest: int = 0) -> Any:
    """Return what a coroutine function of an instance before a model returns."""

    async def inside() -> Any:
        server, _, model = url.partition("/v2/models/")
        endpoint = Endpoint(server, model)
        async with Connections(longest) as connections:
            return await asyncio.wait_for(work(RemoteInstance(connections.to(endpoint), endpoint, shape, 2)), 30)

    return asyncio.run(inside())


async def answered(instance: RemoteInstance) -> None:
    queries = torch.rand(2, *instance._shape)
    await instance.restart()
    assert torch.equal(await instance.run(queries), queries.flatten(1))


def test_long_queries_and_answers_fit() -> None:
    shape = (3, 600, 700)
    with foreign(Foreign(flat, shape, "FP32", raw=True)) as url:
        before(url, shape, answered, longest=2**24)
        with pytest.raises(InstanceError, match=r"ModelInfer fails with RESOURCE_EXHAUSTED: .*larger than max"):
            before(url, shape, answered)


@pytest.mark.slow
def test_what_runs_is_given_up_at_a_restart(caplog: pytest.LogCaptureFixture) -> None:
    server = Foreign(flat, (2, 3))

    async def work(instance: RemoteInstance) -> None:
        running = asyncio.create_task(instance.run(torch.zeros(1, 2, 3)))
        await asyncio.sleep(0.5)
        await instance.restart()
        with pytest.raises(asyncio.CancelledError):
            await running

    with foreign(server) as url:
        server.left_alone = threading.Event()
        before(url, (2, 3), work)
        assert server.left_alone.wait(20)
        server.left_alone = None
        before(url, (2, 3), answered)
    assert not caplog.records


def short(queries: np.ndarray) -> np.ndarray:
    return flat(queries)[:1]


def broken(queries: np.ndarray) -> np.ndarray:
    raise ValueError("no")


@pytest.mark.parametrize(
    ("answers", "kind", "sentence"),
    [
        (short, "FP32", "the answer must have logits for 2 queries, got {'logits': [1, 6]}"),
        (flat, "FP16", "Refused: logits: [2, 6] as FP16 has 24 bytes, got 0"),
        (broken, "FP32", "ModelInfer fails with UNKNOWN: "),
    ],
)
def test_answers_that_are_none(answers: Answers, kind: str, sentence: str, caplog: pytest.LogCaptureFixture) -> None:
    async def work(instance: RemoteInstance) -> None:
        await instance.restart()
        for _ in range(2):
            with pytest.raises((InstanceError, Refused)):
                await instance.run(torch.zeros(2, 2, 3))

    server = Foreign(answers, (2, 3), kind)
    server.typed = "fp32_contents"
    with foreign(server) as url:
        before(url, (2, 3), work)
    said = [one.getMessage() for one in caplog.records if one.name.startswith("parmtrain")]
    assert len(said) == 1
    assert said[0].startswith(f"{url} failed: {sentence}")


@pytest.mark.slow
def test_tls_goes_by_the_authorities_of_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if which("openssl") is None:
        pytest.skip("needs openssl")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    options = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    made = ["openssl", *options.split(), "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(made, check=True, capture_output=True)
    pair = key.read_bytes(), certificate.read_bytes()

    async def refused(instance: RemoteInstance) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(instance.restart(), 1)

    with serving_over_grpc(Foreign(flat, (2, 3)).handlers, certificate=pair) as port:
        url = f"grpcs://localhost:{port}/v2/models/net"
        before(url, (2, 3), refused)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        before(url, (2, 3), answered)
        monkeypatch.delenv("SSL_CERT_FILE")
        (tmp_path / "0a1b2c3d.0").write_bytes(pair[1])
        monkeypatch.setattr("ssl.get_default_verify_paths", lambda: SimpleNamespace(cafile=None, capath=str(tmp_path)))
        before(url, (2, 3), answered)


@pytest.mark.slow
def test_an_address_has_one_connection_as_long_as_it_is_used() -> None:
    from parmtrain.serving.fleet.over_grpc import Channels

    async def work() -> None:
        channels = Channels(0)
        used = channels.to("grpc://a:1")
        assert channels.to("grpc://a:1") is used is not channels.to("grpcs://a:1")
        gc.collect()
        assert list(channels._open) == ["grpc://a:1"]
        await channels.close()

    asyncio.run(work())


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("no_proxy", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    with foreign(Foreign(flat, (2, 3))) as url:
        before(url, (2, 3), answered)
