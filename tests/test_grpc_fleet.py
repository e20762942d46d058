"""A front before servers that it reaches over gRPC: parmtrain's own and those of others."""

import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from parmtrain.errors import ConfigError
from parmtrain.result import Result
from parmtrain.serving.fleet.endpoints import read_fleet
from parmtrain.serving.protocol.dataplane import DataPlane
from tests.fleets import Gate, app_of, ask, call, front, front_at_once, listed, wait_for
from tests.foreign_grpc import Foreign, flat, foreign
from tests.servers import serving, serving_over_grpc

grpc = pytest.importorskip("grpc", reason="pip install 'parmtrain[grpc]'")
NOWHERE = "127.0.0.1:1"


@contextmanager
def over_grpc(model: Any, port: int = 0) -> Iterator[str]:
    from parmtrain.serving.protocol.grpc_server import GrpcService

    with serving_over_grpc(GrpcService(DataPlane(model)).handlers, port) as bound:
        yield f"grpc://127.0.0.1:{bound}"


@pytest.mark.slow
@pytest.mark.parametrize("batch_max", [1, 4])
def test_answers_are_those_of_the_models(
    batch_max: int, finished: Result, gates: list[Gate], queries: torch.Tensor, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        slow, fast, parity = (stack.enter_context(over_grpc(gate)) for gate in gates)
        path = listed(tmp_path / "fleet.yaml", [slow, fast], [parity])
        url = stack.enter_context(front(finished, path, reconstruct_after=30, batch_max=batch_max))
        for query in queries:
            status, answer = ask(url, query)
            assert (status, answer["parameters"]["kind"]) == (200, "deployed")
            own = finished.module.deployed(query.unsqueeze(0))
            assert torch.allclose(torch.tensor([answer["outputs"][0]["data"]]), own, atol=1e-4)
        quick = stack.enter_context(front(finished, path, batch_max=batch_max))
        gates[0].opened.clear()
        pool = stack.enter_context(ThreadPoolExecutor(2))
        late = [pool.submit(ask, quick, query) for query in queries[:2]]
        kinds = [one.result()[1]["parameters"]["kind"] for one in late]
        assert sorted(kinds) == ["deployed", "reconstructed"]
        gates[0].opened.set()


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "raw"), [("FP64", False), ("FP64", True), ("FP32", False), ("FP16", True)])
def test_servers_of_others_are_instances_too(
    kind: str, raw: bool, finished: Result, gates: list[Gate], queries: torch.Tensor, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        own = stack.enter_context(foreign(Foreign(gates[0].run, gates[0].query_shape, kind, raw)))
        path = listed(tmp_path / "fleet.yaml", [own], [stack.enter_context(over_grpc(gates[2]))])
        url = stack.enter_context(front(finished, path, reconstruct_after=30))
        for query in queries[:4]:
            status, answer = ask(url, query)
            assert (status, answer["parameters"]["kind"]) == (200, "deployed")
            wanted = finished.module.deployed(query.unsqueeze(0))
            given = torch.tensor([answer["outputs"][0]["data"]])
            assert torch.allclose(given, wanted, atol=0.1 if kind == "FP16" else 1e-4)


def not_ready(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what was said of servers that are not ready, but for answers that a busy machine had too late."""
    said = [one.getMessage() for one in caplog.records if "is not ready" in one.getMessage()]
    return [one for one in said if "DEADLINE_EXCEEDED" not in one and "answer in time" not in one]


@pytest.mark.slow
def test_a_server_that_dies_is_used_again_and_others_join(
    finished: Result, gates: list[Gate], queries: torch.Tensor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with ExitStack() as stack, ThreadPoolExecutor(8) as pool:
        http = stack.enter_context(serving(app_of(gates[0])))
        parity = stack.enter_context(over_grpc(gates[2]))
        path = listed(tmp_path / "fleet.yaml", [http], [parity])
        url = stack.enter_context(front(finished, path))
        dying = stack.enter_context(ExitStack())
        joining = dying.enter_context(over_grpc(gates[1]))
        listed(path, [http, joining], [parity])
        wait_for(lambda: bool(call(f"{url}/healthz")[1]["up"] == [2, 1]))
        asked = [pool.submit(ask, url, query) for query in queries]
        dying.close()
        assert [one.result()[0] for one in asked] == [200] * len(queries)
        assert [ask(url, query)[0] for query in queries] == [200] * len(queries)
        wait_for(lambda: bool(call(f"{url}/healthz")[1]["up"] == [1, 1]))
        gates[1].entered.clear()
        with over_grpc(gates[1], int(joining.rpartition(":")[2])):
            wait_for(lambda: bool(call(f"{url}/healthz")[1]["up"] == [2, 1]))
            gates[0].opened.clear()
            assert [one.result()[0] for one in [pool.submit(ask, url, query) for query in queries[:2]]] == [200] * 2
            assert gates[1].entered.is_set()
            gates[0].opened.set()
        said = not_ready(caplog)
        assert len(said) == len(set(said)) <= 2


@pytest.mark.slow
def test_a_fleet_that_cannot_be_used_is_told_of_once(
    finished: Result, gates: list[Gate], queries: torch.Tensor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shape = ", ".join(map(str, gates[0].query_shape))
    with foreign(Foreign(flat, (2, 3))) as other, over_grpc(gates[2]) as own:
        path = listed(tmp_path / "fleet.yaml", [f"grpc://{NOWHERE}", other, own], [f"{own}/v2/models/parity"])
        with front_at_once(finished, path) as url:
            wait_for(lambda: bool(call(f"{url}/healthz")[1]["up"] == [0, 1]))
            wait_for(lambda: caplog.text.count("is not ready") >= 3)
            time.sleep(2)  # in which each is looked at again
            assert call(f"{url}/v2/health/ready")[0] == 503
    sentences = not_ready(caplog)
    unknown = "ModelReady fails with NOT_FOUND: the model must be parity, version 1, got deployed"
    (refused,) = (one for one in sentences if NOWHERE in one)
    assert refused.startswith(f"grpc://{NOWHERE}/v2/models/deployed is not ready: ServerReady fails with UNAVAILABLE: ")
    assert set(sentences) == {
        refused,
        f"{other} is not ready: its input must have shape [-1, {shape}], got [-1, 2, 3]",
        f"{own}/v2/models/deployed is not ready: {unknown}",
    }
    assert len(sentences) == 3


@pytest.mark.parametrize(
    "entry", ["grpc://", "grpc://a", "grpc://a:0", "grpc://a:1/other", "grpc://me@a:1", "grpcs://a:1/v2/models/"]
)
def test_entries_that_name_no_server(entry: str, tmp_path: Path) -> None:
    path = listed(tmp_path / "fleet.yaml", [entry], ["grpcs://b:9001"])
    with pytest.raises(ConfigError) as fault:
        read_fleet(path, ["deployed", "parity"])
    sentence = f"deployed must list addresses such as http://host:9000 or grpc://host:9001, got {entry}"
    assert sentence in str(fault.value)


def test_without_grpc_there_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parmtrain.serving.protocol.grpc_host.find_spec", lambda name: None)
    path = listed(tmp_path / "fleet.yaml", ["http://a:9000"], ["http://b:9000"])
    assert len(read_fleet(path, ["deployed", "parity"])) == 2
    listed(path, ["http://a:9000"], ["grpc://b:9001"])
    with pytest.raises(ConfigError) as fault:
        read_fleet(path, ["deployed", "parity"])
    wanted = f"fleet={path}: grpc://b:9001 needs more packages: pip install 'parmtrain[grpc]'"
    assert str(fault.value) == wanted


@pytest.mark.slow
def test_a_fleet_over_http_does_not_import_grpc() -> None:
    program = """
import asyncio, sys
sys.modules["grpc"] = None  # importing it raises an error
import parmtrain.serving.instances.model_server
from parmtrain.serving.front.standalone import Connections, Endpoint

async def work():
    async with Connections(0) as connections:
        connections.to(Endpoint("http://a:1", "deployed"))

asyncio.run(work())
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
