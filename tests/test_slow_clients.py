"""Clients that are slow, stop half-way or speak another protocol cost themselves their answer, and nobody else."""

import asyncio
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager

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
from parmtrain.serving.protocol.listening import allow_connections, server, taken
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


WHOLE = b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n"


@contextmanager
def stopping() -> Iterator[tuple[tuple[str, int], Callable[[], None]]]:
    """Serve a route that takes a while; yield its address and what asks the server to stop, which is to end."""

    async def slow(request: Request) -> Response:
        await asyncio.sleep(2 * SOON)
        return Response("yes")

    with taken("127.0.0.1", 0, "port") as bound:
        made = server(application([Route("/slow", slow)]))
        thread = threading.Thread(target=made.run, args=([bound],), daemon=True)
        thread.start()
        address = "127.0.0.1", bound.getsockname()[1]
        assert answered(address, WHOLE)
        yield address, lambda: setattr(made, "should_exit", True)
        thread.join(20)
        assert not thread.is_alive()


def answered(address: tuple[str, int], sent: bytes) -> bytes:
    with closing(connected(address)) as client:
        client.sendall(sent)
        return client.recv(1000)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "sent"),
    [
        (b"", b""),
        (b"", WHOLE[:10]),
        (WHOLE, b""),  # a connection that was kept
        (WHOLE, WHOLE[:10]),
    ],
    ids=["nothing", "half of the headers", "an earlier request", "half of a later one"],
)
def test_a_request_that_is_on_its_way_as_the_server_stops_is_answered(
    before: bytes, sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "LAST", 15.0)
    with stopping() as (address, stop), closing(connected(address)) as client:
        client.sendall(before)
        assert not before or client.recv(1000).endswith(b"yes")
        client.sendall(sent)
        time.sleep(SOON)  # until the server has it
        stop()
        time.sleep(2 * SOON)  # until the server has been told
        client.sendall(WHOLE[len(sent) :])
        answer = client.recv(1000)
        assert answer.endswith(b"yes")
        assert b"connection: close" in answer
        assert client.recv(100) == b""


@pytest.mark.slow
def test_half_of_a_further_request_does_not_end_the_one_that_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "LAST", 0.1)
    monkeypatch.setattr(patience, "HEADERS", 0.1)
    with stopping() as (address, stop), closing(connected(address)) as client:
        client.sendall(WHOLE + WHOLE[:10])
        time.sleep(SOON)
        stop()
        assert client.recv(1000).endswith(b"yes")


@pytest.mark.slow
def test_a_connection_that_sends_nothing_holds_up_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "LAST", SOON)
    with stopping() as (address, stop), closing(connected(address)) as client:
        time.sleep(SOON)
        stop()
        began = time.monotonic()
        assert client.recv(100) == b""
        assert time.monotonic() - began < 8  # HEADERS has 10


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
