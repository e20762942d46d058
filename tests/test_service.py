"""The service gives right answers through faults of its instances, and decides as the simulator does."""

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from parmtrain.codes import Backup, Code, Heads, Linear, Replication, Stack, Sum
from parmtrain.codes.batches import EachQuery
from parmtrain.serving import Frontend, Kind, Limits, Overloaded, Scheme, erasure_code, heads_code, scheme_of, uncoded
from parmtrain.serving.frontend.events import Jobs
from parmtrain.serving.frontend.log import EventLog
from parmtrain.serving.service.driver import Service
from parmtrain.serving.service.predictions import Prediction
from parmtrain.serving.simulation.simulator import Simulation, poisson
from tests.virtual_time import in_virtual_time, loop_time


class Instance:
    """Runs a network after a delay, or does what a fault says instead."""

    def __init__(self, network: Callable[[Tensor], Tensor], fault: Callable[[], Any] | None = None) -> None:
        self.network, self.fault, self.restarts = network, fault, 0

    async def run(self, queries: Tensor) -> Any:
        await asyncio.sleep(0.01)
        happens = self.fault and self.fault()
        if isinstance(happens, Exception):
            raise happens
        if isinstance(happens, float):
            await asyncio.sleep(happens)
        elif happens is not None:
            return happens.expand(len(queries), -1) if isinstance(happens, Tensor) and happens.dim() == 1 else happens
        return self.network(queries)

    async def restart(self) -> None:
        self.restarts += 1
        await asyncio.sleep(1.0)


def linear_network() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(12, 3, bias=False).requires_grad_(False)


def flat(network: nn.Module) -> Callable[[Tensor], Tensor]:
    return lambda queries: network(queries.flatten(1))


async def ask(service: Service, queries: Tensor, gap: float = 0.0) -> list[Prediction]:
    asked = []
    for query in queries:
        asked.append(asyncio.ensure_future(service.predict(query)))
        await asyncio.sleep(gap)
    return await asyncio.gather(*asked)


@pytest.mark.parametrize("code", [Sum(2), Linear(3, 2), Linear(4, 1)], ids=lambda code: f"{code.name} k={code.k}")
def test_a_linear_model_behind_a_linear_code_is_rebuilt_exactly(code: Code) -> None:
    network = flat(linear_network())
    queries = torch.rand(12, 1, 3, 4)
    slow = iter([5.0, *[None] * 99])
    pool = [Instance(network, lambda: next(slow)) for _ in range(code.k)]
    parity = [Instance(network) for _ in range(code.r)]
    frontend = Frontend(scheme_of(code, code.r, width=3), [code.k, *[1] * code.r])
    service = Service(frontend, code, [*pool, *parity], outputs=3, width=3, clock=loop_time)
    answers = in_virtual_time(ask(service, queries, 0.001))
    assert torch.allclose(torch.stack([answer.output for answer in answers]), network(queries), atol=1e-5)
    assert {answer.kind for answer in answers} == {Kind.deployed, Kind.reconstructed}
    assert max(answer.seconds for answer in answers) < 0.5


def test_heads_and_replication_answer_what_their_models_say() -> None:
    queries = torch.rand(4, 1, 3, 4)
    heads = Heads(Stack(2))
    both = lambda stacked: torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]])  # noqa: E731
    never = [Instance(flat(linear_network()), lambda: 60.0) for _ in range(2)]
    frontend = Frontend(scheme_of(heads, 1, width=6), [2, 1])
    service = Service(frontend, heads, [*never, Instance(both)], outputs=3, width=6, clock=loop_time)
    answers = in_virtual_time(ask(service, queries[:2]))
    assert [answer.output.tolist() for answer in answers] == [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]

    network, code = flat(linear_network()), Replication(2)
    slow = [Instance(network, lambda: 60.0), *[Instance(network) for _ in range(3)]]
    service = Service(Frontend(scheme_of(code, 0, width=3), [4]), code, slow, outputs=3, width=3, clock=loop_time)
    answers = in_virtual_time(ask(service, queries))
    assert torch.allclose(torch.stack([answer.output for answer in answers]), network(queries), atol=1e-6)


FAULTS: dict[str, Any] = {
    "nan": torch.tensor([1.0, torch.nan, 0.0]),
    "shape": torch.zeros(4),
    "whole numbers": torch.zeros(3, dtype=torch.long),
    "fewer": torch.zeros(0, 3),
    "nothing": "nothing",
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_garbage_is_counted_and_never_answered(fault: Any) -> None:
    network, code = flat(linear_network()), Sum(2)
    faults = iter([fault, fault, *[None] * 99])
    instances = [Instance(network, lambda: next(faults)), Instance(network), Instance(network)]
    service = Service(
        Frontend(scheme_of(code, 1, width=3), [2, 1]), code, instances, outputs=3, width=3, clock=loop_time
    )
    queries = torch.rand(6, 1, 3, 4)
    answers = in_virtual_time(ask(service, queries, 0.02))
    assert service.frontend.counts["garbage"] == 2
    assert torch.allclose(torch.stack([answer.output for answer in answers]), network(queries), atol=1e-5)


def test_a_lone_query_is_reconstructed_without_partners() -> None:
    """With one instance of F, which hangs, and no other query, the answer comes from a group of one."""
    network, code = nn.Sequential(nn.Flatten(), linear_network()), Backup(3)
    instances = [Instance(network, lambda: 30.0), Instance(EachQuery(network))]
    service = Service(
        Frontend(scheme_of(code, 1, width=9), [1, 1], Limits(fill_after=0.5)),
        code,
        instances,
        outputs=3,
        width=9,
        clock=loop_time,
    )
    query = torch.rand(1, 1, 3, 4)
    (answer,) = in_virtual_time(ask(service, query, 0.02))
    assert answer.kind is Kind.reconstructed
    assert torch.allclose(answer.output, network(query)[0], atol=1e-5)
    assert 0.5 <= answer.seconds < 2


@pytest.mark.slow
@given(seed=st.integers(0, 10_000), rate=st.sampled_from([0.1, 0.5]))
@settings(deadline=None, max_examples=25)
def test_instances_that_die_hang_and_return_garbage_lose_no_query(seed: int, rate: float) -> None:
    random = np.random.default_rng(seed)
    network, code = flat(linear_network()), Linear(3, 2)
    happens = [RuntimeError("died"), 30.0, torch.full((3,), torch.inf)]

    def fault() -> Any:
        return happens[random.integers(3)] if random.random() < rate else None

    limits = Limits(deadline=20.0, copy_after=0.5, hung_after=5.0, batch_max=1 + seed % 3)
    service = Service(
        Frontend(scheme_of(code, 2, width=3), [3, 1, 1], limits),
        code,
        [Instance(network, fault) for _ in range(5)],
        outputs=3,
        width=3,
        clock=loop_time,
    )
    queries = torch.rand(40, 1, 3, 4)
    answers = in_virtual_time(ask(service, queries, 0.05))
    assert len(answers) == 40
    given_up = [answer.kind is Kind.default for answer in answers]
    right = network(queries)
    for i, answer in enumerate(answers):
        assert (answer.output is None) == given_up[i]
        assert given_up[i] or torch.allclose(answer.output, right[i], atol=1e-4)


def test_an_instance_that_hangs_is_replaced_once() -> None:
    class Hangs(Instance):
        async def run(self, queries: Tensor) -> Any:
            if not self.restarts:
                while not self.restarts:
                    await asyncio.sleep(0.1)
                raise RuntimeError("the old one was killed")
            return await super().run(queries)

    hangs = Hangs(flat(linear_network()))
    service = Service(
        Frontend(uncoded(), [1], Limits(deadline=60.0, hung_after=1.0)), None, [hangs], 3, 3, clock=loop_time
    )
    answers = in_virtual_time(ask(service, torch.rand(4, 1, 3, 4)))
    assert [answer.kind for answer in answers] == [Kind.deployed] * 4
    assert hangs.restarts == 1
    assert service.frontend.counts["hung"] == 1
    assert service.frontend.counts["lost"] == 0


def test_an_overloaded_service_refuses() -> None:
    async def flood() -> list[Any]:
        frontend = Frontend(uncoded(), [1], Limits(waiting=5))
        service = Service(frontend, None, [Instance(flat(linear_network()))], outputs=3, width=3, clock=loop_time)
        asked = [service.predict(query) for query in torch.rand(8, 1, 3, 4)]
        return await asyncio.gather(*asked, return_exceptions=True)

    answers = in_virtual_time(flood())
    assert [isinstance(answer, Overloaded) for answer in answers] == [False] * 5 + [True] * 3


SERVICES = [
    (uncoded(), [3]),
    (erasure_code(2, 1), [2, 1]),
    (erasure_code(3, 2), [3, 1, 1]),
    (heads_code(3), [3, 1]),
]
LIMITS = [
    Limits(),
    Limits(deadline=1.0, copy_after=0.04, fill_after=0.02, reconstruct_after=0.03),
    Limits(deadline=0.5, copy_after=0.0, hung_after=0.2),
    Limits(deadline=1.0, copy_after=0.04, hung_after=0.2, batch_max=3, batch_wait=0.01),
]


@pytest.mark.slow
@given(
    seed=st.integers(0, 10_000),
    service_of=st.sampled_from(SERVICES),
    limits=st.sampled_from(LIMITS),
)
@settings(deadline=None, max_examples=25)
def test_the_service_and_the_simulator_decide_alike(
    seed: int, service_of: tuple[Scheme, list[int]], limits: Limits
) -> None:
    scheme, instances_of = service_of
    arrivals = list(poisson(60.0, 60, seed))
    durations = np.random.default_rng(seed).exponential(0.03, 1000) + 0.001

    def taken(instance: int, jobs: Jobs, now: float) -> float:
        return float(durations[jobs[0].number * 3 + jobs[0].tries]) * len(jobs)

    simulated, live = EventLog(), EventLog()
    simulation = Simulation(Frontend(scheme, instances_of, limits), taken, record=simulated)
    simulation.costs = type(simulation.costs)(restart=0.3)
    outcome = simulation.run(arrivals)

    class Scripted:
        def __init__(self, number: int) -> None:
            self.number = number

        async def run(self, queries: Tensor) -> Tensor:
            jobs = service.frontend.pools.jobs_of(self.number)
            assert len(jobs) == len(queries)
            await asyncio.sleep(taken(self.number, jobs, 0.0))
            return torch.zeros(len(queries), 1)

        async def restart(self) -> None:
            await asyncio.sleep(0.3)

    frontend = Frontend(scheme, instances_of, limits)
    instances = [Scripted(number) for number in range(len(frontend.pools.pool_of))]
    service = Service(
        frontend,
        Zeros(scheme.k, scheme.n - scheme.k) if scheme.pools else None,
        instances,
        outputs=1,
        width=1,
        record=live,
        clock=loop_time,
    )

    async def send() -> list[Prediction]:
        async def at(moment: float) -> Prediction:
            await asyncio.sleep(moment)
            return await service.predict(torch.zeros(1))

        answers = await asyncio.gather(*map(at, arrivals))
        await asyncio.sleep(30.0)  # let what still runs finish
        return answers

    answers = in_virtual_time(send())
    assert len(live.decisions) >= 60 / limits.batch_max
    assert live.decisions == simulated.decisions
    assert sorted(answer.seconds for answer in answers) == pytest.approx(sorted(outcome.latency.tolist()), abs=1e-6)


class Zeros(Linear):
    """A code that always gives a prediction."""

    def decode(self, outputs: Tensor, arrived: Tensor) -> Tensor:
        return torch.zeros(len(outputs), self.k, outputs.size(2))


class Failing(Linear):
    """A code of others that fails."""

    def __init__(self, where: str) -> None:
        super().__init__(2, 1)
        self.where = where

    def encode(self, queries: Tensor) -> Tensor:
        if self.where == "encoder":
            raise RuntimeError("no")
        return super().encode(queries)

    def decode(self, outputs: Tensor, arrived: Tensor) -> Tensor:
        if self.where == "decoder":
            raise RuntimeError("no")
        return super().decode(outputs, arrived) * torch.inf


@pytest.mark.parametrize("own", [60.0, 0.5])
@pytest.mark.parametrize("where", ["encoder", "decoder", "no finite numbers"])
def test_a_code_that_fails_costs_reconstructions_and_no_answers(where: str, own: float) -> None:
    network = flat(linear_network())
    instances = [Instance(network), Instance(network, lambda: own), Instance(network)]
    service = Service(
        Frontend(erasure_code(2, 1), [2, 1], Limits(deadline=5.0)), Failing(where), instances, 3, 3, clock=loop_time
    )
    first, second = in_virtual_time(ask(service, torch.rand(2, 1, 3, 4)))
    assert first.kind is Kind.deployed
    assert second.kind is (Kind.deployed if own < 5 else Kind.default)  # F's own prediction is waited for
    assert second.seconds == pytest.approx(min(own, 5.0), abs=0.05)
