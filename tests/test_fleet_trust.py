"""A front trusts neither its clients nor its fleet: tenants apart, and servers of another bundle."""

import asyncio
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch

from parmtrain.result import Result
from parmtrain.serving import Frontend, uncoded
from parmtrain.serving.front.front import Front
from parmtrain.serving.service.driver import Service
from tests.fleets import Gate, app_of, ask, call, front, front_at_once, listed, wait_for
from tests.servers import serving


@pytest.mark.slow
def test_queries_of_different_tenants_are_never_encoded_together(
    finished: Result, gates: list[Gate], queries: torch.Tensor, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        servers = [stack.enter_context(serving(app_of(gate))) for gate in gates]
        path = listed(tmp_path / "fleet.yaml", servers[:2], servers[2:])
        url = stack.enter_context(front(finished, path))
        groups: dict[str, list[str]] = {"a": [], "b": [], "": []}
        for number, query in enumerate(queries[:12]):
            tenant = sorted(groups)[number % 3]
            status, answer = ask(url, query, headers={"X-Tenant": tenant} if tenant else {})
            assert status == 200
            groups[tenant].append(answer["parameters"]["group"])
        assert all(one[0] == one[1] != one[2] == one[3] for one in groups.values())
        assert len({group for one in groups.values() for group in one}) == 6
        assert ask(url, queries[0], headers={"X-Tenant": "a" * 300})[0] == 400


@pytest.mark.slow
def test_a_server_of_another_bundle_is_never_asked(
    finished: Result, gates: list[Gate], queries: torch.Tensor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gates[0].fingerprint = "0" * 64
    with ExitStack() as stack:
        servers = [stack.enter_context(serving(app_of(gate))) for gate in gates]
        path = listed(tmp_path / "fleet.yaml", servers[:2], servers[2:])
        url = stack.enter_context(front_at_once(finished, path))
        wait_for(lambda: call(f"{url}/healthz")[1]["up"] == [1, 1])
        wait_for(lambda: "it must run the model of this bundle" in caplog.text)
        assert {ask(url, query)[0] for query in queries[:4]} == {200}
    assert "but it runs 000000000000…" in caplog.text
    assert not gates[0].entered.is_set()


@pytest.mark.slow
def test_a_server_that_is_replaced_by_one_of_another_bundle_answers_nobody(
    finished: Result, gates: list[Gate], queries: torch.Tensor, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        servers = [stack.enter_context(serving(app_of(gate))) for gate in gates]
        path = listed(tmp_path / "fleet.yaml", servers[:2], servers[2:])
        url = stack.enter_context(front(finished, path, coded=True))
        gates[0].fingerprint = "0" * 64
        answers = [ask(url, query) for query in queries[:8]]
        assert {status for status, _ in answers} == {200}
        wait_for(lambda: call(f"{url}/healthz")[1]["up"] == [1, 1])
        assert call(f"{url}/healthz")[1]["counts"]["lost"] == 1


def test_a_front_takes_queries_once_it_has_instances_or_has_waited_for_them_and_never_once_it_ends() -> None:
    async def opened(patience: float, ends: bool, up_after: float) -> tuple[bool, bool]:
        frontend = Frontend(uncoded(), [1])
        front = Front(Service(frontend, None, [], 3, 3), "name", (3,))
        front.open = False
        frontend.pools.take_down(0.0, 0)
        loop = asyncio.get_running_loop()
        loop.call_later(up_after, frontend.pools.restore, 0)
        if ends:
            front.close()
        began = loop.time()
        await front.opened(patience)
        return front.open, loop.time() - began < up_after

    assert asyncio.run(opened(60.0, ends=False, up_after=0.2)) == (True, False)
    assert asyncio.run(opened(0.1, ends=False, up_after=5.0)) == (True, True)
    assert asyncio.run(opened(60.0, ends=True, up_after=5.0)) == (False, True)
