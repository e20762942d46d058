"""Tokens and certificates: who may ask, and how."""

import http.client
import json
import os
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from parmtrain.errors import ConfigError
from parmtrain.serving.instances.model_server import OneModel
from parmtrain.serving.instances.runner import Runner
from parmtrain.serving.protocol.admission import Entrance
from parmtrain.serving.protocol.dataplane import DataPlane
from parmtrain.serving.protocol.grpc_host import serving_grpc
from parmtrain.serving.protocol.http import Protocol, application
from parmtrain.serving.protocol.listening import taken
from tests.servers import serving

TOKEN = "a-token-that-is-long-enough"
QUERY = {"inputs": [{"name": "query", "shape": [1, 6], "datatype": "FP32", "data": [0.5] * 6}]}


@pytest.fixture
def app() -> Any:
    with torch.random.fork_rng():
        model = OneModel("linear", Runner(nn.Linear(6, 4)), (6,), 4)
    return application(Protocol(DataPlane(model)).routes)


def secret(path: Path, content: str = TOKEN, mode: int = 0o600) -> str:
    path.write_text(f"{content}\n")
    os.chmod(path, mode)
    return str(path)


def status(url: str, authorization: str | None = None, content: Any = None, trusted: str | None = None) -> int:
    body = None if content is None else json.dumps(content).encode()
    headers = {} if authorization is None else {"Authorization": authorization}
    context = ssl.create_default_context(cafile=trusted) if trusted else None
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=20, context=context) as answer:
            found: int = answer.status
            return found
    except urllib.error.HTTPError as refusal:
        return refusal.code


@pytest.fixture
def url(app: Any, tmp_path: Path) -> Iterator[str]:
    with serving(Entrance.read(secret(tmp_path / "token"), "", "").before(app)) as address:
        yield address


@pytest.mark.parametrize(
    ("authorization", "expected"),
    [(None, 401), ("", 401), (TOKEN, 401), (f"Bearer {TOKEN}x", 401), ("Bearer \xe9", 401), (f"Bearer {TOKEN}", 200)],
)
def test_only_those_with_the_token_are_answered(url: str, authorization: str | None, expected: int) -> None:
    assert status(f"{url}/v2/models/linear/infer", authorization, QUERY) == expected
    assert status(f"{url}/v2/models/linear", authorization) == expected


def test_two_tokens_are_none(url: str) -> None:
    host, port = url.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=20)
    connection.putrequest("GET", "/v2/models/linear")
    for token in ("another-one-that-is-long", TOKEN):
        connection.putheader("Authorization", f"Bearer {token}")
    connection.endheaders()
    assert connection.getresponse().status == 401
    connection.close()


def test_health_is_open_to_load_balancers(url: str) -> None:
    assert status(f"{url}/v2/health/ready") == 200
    assert status(f"{url}/v2/health/live") == 200


@pytest.mark.parametrize(
    ("content", "mode", "sentence"),
    [
        ("short", 0o600, "must hold a token of 16 printable characters or more"),
        ("two words that are long", 0o600, "must hold a token of 16 printable characters or more"),
        (TOKEN, 0o644, "must not be readable by everybody; chmod 600"),
    ],
)
def test_tokens_that_protect_nothing_are_refused(content: str, mode: int, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=sentence):
        Entrance.read(secret(tmp_path / "token", content, mode), "", "")
    with pytest.raises(ConfigError, match=r"must be a text file, but: .*none"):
        Entrance.read(str(tmp_path / "none"), "", "")


@pytest.mark.slow
def test_with_a_certificate_clients_are_spoken_to_over_tls(app: Any, tmp_path: Path) -> None:
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject]
    subprocess.run([*made, "-keyout", key, "-out", chain], check=True, capture_output=True)
    entrance = Entrance.read("", str(chain), str(key))
    with serving(entrance.before(app), certificate=entrance.certificate) as url:
        secure = url.replace("http:", "https:")
        assert status(f"{secure}/v2/models/linear/infer", None, QUERY, str(chain)) == 200
        with pytest.raises(OSError, match=r"reset|closed|disconnected|aborted"):
            urllib.request.urlopen(f"{url}/v2/health/live", timeout=20)
    with pytest.raises(ConfigError, match="must be a certificate and its key as PEM files, but: "):
        Entrance.read("", str(chain), str(chain))


def test_over_grpc_the_token_is_metadata(tmp_path: Path) -> None:
    grpc = pytest.importorskip("grpc", reason="pip install 'parmtrain[grpc]'")
    from parmtrain.serving.protocol.grpc_messages import MESSAGE, PACKAGE, SERVICE

    entrance = Entrance.read(secret(tmp_path / "token"), "", "")
    with torch.random.fork_rng():
        plane = DataPlane(OneModel("linear", Runner(nn.Linear(6, 4)), (6,), 4))
    with taken("127.0.0.1", 0, "port") as free:
        port = free.getsockname()[1]
    life = partial(serving_grpc, plane, "127.0.0.1", port, entrance=entrance)
    with (
        serving(application(Protocol(plane).routes, lifespan=lambda app: life())),
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):

        def code(call: str, *tokens: str, **fields: Any) -> str:
            method = channel.unary_unary(
                f"/{PACKAGE}.{SERVICE}/{call}",
                request_serializer=MESSAGE[f"{call}Request"].SerializeToString,
                response_deserializer=MESSAGE[f"{call}Response"].FromString,
            )
            metadata = tuple(("authorization", f"Bearer {token}") for token in tokens)
            try:
                method(MESSAGE[f"{call}Request"](**fields), metadata=metadata, timeout=20)
            except grpc.RpcError as fault:
                return str(fault.code().name)
            return "OK"

        assert code("ServerReady") == "OK"
        assert code("ModelMetadata", name="linear") == "UNAUTHENTICATED"
        assert code("ModelMetadata", TOKEN + "x", name="linear") == "UNAUTHENTICATED"
        assert code("ModelMetadata", TOKEN, name="linear") == "OK"
        assert code("ModelMetadata", TOKEN, TOKEN, name="linear") == "INVALID_ARGUMENT"
