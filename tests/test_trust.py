"""Reconstructions are compared with F's own predictions that come late: counts, audits, the alarm, adaptation."""

from typing import Any

import numpy as np
import pytest
import torch
from prometheus_client import CollectorRegistry, generate_latest
from starlette.testclient import TestClient
from torch import Tensor, nn

from parmtrain.codes import Sum
from parmtrain.confidence.promises import LADDER
from parmtrain.metrics.functional import agree
from parmtrain.serving import Dispatch, Frontend, Kind, Limits, erasure_code, heads_code
from parmtrain.serving.front.front import Front
from parmtrain.serving.front.status import Status
from parmtrain.serving.frontend.acceptance import Acceptance
from parmtrain.serving.frontend.events import Compare, Group, Guess
from parmtrain.serving.frontend.trust import Alarm, Trust
from parmtrain.serving.process.event_loop import Watch
from parmtrain.serving.protocol.http import application
from parmtrain.serving.service.agreement import Agreement
from parmtrain.serving.service.driver import Service
from parmtrain.serving.service.prometheus import PrometheusMetrics
from tests.virtual_time import in_virtual_time, loop_time


def heard(promised: float, risk: float, count: int, seed: int, length: float = 1e6) -> Alarm:
    """Return an alarm that has heard of reconstructions that disagree with a probability."""
    alarm = Alarm(promised, length)
    for wrong in np.random.default_rng(seed).random(count) < risk:
        alarm.take(1.0 - wrong)
        if alarm.raised is not None:
            break
    return alarm


@pytest.mark.slow
def test_there_is_no_alarm_while_the_promise_holds() -> None:
    alarms = [heard(0.98, 0.02, 5000, seed, length=50_000) for seed in range(40)]
    assert sum(alarm.raised is not None for alarm in alarms) <= 40 * 5000 / 50_000 + 3 * 2


@pytest.mark.parametrize(("risk", "most"), [(0.1, 250), (0.06, 700), (0.04, 2500)])
def test_the_alarm_is_the_sooner_the_worse_it_is(risk: float, most: int) -> None:
    raised = [heard(0.98, risk, 20_000, seed).raised for seed in range(20)]
    assert None not in raised
    assert np.mean([one for one in raised if one is not None]) < most


def test_an_alarm_does_not_forget_how_it_was_before_a_change() -> None:
    alarm = Alarm(0.98)
    for _ in range(10_000):
        alarm.take(1.0)
    for number in range(1000):
        alarm.take(0.0 if number % 5 == 0 else 1.0)
    assert alarm.raised is not None
    assert alarm.raised < 10_200


def test_more_confidence_is_asked_for_under_drift_and_less_after_it() -> None:
    random = np.random.default_rng(0)
    trust = Trust(Acceptance([0.5]), promised=0.95)
    kept = []
    for number in range(40_000):
        confidence = random.random()
        drifts = 10_000 <= number < 30_000
        expected = confidence if drifts else 0.96 + 0.04 * confidence
        agreement = float(random.random() < expected)
        if trust.acceptance.accepts(confidence, 1) and 20_000 <= number < 30_000:
            kept.append(agreement)
        trust.take(agreement, confidence, 1)
        if number == 9999:
            assert trust.acceptance.threshold(1) < 0.6
        if number == 29_999:
            assert trust.acceptance.threshold(1) > 0.8
            assert trust.alarm is not None
            assert trust.alarm.raised is not None
    assert trust.acceptance.threshold(1) < 0.7
    assert np.mean(kept) == pytest.approx(0.95, abs=0.01)


def test_nothing_is_followed_without_a_promise() -> None:
    trust = Trust(Acceptance())
    trust.take(0.0, 0.5, 1)
    assert trust.alarm is None
    assert trust.acceptance.raised == 0


def test_a_share_of_groups_is_decoded_although_nothing_is_late() -> None:
    frontend: Any = Frontend(heads_code(2), [4, 1], Limits(audit=0.5))
    compared = []
    for number in range(20):
        jobs = [one for part in range(2) for one in frontend.submit(float(number), (number, part))]
        for one in jobs:
            query = one.jobs[0].query
            output = "P" if query is None else ("F", *query.payload)
            after = frontend.finished(number + 0.5, *one, [output])
            for decode in [action for action in after if not hasattr(action, "kind")]:
                assert decode.outputs[decode.query.position] is None
                compared += frontend.decoded(number + 0.5, decode, "guess", 0.9)
    assert [one.position for one in compared] == [0, 1] * 5
    assert all(one.audit and one.own[0] == "F" and one.own[2] == one.position for one in compared)
    assert frontend.counts[Kind.deployed] == 40


@pytest.mark.parametrize(("audit", "runs"), [(0.0, 1), (1.0, 2)])
def test_parity_that_nobody_needs_still_runs_in_audited_groups(audit: float, runs: int) -> None:
    frontend: Any = Frontend(heads_code(2), [4, 1], Limits(audit=audit))
    jobs = [one for number in range(4) for one in frontend.submit(0.0, number)]
    (parity,) = [one for one in jobs if one.jobs[0].query is None]  # that of the second group waits for it
    for one in jobs:
        if one is not parity:
            frontend.finished(0.1, *one, ["F"])
    for action in frontend.finished(0.2, *parity, ["P"]):
        if not isinstance(action, Dispatch):
            frontend.decoded(0.2, action, "guess", 0.9)
    assert frontend.counts["coded"] == runs


def test_groups_with_fewer_queries_are_not_audited() -> None:
    frontend: Any = Frontend(heads_code(4), [4, 1], Limits(audit=1.0), k=3)
    for number in range(10):
        for one in [one for part in range(3) for one in frontend.submit(float(number), part)]:
            assert all(isinstance(action, Dispatch) or action.kind for action in frontend.finished(number, *one, ["F"]))
    assert frontend.counts["groups"] == 10


@pytest.mark.thorough
@pytest.mark.parametrize("promised", LADDER)
def test_ordinary_disagreement_makes_nobody_give_up(promised: float) -> None:
    given_up = 0
    for seed in range(10):
        random, trust = np.random.default_rng(seed), Trust(Acceptance([0.0]), promised)
        for wrong, confidence in zip(random.random(20_000) < (1 - promised) / 2, random.random(20_000), strict=True):
            trust.take(1.0 - wrong, confidence, 1)
            given_up += trust.gives_up()
    assert given_up == 0


class Slow:
    """An instance that runs a network, the first of a pair late."""

    def __init__(self, network: nn.Module, seconds: float) -> None:
        self.network, self.seconds = network, seconds

    async def run(self, queries: Tensor) -> Tensor:
        import asyncio

        await asyncio.sleep(self.seconds)
        with torch.no_grad():
            return self.network(queries.flatten(1))  # type: ignore[no-any-return]

    async def restart(self) -> None:
        """Do nothing."""


def watched(trust: Trust | None = None) -> Service:
    network = nn.Linear(4, 3, bias=False).requires_grad_(False)
    instances = [Slow(network, 0.1), Slow(network, 5.0), Slow(network, 0.1)]
    frontend = Frontend(erasure_code(2, 1), [2, 1], Limits(deadline=60.0), trust=trust)
    return Service(
        frontend, Sum(k=2), instances, 3, 3, confidence=lambda predictions, _: torch.full(predictions.shape[:2], 0.75),
        agreement=Agreement(agree, classes=True), clock=loop_time,
    )  # fmt: skip


def asked(service: Service) -> list[Any]:
    import asyncio

    async def ask() -> list[Any]:
        answers = await asyncio.gather(*(service.predict(query) for query in torch.rand(2, 4)))
        await asyncio.sleep(10.0)
        return list(answers)

    found: list[Any] = in_virtual_time(ask())
    return found


def test_a_service_compares_what_it_sent_with_what_came_late() -> None:
    service = watched(Trust(Acceptance([0.5]), promised=0.9))
    answers = asked(service)
    (late,) = [one for one in answers if one.kind is Kind.reconstructed]
    assert late.confidence == 0.75
    assert [one.confidence for one in answers if one.kind is Kind.deployed] == [None]
    assert service.agreement is not None
    means = service.agreement.of["late"]
    assert (means.overall.count, means.overall.mean) == (1, 1.0)
    assert list(means.by_confidence) == [7]
    assert list(means.by_class) == [int(late.output.argmax())]
    alarm = service.frontend.trust.alarm
    assert alarm is not None
    assert alarm.taken == 1


def test_boxes_have_no_classes() -> None:
    agreement = Agreement(agree, classes=False)
    agreement.take(Compare(Group(0, 3), 1, Guess(torch.rand(4), 1.0, 1), torch.rand(4), audit=True))
    assert agreement.of["audit"].by_class == {}
    assert list(agreement.of["audit"].by_confidence) == [9]
    assert agreement.of["late"].overall.mean is None


def test_the_state_is_a_page_a_document_and_metrics() -> None:
    service = watched(Trust(Acceptance([0.5]), promised=0.9))
    asked(service)
    status = Status(Front(service, "<digits>", (4,)), ["deployed", "parity"])
    metrics = PrometheusMetrics(CollectorRegistry(), ["deployed", "parity"])
    metrics.watch(service, Watch())
    client = TestClient(application([status.route, metrics.route]))
    state = client.get("/status").json()
    assert state["agreement"]["late"]["overall"] == {"count": 1, "agreement": 1.0}
    assert state["trust"]["promised_agreement"] == pytest.approx(0.9)
    assert state["trust"]["thresholds"] == [0.5]
    for _ in range(1000):
        service.frontend.trust.take(0.0, 1.0, 1)
    service.frontend.acceptance.thresholds = [float("inf")]
    broken = client.get("/status").json()
    assert broken["trust"]["thresholds"] == [None]
    assert broken["trust"]["evidence"] > 1e100
    page = client.get("/status", headers={"Accept": "text/html"})
    assert page.headers["content-type"].startswith("text/html")
    assert "&lt;digits&gt;" in page.text
    assert "<digits>" not in page.text
    assert "confidence 0.7 to 0.8" in page.text
    assert "promised agreement" in page.text
    assert "Least agreement with F" in page.text
    text = generate_latest(metrics.registry).decode()
    assert 'parmtrain_agreement_compared_total{source="late"} 1.0' in text
    assert "parmtrain_alarm 1.0" in text
