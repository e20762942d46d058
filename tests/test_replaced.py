"""A deployed model that is replaced by another: no reconstruction mixes outputs of both."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from parmtrain.codes import Concat, Heads
from parmtrain.codes.scheme import DEPLOYED
from parmtrain.errors import ConfigError
from parmtrain.result import Result
from parmtrain.serving import Answer, Dispatch, Frontend, Kind, Limits, backed_up, erasure_code, scheme_of
from parmtrain.serving.frontend.events import Action, Compare, Decode, Group, Job
from parmtrain.serving.frontend.limits import Parity
from parmtrain.serving.settings import ServeSettings
from tests.fleets import Gate, app_of, ask, call, front, listed, wait_for
from tests.servers import serving

SCHEMES = {
    "k=2": (erasure_code(2, 1), [3, 2]),
    "k=3 r=2": (erasure_code(3, 2), [3, 1, 1]),
    "heads k=2": (scheme_of(Heads(Concat(2)), 1, width=4), [3, 2]),
    "backup": (backed_up(), [3, 2]),
}


class Outcome:
    """What a random service did: instances run another deployed model from time to time."""

    def __init__(self, frontend: Frontend, seed: int, steps: int) -> None:
        self.frontend, self.random, self.now, self.other = frontend, Random(seed), 0.0, False
        self.running: list[Dispatch] = []
        self.answers: list[Answer] = []
        self.mixed: list[Group] = []
        self.submitted = 0
        for _ in range(steps):
            self.step()
        if self.other:
            self.hold(False)
        while self.running:
            self.finish()
        self.do(frontend.tick(self.now + 1e6))

    def step(self) -> None:
        self.now += 0.1
        chance = self.random.random()
        if chance < 0.45:
            self.submitted += 1
            self.do(self.frontend.submit(self.now, self.submitted))
        elif chance < 0.9:
            self.finish()
        elif chance < 0.95:
            self.hold(not self.other)
        else:
            self.do(self.frontend.tick(self.now))

    def hold(self, other: bool) -> None:
        self.other = other
        self.do(self.frontend.encoding.hold(self.now, other))

    def finish(self) -> None:
        """Have a random batch end; the deployed model that is served now is what answers."""
        if not self.running:
            return
        one = self.running.pop(self.random.randrange(len(self.running)))
        label = "other" if self.other and one.jobs[0].pool == DEPLOYED else "own"
        self.do(self.frontend.finished(self.now, one.instance, one.jobs, [label] * len(one.jobs)))

    def do(self, actions: Sequence[Action]) -> None:
        for action in actions:
            if isinstance(action, Dispatch):
                self.running.append(action)
            elif isinstance(action, Answer):
                self.answers.append(action)
            elif isinstance(action, Decode):
                audit = action.own is not None  # of a group that was answered before
                if "other" in (*action.outputs, action.own) or (self.other and not audit):
                    self.mixed.append(action.query.group)
                self.do(self.frontend.decoded(self.now, action, "rebuilt", confidence=self.random.random()))
            elif isinstance(action, Compare) and action.own == "other":
                self.mixed.append(action.group)


@given(
    name=st.sampled_from(sorted(SCHEMES)),
    seed=st.integers(0, 10_000),
    copy_after=st.sampled_from([0.3, float("inf")]),
    parity=st.sampled_from(list(Parity)),
    audit=st.sampled_from([0.0, 1.0]),
)
def test_nothing_is_decoded_from_two_deployed_models(
    name: str, seed: int, copy_after: float, parity: Parity, audit: float
) -> None:
    scheme, instances = SCHEMES[name]
    limits = Limits(copy_after=copy_after, parity=parity, audit=audit, deadline=1e5)
    outcome = Outcome(Frontend(scheme, instances, limits), seed, steps=150)
    assert not outcome.mixed
    numbers = [answer.query.number for answer in outcome.answers]
    assert sorted(numbers) == list(range(outcome.submitted))
    assert {answer.kind for answer in outcome.answers} <= {Kind.deployed, Kind.reconstructed}


def test_groups_that_took_queries_before_are_not_filled_after() -> None:
    frontend = Frontend(erasure_code(2, 1), [4, 1])

    def submitted(payload: str) -> list[Job]:
        actions = frontend.submit(0.0, payload)
        return [action.jobs[0] for action in actions if isinstance(action, Dispatch)]

    (first,) = submitted("a")
    assert frontend.encoding.hold(0.0, True) == []
    assert frontend.breaker.why == "replaced"
    (second,) = submitted("b")
    assert frontend.encoding.hold(0.0, False) == []
    third, fourth, coded = submitted("c") + submitted("d")
    assert coded.query is None
    assert third.group is fourth.group is coded.group
    assert len({first.group, second.group, third.group}) == 3


@pytest.mark.slow
def test_a_front_answers_uncoded_while_a_server_runs_another_model(
    finished: Result, gates: list[Gate], queries: torch.Tensor, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        servers = [stack.enter_context(serving(app_of(gate))) for gate in gates]
        path = listed(tmp_path / "fleet.yaml", servers[:2], servers[2:])
        url = stack.enter_context(front(finished, path, replaced="uncoded", keep=str(tmp_path / "kept")))

        def state(key: str) -> Any:
            return call(f"{url}/status")[1][key]

        assert {ask(url, query)[0] for query in queries[:8]} == {200}
        assert state("counts")["groups"] > 0
        own, gates[1].fingerprint = gates[1].fingerprint, "b" * 64
        assert {ask(url, query)[0] for query in queries} == {200}
        assert state("not_encoded") == "replaced"
        assert state("instances_up") == {"deployed": 2, "parity": 1}
        held = state("counts")["groups"]
        assert {ask(url, query)[1]["parameters"]["kind"] for query in queries} == {"deployed"}
        assert state("counts")["groups"] == held
        gates[1].fingerprint = own
        assert {ask(url, query)[0] for query in queries} == {200}
        assert state("not_encoded") is None
        assert state("counts")["groups"] > held
        gates[1].fingerprint = "b" * 64
        assert {ask(url, query)[0] for query in queries} == {200}
        listed(path, servers[:1], servers[2:])
        wait_for(lambda: state("instances_up")["deployed"] == 1)
        assert state("not_encoded") is None


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"fleet": "f", "replaced": "used"}, "replaced must be unused or uncoded, got used"),
        ({"replaced": "uncoded"}, "replaced=uncoded needs fleet="),
    ],
)
def test_mistakes_are_named(settings: dict[str, str], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        ServeSettings(bundle="b", **settings).check()  # type: ignore[arg-type]
