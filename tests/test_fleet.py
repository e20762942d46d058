"""A front before a fleet of servers: answers, slow and dead servers, a fleet that changes, servers of others."""

import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from prometheus_client.parser import text_string_to_metric_families
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from parmtrain.errors import ConfigError
from parmtrain.result import Result
from parmtrain.serving.fleet.endpoints import read_fleet
from parmtrain.serving.front.served import read_served
from parmtrain.serving.instances.model_server import OneModel
from parmtrain.serving.protocol.dataplane import Answered
from parmtrain.serving.protocol.http import application
from parmtrain.serving.protocol.listening import taken
from parmtrain.serving.settings import ServeSettings
from tests.fleets import PATIENCE, Gate, app_of, ask, call, front, listed, wait_for
from tests.servers import serving

pytestmark = pytest.mark.slow


def test_answers_are_those_of_the_models(
    finished: Result, gates: list[Gate], queries: torch.Tensor, tmp_path: Path
) -> None:
    own, bundle = finished.module.deployed, read_served(ServeSettings(bundle=str(finished.folder))).bundle
    with ExitStack() as stack:
        slow, fast, parity = (stack.enter_context(serving(app_of(gate))) for gate in gates)
        path = listed(tmp_path / "fleet.yaml", [slow, fast], [parity])
        url = stack.enter_context(front(finished, path))
        pool = stack.enter_context(ThreadPoolExecutor(2))
        gates[0].opened.clear()  # before any query: a late one would leave a single idle instance to both
        late = [pool.submit(ask, url, query) for query in queries[4:6]]
        answers = [one.result()[1] for one in late]
        assert sorted(answer["parameters"]["kind"] for answer in answers) == ["deployed", "reconstructed"]
        assert len({answer["parameters"]["group"] for answer in answers}) == 1
        gates[0].opened.set()
        for position, answer in enumerate(answers):
            given = torch.tensor(answer["outputs"][0]["data"])
            pairs = [queries[4:6], queries[[5, 4]]]  # whichever came first
            rebuilt = [bundle.reconstruct(pair.unsqueeze(0), at)[0, at] for pair in pairs for at in (0, 1)]
            wanted = rebuilt if answer["parameters"]["kind"] == "reconstructed" else [own(queries[4:6])[position]]
            assert any(torch.allclose(given, one, atol=1e-4) for one in wanted)
        for query in queries[:4]:
            status, answer = ask(url, query)
            assert status == 200
            assert answer["parameters"]["kind"] in ("deployed", "reconstructed")
            assert answer["outputs"][0]["shape"] == [1, 10]
        status, answer = ask(url, queries[0], deadline_ms="soon")
        assert (status, answer) == (400, {"error": "deadline_ms must be more than 0 and at most 1e+09, got soon"})


def test_a_deadline_of_ones_own_is_kept(
    finished: Result, gates: list[Gate], queries: torch.Tensor, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        servers = [stack.enter_context(serving(app_of(gate))) for gate in gates]
        url = stack.enter_context(front(finished, listed(tmp_path / "fleet.yaml", servers[:2], servers[2:])))
        for gate in gates:
            gate.opened.clear()
        began = time.monotonic()
        assert ask(url, queries[0], deadline_ms=50) == (504, {"error": "no prediction could be given (deadline)"})
        assert time.monotonic() - began < 5
        for gate in gates:
            gate.opened.set()


def test_a_query_out_of_scale_spoils_no_others_reconstruction(
    finished: Result, gates: list[Gate], queries: torch.Tensor, tmp_path: Path
) -> None:
    bundle = read_served(ServeSettings(bundle=str(finished.folder))).bundle
    alone = bundle.reconstruct(queries[:2].unsqueeze(0), 0)[0, 0]
    spoiled = bundle.reconstruct(torch.stack([queries[0], 1e6 * queries[1]]).unsqueeze(0), 0)[0, 0]
    assert not torch.allclose(alone, spoiled, atol=1.0)
    with ExitStack() as stack:
        servers = [stack.enter_context(serving(app_of(gate))) for gate in gates]
        path = listed(tmp_path / "fleet.yaml", servers[:2], servers[2:])
        url = stack.enter_context(front(finished, path))
        pool = stack.enter_context(ThreadPoolExecutor(3))
        for gate in gates[:2]:
            gate.opened.clear()
        late = pool.submit(ask, url, queries[0])
        wait_for(lambda: any(gate.entered.is_set() for gate in gates[:2]))
        next(gate for gate in gates[:2] if not gate.entered.is_set()).opened.set()
        for scale in (16, 255, 1e6, 1e20):
            status, answer = ask(url, scale * queries[1])
            assert (status, answer["parameters"]["kind"]) == (200, "deployed")
        assert call(f"{url}/healthz")[1]["counts"]["uncoded"] == 4
        assert ask(url, queries[1])[0] == 200  # fills the group
        given = torch.tensor(late.result()[1]["outputs"][0]["data"])
        assert torch.allclose(given, alone, atol=1e-4)
        for gate in gates:
            gate.opened.set()
        with front(finished, path, unusual="refuse") as strict:
            status, answer = ask(strict, 255 * queries[1])
            assert status == 422
            assert "the query must be like those of training: the maximum of channel 0 is 255" in answer["error"]


def test_a_server_that_dies_loses_no_query_and_is_used_again(
    finished: Result, gates: list[Gate], queries: torch.Tensor, tmp_path: Path
) -> None:
    with ExitStack() as stack, ThreadPoolExecutor(8) as pool:
        dying = stack.enter_context(ExitStack())
        first = dying.enter_context(serving(app_of(gates[0])))
        others = [stack.enter_context(serving(app_of(gate))) for gate in gates[1:]]
        url = stack.enter_context(front(finished, listed(tmp_path / "fleet.yaml", [first, others[0]], [others[1]])))

        def up() -> Any:
            return call(f"{url}/healthz")[1]["up"]

        asked = [pool.submit(ask, url, query) for query in queries]
        dying.close()
        assert [one.result()[0] for one in asked] == [200] * len(queries)
        assert [ask(url, query)[0] for query in queries] == [200] * len(queries)
        wait_for(lambda: up() == [1, 1])
        with serving(app_of(gates[0]), port=int(first.rpartition(":")[2])):
            wait_for(lambda: up() == [2, 1])
            assert ask(url, queries[0])[0] == 200


def test_the_fleet_changes_while_it_serves(
    finished: Result, gates: list[Gate], queries: torch.Tensor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with ExitStack() as stack:
        one, two, parity = (stack.enter_context(serving(app_of(gate))) for gate in gates)
        path = listed(tmp_path / "fleet.yaml", [one], [parity])
        url = stack.enter_context(front(finished, path))
        assert call(f"{url}/healthz")[1]["up"] == [1, 1]
        listed(path, [two, two], [parity])
        wait_for(lambda: call(f"{url}/healthz")[1]["up"] == [2, 1])
        gates[0].opened.clear()  # nobody asks it any more
        assert [ask(url, query)[0] for query in queries] == [200] * len(queries)
        path.write_text("deployed: []")
        wait_for(lambda: "the fleet stays as it is" in caplog.text)
        assert ask(url, queries[0])[0] == 200
        gates[0].opened.set()


class Foreign:
    """A server with names and a type of its own, which reads and writes JSON alone."""

    def __init__(self, model: OneModel) -> None:
        self.model = model
        self.routes = [
            Route("/v2", self.server),
            Route("/v2/health/ready", self.server),
            Route("/v2/models/net/ready", self.server),
            Route("/v2/models/net", self.metadata),
            Route("/v2/models/net/infer", self.infer, methods=["POST"]),
        ]

    async def server(self, request: Request) -> JSONResponse:
        return JSONResponse({"name": "another"})

    async def metadata(self, request: Request) -> JSONResponse:
        shape = [-1, *self.model.query_shape]
        return JSONResponse(
            {
                "name": "net",
                "inputs": [{"name": "pixels", "datatype": "FP64", "shape": shape}],
                "outputs": [{"name": "logits", "datatype": "FP32", "shape": [-1]}],
            }
        )

    async def infer(self, request: Request) -> JSONResponse:
        (given,) = (await request.json())["inputs"]
        assert given["name"] == "pixels"
        assert given["datatype"] == "FP64"
        outputs = self.model.run(np.array(given["data"], dtype=np.float32).reshape(given["shape"]))
        one = {"name": "logits", "shape": list(outputs.shape), "datatype": "FP32", "data": outputs.ravel().tolist()}
        return JSONResponse({"model_name": "net", "outputs": [one]})


def test_servers_of_others_are_instances_too(
    finished: Result, gates: list[Gate], queries: torch.Tensor, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        foreign = stack.enter_context(serving(application(Foreign(gates[0]).routes)))
        parity = stack.enter_context(serving(app_of(gates[2])))
        path = listed(tmp_path / "fleet.yaml", [f"{foreign}/v2/models/net"], [parity])
        url = stack.enter_context(front(finished, path, coded=True, reconstruct_after=30))
        for query in queries[:4]:
            status, answer = ask(url, query)
            assert (status, answer["parameters"]["kind"]) == (200, "deployed")
            own = finished.module.deployed(query.unsqueeze(0))
            assert torch.allclose(torch.tensor([answer["outputs"][0]["data"]]), own, atol=1e-4)


class Wrong(OneModel):
    """A model that refuses every query."""

    async def infer(self, queries: np.ndarray, parameters: Mapping[str, Any], headers: Mapping[str, Any]) -> Answered:
        raise ValueError("no")


def test_a_query_that_no_instance_can_run_is_answered_at_once(
    finished: Result, gates: list[Gate], queries: torch.Tensor, tmp_path: Path
) -> None:
    wrong = Wrong("deployed", gates[0].runner, gates[0].query_shape, 10)
    with ExitStack() as stack:
        servers = [stack.enter_context(serving(app_of(model))) for model in (wrong, wrong, gates[2])]
        url = stack.enter_context(front(finished, listed(tmp_path / "fleet.yaml", servers[:2], servers[2:])))
        began = time.monotonic()
        assert ask(url, queries[0]) == (504, {"error": "no prediction could be given (attempts)"})
        assert time.monotonic() - began < 5
        with urllib.request.urlopen(f"{url}/metrics", timeout=PATIENCE) as answer:
            families = {one.name: one for one in text_string_to_metric_families(answer.read().decode())}
        assert families["parmtrain_failed"].samples[0].value == 1
        assert families["parmtrain_lost"].samples[0].value == 2
        refused = {sample.labels.get("status"): sample.value for sample in families["parmtrain_refused"].samples}
        assert refused["504"] == 1


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("[1]", "must have a list of servers for each of deployed, parity"),
        ("deployed: [http://a]\n", "must have a list of servers for parity, got none"),
        ("deployed: [http://a]\nparity: []\n", "must have a list of servers for parity, got none"),
        (
            "deployed: [a:9000]\nparity: [http://b]\n",
            "deployed must list addresses such as http://host:9000 or grpc://host:9001, got a:9000",
        ),
        ("deployed: [http://a/v1]\nparity: [http://b]\n", "deployed must list addresses such as"),
        ("deployed: [http://a:99999]\nparity: [http://b]\n", "deployed must list addresses such as"),
        (
            "deployed: [http://a]\nparity: [http://b]\nmore: []\n",
            "has no pool more; its pools must be deployed, parity",
        ),
        ("deployed: [", "must be a YAML file of servers, but"),
    ],
)
def test_files_that_name_no_fleet(content: str, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "fleet.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError) as fault:
        read_fleet(path, ["deployed", "parity"])
    assert sentence in str(fault.value)


def test_a_port_is_never_shared() -> None:
    with taken("127.0.0.1", 0, "port") as first:
        port = first.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"port={port} must be free on 127.0.0.1: Address already in use; set"):
            taken("127.0.0.1", port, "port")
    with pytest.raises(ConfigError, match=r"host must be an address of this machine, got nowhere\.invalid"):
        taken("nowhere.invalid", 1, "port")
