"""Clients that are slow, stop half-way or speak another protocol cost themselves their answer, and nobody else."""

import socket
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing

import pytest
import torch
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from torch import nn

from parmtrain.serving.instances.model_server import OneModel
from parmtrain.serving.instances.runner import Runner
from parmtrain.serving.protocol import http, patience
from parmtrain.serving.protocol.dataplane import DataPlane
from parmtrain.serving.protocol.http import Protocol, application
from parmtrain.serving.protocol.listening import allow_connections
from tests.servers import serving

SOON, MANY = 0.3, 1500
HALF = b"POST /v2/models/linear/infer HTTP/1.1\r\nHost: a\r\nContent-"
NO_BODY = b"POST /v2/models/linear/infer HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{"


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, int]]:
    monkeypatch.setattr(patience, "HEADERS", SOON)
    monkeypatch.setattr(http, "BODY", SOON)
    with torch.random.fork_rng():
        network = nn.Sequential(nn.Flatten(), nn.Linear(6, 4)).eval()
    with serving(application(Protocol(DataPlane(OneModel("linear", Runner(network), (2, 3), 4))).routes)) as url:
        yield "127.0.0.1", int(url.rpartition(":")[2])


def connected(address: tuple[str, int]) -> socket.socket:
    return socket.create_connection(address, timeout=20)


@pytest.mark.parametrize("sent", [b"", HALF], ids=["nothing", "half of the headers"])
def test_a_client_that_stops_is_hung_up_on(sent: bytes, address: tuple[str, int]) -> None:
    with closing(connected(address)) as client:
        client.sendall(sent)
        assert client.recv(100) == b""


def test_a_body_that_stops_is_refused(address: tuple[str, int]) -> None:
    with closing(connected(address)) as client:
        client.sendall(NO_BODY)
        answer = client.recv(1000)
        assert answer.startswith(b"HTTP/1.1 408")


def test_a_later_request_of_a_connection_has_to_come_in_time_too(address: tuple[str, int]) -> None:
    with closing(connected(address)) as client:
        client.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.recv(1000).endswith(b'{"live":true}')
        client.sendall(HALF)
        assert client.recv(100) == b""


def test_bytes_after_a_refusal_hold_no_connection(address: tuple[str, int]) -> None:
    with closing(connected(address)) as client:
        client.sendall(b"POST /none HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n")
        assert client.recv(1000).startswith(b"HTTP/1.1 404")
        client.sendall(b"x")
        assert client.recv(100) == b""


def test_many_half_requests_stop_nobody_else(address: tuple[str, int]) -> None:
    allow_connections()
    with ExitStack() as stack:
        for _ in range(MANY):
            stack.enter_context(closing(connected(address))).sendall(HALF)
        with urllib.request.urlopen(f"http://127.0.0.1:{address[1]}/v2/health/ready", timeout=20) as answer:
            assert answer.status == 200


@pytest.mark.slow
@pytest.mark.parametrize("sent", [b"", b"GET /v2/health/live HTTP/1.1\r\nHo"], ids=["nothing", "half of the headers"])
def test_a_request_that_is_on_its_way_as_the_server_stops_is_answered(sent: bytes) -> None:
    stopping = ExitStack()
    url = stopping.enter_context(serving(application([Route("/v2/health/live", lambda _: Response("yes"))])))
    with closing(connected(("127.0.0.1", int(url.rpartition(":")[2])))) as client:
        client.sendall(sent)
        time.sleep(SOON)  # until the server has the connection
        with ThreadPoolExecutor(1) as pool:
            stopped = pool.submit(stopping.close)
            time.sleep(SOON)
            client.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\n\r\n"[len(sent) :])
            answer = client.recv(1000)
            assert answer.startswith(b"HTTP/1.1 200")
            assert b"connection: close" in answer
            assert client.recv(100) == b""
            stopped.result()


@pytest.mark.slow
def test_a_server_that_was_busy_does_not_take_its_clients_for_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "HEADERS", SOON)

    async def busy(request: Request) -> Response:
        time.sleep(3 * SOON)
        return Response()

    with serving(application([Route("/busy", busy)])) as url:
        address = "127.0.0.1", int(url.rpartition(":")[2])
        with closing(connected(address)) as waiting, closing(connected(address)) as first:
            time.sleep(SOON / 3)
            first.sendall(b"GET /busy HTTP/1.1\r\nHost: a\r\n\r\n")
            time.sleep(SOON / 3)
            waiting.sendall(b"GET /none HTTP/1.1\r\nHost: a\r\n\r\n")
            assert waiting.recv(1000).startswith(b"HTTP/1.1 404")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"HEAD /v2/health/live HTTP/1.1\r\nHost: a\r\n\r\n", b"200"),
        (b"PUT /v2/health/live HTTP/1.1\r\nHost: a\r\n\r\n", b"405"),
        (b"GET /v3 HTTP/1.1\r\nHost: a\r\n\r\n", b"404"),
        (b"POST /v2/models/linear/infer HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n", b"413"),
        (NO_BODY.replace(b"Host: a", b"Host: a\r\nContent-Encoding: gzip"), b"415"),
        (b"GET /v2 HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", b"200"),
        (b"?\r\n\r\n", b"400"),
    ],
)
def test_other_requests_get_a_status(request_: bytes, status: bytes, address: tuple[str, int]) -> None:
    with closing(connected(address)) as client:
        client.sendall(request_)
        assert client.recv(1000).startswith(b"HTTP/1.1 " + status)
