"""The frontend at work: real codes and outputs, faulty instances, malformed requests, and both drivers alike."""

import asyncio
import csv
import selectors
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from parmtrain import advise
from parmtrain.codes import Code, Concat, Default, Heads, Linear, Replication, Stack, Sum
from parmtrain.errors import ConfigError
from parmtrain.serving import Frontend, Kind, Limits, Overloaded, erasure_code, scheme_of, uncoded
from parmtrain.serving.delays import Service as Times
from parmtrain.serving.delays import Slowdowns, constant, exponential, lognormal, pareto
from parmtrain.serving.events import Job
from parmtrain.serving.log import EventLog
from parmtrain.serving.requests import Refused, check, parse
from parmtrain.serving.service import Prediction, Service
from parmtrain.serving.simulator import Simulation, poisson
from parmtrain.serving.strategies import NAMES, strategies
from parmtrain.simulate import Settings, main, simulate


class VirtualTime(asyncio.SelectorEventLoop):
    """An event loop whose time jumps to the next thing that is due."""

    def __init__(self) -> None:
        super().__init__(selectors.SelectSelector())
        self.passed = 0.0
        select = self._selector.select
        self._selector.select = lambda timeout: self.jump(timeout) or select(0)

    def jump(self, timeout: float | None) -> None:
        assert timeout is not None, "everything waits for nothing"
        self.passed += timeout

    def time(self) -> float:
        return self.passed


def loop_time() -> float:
    return asyncio.get_running_loop().time()


def in_virtual_time(work: Coroutine[Any, Any, Any]) -> Any:
    with asyncio.Runner(loop_factory=VirtualTime) as runner:
        return runner.run(work)


class Instance:
    """Runs a network after a delay, or does what a fault says instead."""

    def __init__(self, network: Callable[[Tensor], Tensor], fault: Callable[[], Any] | None = None) -> None:
        self.network, self.fault, self.restarts = network, fault, 0

    async def run(self, query: Tensor) -> Any:
        await asyncio.sleep(0.01)
        happens = self.fault and self.fault()
        if isinstance(happens, Exception):
            raise happens
        if isinstance(happens, float):
            await asyncio.sleep(happens)
        elif happens is not None:
            return happens
        return self.network(query.unsqueeze(0))[0]

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


@given(seed=st.integers(0, 10_000), rate=st.sampled_from([0.1, 0.5]))
@settings(deadline=None, max_examples=25)
def test_instances_that_die_hang_and_return_garbage_lose_no_query(seed: int, rate: float) -> None:
    random = np.random.default_rng(seed)
    network, code = flat(linear_network()), Linear(3, 2)
    happens = [RuntimeError("died"), 30.0, torch.full((3,), torch.inf)]

    def fault() -> Any:
        return happens[random.integers(3)] if random.random() < rate else None

    limits = Limits(deadline=20.0, copy_after=0.5, hung_after=5.0)
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
        async def run(self, query: Tensor) -> Any:
            if not self.restarts:
                while not self.restarts:
                    await asyncio.sleep(0.1)
                raise RuntimeError("the old one was killed")
            return await super().run(query)

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


@given(
    seed=st.integers(0, 10_000),
    scheme=st.sampled_from([(uncoded(), [3]), (erasure_code(2, 1), [2, 1]), (erasure_code(3, 2), [3, 1, 1])]),
    limits=st.sampled_from([Limits(), Limits(1.0, 0.04, 0.03), Limits(0.5, 0.0, 0.0, 0.2)]),
)
@settings(deadline=None, max_examples=25)
def test_the_service_and_the_simulator_decide_alike(seed: int, scheme: Any, limits: Limits) -> None:
    arrivals = list(poisson(60.0, 60, seed))
    durations = np.random.default_rng(seed).exponential(0.03, 1000) + 0.001

    def taken(instance: int, job: Job, now: float) -> float:
        return float(durations[job.number * 3 + job.tries])

    simulated, live = EventLog(), EventLog()
    simulation = Simulation(Frontend(*scheme, limits), taken, record=simulated)
    simulation.costs = type(simulation.costs)(restart=0.3)
    outcome = simulation.run(arrivals)

    class Scripted:
        def __init__(self, number: int) -> None:
            self.number = number

        async def run(self, query: Tensor) -> Tensor:
            job = service.frontend._running[self.number]
            await asyncio.sleep(taken(self.number, job, 0.0))
            return torch.zeros(1)

        async def restart(self) -> None:
            await asyncio.sleep(0.3)

    class Sums:
        encode = staticmethod(lambda queries: queries.sum(1, keepdim=True).expand(-1, 2, -1))
        decode = staticmethod(lambda outputs, arrived: outputs)

    frontend = Frontend(*scheme, limits)
    instances = [Scripted(number) for number in range(len(frontend.pool_of))]
    service = Service(frontend, Sums(), instances, outputs=1, width=1, record=live, clock=loop_time)

    async def send() -> list[Prediction]:
        async def at(moment: float) -> Prediction:
            await asyncio.sleep(moment)
            return await service.predict(torch.zeros(1))

        answers = await asyncio.gather(*map(at, arrivals))
        await asyncio.sleep(30.0)  # what still runs may run to its end
        return answers

    answers = in_virtual_time(send())
    assert len(live.decisions) >= 60
    assert live.decisions == simulated.decisions
    assert sorted(answer.seconds for answer in answers) == pytest.approx(sorted(outcome.latency.tolist()), abs=1e-6)


SHAPE = (1, 2, 2)
RIGHT = torch.arange(4.0).view(SHAPE)
RAW = RIGHT.numpy().astype("<f4").tobytes()


def test_queries_as_json_and_as_bare_numbers() -> None:
    assert torch.equal(parse(b'{"query": [[[0, 1], [2.0, 3e0]]]}', "application/json; charset=utf-8", SHAPE), RIGHT)
    assert torch.equal(parse(RAW, "application/octet-stream", SHAPE), RIGHT)
    assert torch.equal(check(RIGHT.double().numpy(), SHAPE), RIGHT)
    assert check(RIGHT.long(), SHAPE).dtype is torch.float32


@pytest.mark.parametrize(
    ("body", "kind", "status", "sentence"),
    [
        (b"{", "application/json", 400, "the body is no JSON"),
        (b"\xff\xfe", "application/json", 400, "the body is no JSON"),
        (b"[" * 1000, "application/json", 400, "the body is no JSON"),
        (b"[1, 2]", "application/json", 422, "the body is no query"),
        (b'{"query": [[[0, 1], [2]]]}', "application/json", 422, "lists differ in length"),
        (b'{"query": [[0, 1], [2, 3]]}', "application/json", 422, r"shape \[2, 2\]; \[1, 2, 2\] is right"),
        (b'{"query": [[[0, 1], [2, "3"]]]}', "application/json", 422, "something else than numbers"),
        (b'{"query": [[[true, true], [false, true]]]}', "application/json", 422, "something else than numbers"),
        (b'{"query": [[[0, 1], [2, null]]]}', "application/json", 422, "something else than numbers"),
        (b'{"query": [[[0, 1], [2, NaN]]]}', "application/json", 422, "NaN or an infinite number"),
        (b'{"query": [[[0, 1], [2, 1e300]]]}', "application/json", 422, "NaN or an infinite number"),
        (RAW[:-1], "application/octet-stream", 422, r"15 bytes; 16 are right"),
        (RAW[:-4] + b"\x00\x00\x80\x7f", "application/octet-stream", 422, "NaN or an infinite number"),
        (b" " * 10_000, "application/json", 413, "the body has 10000 bytes"),
        (RAW, "image/png", 415, "Content-Type is image/png"),
    ],
)
def test_malformed_requests(body: bytes, kind: str, status: int, sentence: str) -> None:
    with pytest.raises(Refused, match=sentence) as caught:
        parse(body, kind, SHAPE)
    assert caught.value.status == status


@pytest.mark.parametrize("query", ["text", None, RIGHT.bool(), RIGHT[0], RIGHT + torch.nan, RIGHT.to(torch.cfloat)])
def test_malformed_queries_through_a_handle(query: Any) -> None:
    with pytest.raises(Refused) as caught:
        check(query, SHAPE)
    assert caught.value.status == 422


@given(st.binary(max_size=200), st.sampled_from(["application/json", "application/octet-stream", "", "x"]))
@settings(deadline=None, max_examples=200)
def test_any_bytes_are_a_query_or_refused(body: bytes, kind: str) -> None:
    try:
        query = parse(body, kind, SHAPE)
    except Refused:
        return
    assert query.shape == SHAPE
    assert query.isfinite().all()


def test_a_million_bytes_of_brackets_are_refused_before_they_are_read() -> None:
    with pytest.raises(Refused, match="more than a query"):
        parse(b"[" * 1_000_000, "application/json", SHAPE)


def test_slowdowns_are_the_same_for_everyone_and_as_likely_as_said() -> None:
    slowdowns = Slowdowns(0.2, constant(1.0), slot=0.5, correlation=0.5, seed=3)
    slow = np.array([[slowdowns.slow(instance, 0.5 * slot) for slot in range(9000)] for instance in range(4)])
    again = Slowdowns(0.2, constant(1.0), slot=0.5, correlation=0.5, seed=3)
    assert [again.slow(2, 0.5 * slot) for slot in range(100)] == slow[2, :100].tolist()
    assert slow.mean() == pytest.approx(0.2, abs=0.01)
    assert np.corrcoef(slow)[0, 1] == pytest.approx(0.5, abs=0.05)
    each = Times(constant(0.0), Slowdowns(0.2, constant(1.0)))
    assert np.mean([each.seconds(0, 0, 0.0) for _ in range(9000)]) == pytest.approx(0.2, abs=0.02)


def test_instances_that_are_always_slow_and_predictions_that_are_by_themselves() -> None:
    by_coin = Slowdowns(probability=0.25, delay=constant(1.0), instances=2)
    assert [by_coin.slow(instance, 0.0, coin=0.3) for instance in range(4)] == [True, True, False, False]
    assert by_coin.slow(3, 0.0, coin=0.2)
    times = Times(constant(0.5), by_coin)
    assert [times.seconds(instance, 0, 0.0) for instance in (0, 1)] == [1.5, 1.5]
    assert np.mean([times.seconds(2, 0, 0.0) for _ in range(4000)]) == pytest.approx(0.75, abs=0.03)


def test_work_is_counted_from_dispatch_to_result_or_loss() -> None:
    frontend = Frontend(erasure_code(k=2, r=1), [2, 1])
    (first,) = frontend.submit(0.0, "a")
    second, coded = frontend.submit(1.0, "b")
    frontend.finished(3.0, first.instance, first.job, "F(a)")
    (again,) = frontend.lost(5.0, second.instance)
    frontend.finished(6.0, coded.instance, coded.job, "P")
    assert frontend.occupied == [3.0 + 4.0, 5.0]
    frontend.finished(8.0, again.instance, again.job, "F(b)")
    assert frontend.occupied == [3.0 + 4.0 + 3.0, 5.0]


@pytest.mark.parametrize("draw", [exponential(2.0), lognormal(2.0, 0.5), pareto(2.0, 3.0), constant(2.0)])
def test_delays_have_their_mean(draw: Any) -> None:
    assert draw(np.random.default_rng(0), 200_000).mean() == pytest.approx(2.0, rel=0.03)


def test_a_simulation_of_one_queue_has_the_waiting_time_of_the_textbook() -> None:
    rate, mean = 5.0, 0.1
    simulation = Simulation(Frontend(uncoded(), [1]), Times(exponential(mean), seed=1))
    outcome = simulation.run(poisson(rate, 60_000, seed=0))
    assert outcome.utilisation == pytest.approx(rate * mean, rel=0.03)
    assert outcome.latency.mean() == pytest.approx(mean / (1 - rate * mean), rel=0.05)  # M/M/1


def test_the_same_seed_gives_the_same_simulation_and_killed_instances_lose_nothing() -> None:
    settings = Settings(k=[2], queries=3000, slow=0.05, kills=30, restart=1.0, hung_after=5.0)
    for strategy in settings.chosen()[2]:
        one, other = simulate(settings, strategy), simulate(settings, strategy)
        assert np.array_equal(one.latency, other.latency)
        assert len(one.latency) == 3000
        assert one.counts.get("lost", 0) > 0
        assert sum(one.share(kind) for kind in Kind) == pytest.approx(1.0)


def test_a_coded_service_keeps_its_tail_where_slowness_is_rare() -> None:
    settings = Settings(queries=20_000, k=[2], slow=0.01, strategies=["equal", "coded"])
    equal, coded = (simulate(settings, strategy) for strategy in settings.chosen()[2])
    assert coded.percentile(50) == pytest.approx(equal.percentile(50), rel=0.05)
    gap = (equal.percentile(99.9) - equal.percentile(50)) / (coded.percentile(99.9) - coded.percentile(50))
    assert gap > 3.5


def test_strategies_use_equal_resources() -> None:
    for k, r in ((2, 1), (3, 1), (4, 2)):
        instances = {one.name.split()[0]: sum(one.instances) for one in strategies(NAMES, 12, k, r)}
        assert instances.pop("none") == 12
        assert set(instances.values()) == {12 + 12 * r // k}
    with pytest.raises(ConfigError, match="instances=12, k=5, r=1: whole groups"):
        strategies(["coded"], 12, 5, 1)


def test_the_command_writes_a_table_and_a_plot(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["queries=2000", "k=2,3", "strategies=none,coded", f"folder={tmp_path}"]) == 0
    assert "coded k=3 r=1" in capsys.readouterr().out
    lines = (tmp_path / "table.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["strategy", "none", "coded k=2 r=1", "coded k=3 r=1"]
    assert (tmp_path / "latency.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["rates=3"], "rates=3: key=value is right, with a key of "),
        (["rate=fast"], "rate=fast: Value 'fast' of type 'str' could not be converted to Float"),
        (["rate=-1"], "rate=-1.0: more than 0 is right"),
        (["slow=2", "delay=never"], "2 faults in this configuration"),
        (["k=5"], "instances=12, k=5, r=1: whole groups of k ≥ 2 instances"),
        (["strategies=magic"], "strategies: there is no magic"),
    ],
)
def test_mistakes_on_the_command_line(arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 1
    assert sentence in capsys.readouterr().err


def test_one_output_with_heads_gives_all_and_no_output_nothing() -> None:
    default = scheme_of(Default(2, outputs=3), 0, width=3)
    assert [default.recoverable(arrived) for arrived in (0b00, 0b01, 0b11)] == [0b00, 0b01, 0b11]
    scheme = scheme_of(Heads(Concat(3)), 1, width=30)
    assert scheme.recoverable(0b1000) == 0b111
    assert scheme.recoverable(0b0010) == 0b010


def test_advice_on_the_codes_of_a_comparison(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    results = tmp_path / "table.csv"
    lines = ["code,k,r,late,nobody_late,degraded", "sum,2,1,1,0.9,0.8", "concat_heads,4,1,1,0.9,0.85"]
    results.write_text("\n".join([*lines, "linear,4,2,1,0.9,0.7", "linear,4,2,2,0.9,0.6", "backup,2,2,1,0.9,0.85"]))
    given = [f"results={results}", f"folder={tmp_path / 'advice'}", "queries=1500", "slow=0.02"]
    assert advise.main(given) == 0
    with open(tmp_path / "advice" / "table.csv", newline="") as file:
        advised = {(line["strategy"], line["instances"]): line for line in csv.DictReader(file)}
    assert {"sum k=2 r=1", "concat_heads k=4 r=1", "linear k=4 r=2", "backup"} <= {name for name, _ in advised}
    ours = advised["sum k=2 r=1", "12 + 6"]
    share = float(ours["reconstructed"])
    assert float(ours["overall accuracy"]) == pytest.approx(0.9 - 0.1 * share, abs=1e-6)
    for wrong, sentence in (([], "results=: the table.csv"), (["results=nowhere"], "results=nowhere cannot be read")):
        assert advise.main(wrong) == 1
        assert sentence in capsys.readouterr().err
