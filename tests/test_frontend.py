"""The group logic: exactly one answer for each query, whatever instances do and in whatever order it happens."""

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from parmtrain.codes import Berrut, Concat, Heads, Linear
from parmtrain.serving import (
    Answer,
    Dispatch,
    Frontend,
    Kind,
    Limits,
    Overloaded,
    Restart,
    Scheme,
    backed_up,
    erasure_code,
    scheme_of,
    uncoded,
)
from parmtrain.serving.events import Job

SCHEMES: dict[str, tuple[Scheme, list[int]]] = {
    "none": (uncoded(), [2]),
    "backup": (backed_up(), [2, 1]),
    "k=2 r=1": (erasure_code(2, 1), [2, 1]),
    "k=3 r=2": (erasure_code(3, 2), [3, 1, 1]),
    "linear k=3 r=2": (scheme_of(Linear(3, 2), 2, width=1), [2, 1, 1]),
    "heads k=4": (scheme_of(Heads(Concat(4)), 1, width=4), [3, 1]),
    "berrut k=2 r=1": (scheme_of(Berrut(2, 1), 0, width=3), [3]),
}


class Service(RuleBasedStateMachine):
    """Drives a frontend with queries whose outputs say which group and worker they are of."""

    @rule(
        name=st.sampled_from(sorted(SCHEMES)),
        copy_after=st.sampled_from([0.0, 2.0, float("inf")]),
        reconstruct_after=st.sampled_from([0.0, 3.0]),
        waiting=st.sampled_from([3, 1000]),
        attempts=st.integers(1, 3),
    )
    @precondition(lambda self: not hasattr(self, "frontend"))
    def begin(self, name: str, copy_after: float, reconstruct_after: float, waiting: int, attempts: int) -> None:
        self.scheme, instances = SCHEMES[name]
        limits = Limits(10.0, copy_after, reconstruct_after, 6.0, waiting, attempts)
        self.frontend = Frontend(self.scheme, instances, limits)
        self.now, self.taken, self.answers = 0.0, 0, {}
        self.running: dict[int, Job] = {}
        self.old: list[tuple[int, Job]] = []
        self.down: set[int] = set()

    def do(self, actions: list[Any]) -> None:
        for action in actions:
            if isinstance(action, Dispatch):
                assert action.instance not in self.running
                assert action.instance not in self.down
                assert self.frontend.pool_of[action.instance] == action.job.pool
                assert action.job.tries <= self.frontend.limits.attempts
                self.running[action.instance] = action.job
            elif isinstance(action, Restart):
                self.old.append((action.instance, self.running.pop(action.instance)))
                self.down.add(action.instance)
            else:
                self.take(action)

    def take(self, answer: Answer) -> None:
        query = answer.query
        assert query.number not in self.answers
        self.answers[query.number] = answer.kind
        if answer.kind is Kind.deployed:
            assert answer.output == ("own", query.number)
        elif answer.kind is Kind.default:
            assert self.now >= query.at + 10.0
        else:
            assert self.now >= query.at + self.frontend.limits.reconstruct_after
            arrived = sum(1 << worker for worker, output in enumerate(answer.output) if output is not None)
            assert self.scheme.recoverable(arrived) >> query.position & 1
            for worker, output in enumerate(answer.output):
                if worker < self.scheme.own:
                    assert output in (None, ("own", query.group.queries[worker].number))
                else:
                    assert output in (None, ("coded", query.group.number, worker))

    def begun(self) -> bool:
        return hasattr(self, "frontend")

    @precondition(begun)
    @rule(gap=st.sampled_from([0.0, 0.5, 3.0]))
    def arrive(self, gap: float) -> None:
        self.now += gap
        try:
            self.do(self.frontend.submit(self.now, self.taken))
            self.taken += 1
        except Overloaded:
            assert self.taken - len(self.answers) >= self.frontend.limits.waiting

    @precondition(lambda self: self.begun() and self.running)
    @rule(which=st.integers(0, 9), outcome=st.sampled_from(["output", "output", "output", "garbage", "death"]))
    def instance_ends(self, which: int, outcome: str) -> None:
        instance = sorted(self.running)[which % len(self.running)]
        job = self.running.pop(instance)
        self.old.append((instance, job))
        if outcome == "output":
            self.do(self.frontend.finished(self.now, instance, job, output_of(job)))
        elif outcome == "garbage":
            self.do(self.frontend.garbage(self.now, instance, job))
        else:
            self.down.add(instance)
            self.do(self.frontend.lost(self.now, instance))

    @precondition(begun)
    @rule(which=st.integers(0, 9))
    def idle_instance_dies(self, which: int) -> None:
        idle = set(range(len(self.frontend.pool_of))) - set(self.running) - self.down
        if idle:
            instance = sorted(idle)[which % len(idle)]
            self.down.add(instance)
            self.do(self.frontend.lost(self.now, instance))

    @precondition(lambda self: self.begun() and self.old)
    @rule(which=st.integers(0, 99))
    def result_comes_late_or_twice(self, which: int) -> None:
        instance, job = self.old[which % len(self.old)]
        if self.running.get(instance) is not job:
            assert self.frontend.finished(self.now, instance, job, output_of(job)) == []

    @precondition(lambda self: self.begun() and self.down)
    @rule(which=st.integers(0, 9))
    def instance_comes_back(self, which: int) -> None:
        instance = sorted(self.down)[which % len(self.down)]
        self.down.remove(instance)
        self.do(self.frontend.restored(self.now, instance))

    @precondition(begun)
    @rule(gap=st.sampled_from([0.5, 2.5, 7.0]))
    def time_passes(self, gap: float) -> None:
        self.now += gap
        self.do(self.frontend.tick(self.now))
        assert self.frontend.next_tick > self.now

    @precondition(begun)
    @invariant()
    def what_waits_is_what_has_no_answer(self) -> None:
        assert self.frontend.waiting == self.taken - len(self.answers)
        assert sum(self.frontend.counts[kind] for kind in Kind) == len(self.answers)

    def teardown(self) -> None:
        if self.begun():
            self.now += 11.0
            self.do(self.frontend.tick(self.now))
            assert sorted(self.answers) == list(range(self.taken))


def output_of(job: Job) -> Any:
    return ("own", job.query.number) if job.query is not None else ("coded", job.group.number, job.worker)


TestService = Service.TestCase
TestService.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def kinds(actions: list[Any]) -> list[str]:
    return [action.kind.value for action in actions if isinstance(action, Answer)]


def dispatches(actions: list[Any]) -> list[Dispatch]:
    return [action for action in actions if isinstance(action, Dispatch)]


def test_no_query_waits_for_its_group() -> None:
    frontend = Frontend(erasure_code(3, 1), [3, 1])
    for number in range(3):
        first, *more = dispatches(frontend.submit(0.1 * number, number))
        assert first.job.query.payload == number
        assert len(more) == (number == 2)


def test_a_reconstruction_needs_results_of_its_own_group() -> None:
    frontend = Frontend(erasure_code(2, 1), [4, 2])
    jobs = {}
    for number in range(4):
        for dispatch in dispatches(frontend.submit(0.0, number)):
            jobs[dispatch.job.group.number, dispatch.job.worker] = dispatch
    other_parity, own = jobs[1, 2], jobs[0, 0]
    assert kinds(frontend.finished(0.1, *own, "own")) == ["deployed"]
    assert kinds(frontend.finished(0.2, *other_parity, "coded")) == []
    assert kinds(frontend.finished(0.3, *jobs[0, 2], "coded")) == ["reconstructed"]


def test_work_that_is_not_needed_leaves_the_queue_and_the_late_result_is_ignored() -> None:
    frontend = Frontend(erasure_code(2, 1), [1, 1])
    (first,) = dispatches(frontend.submit(0.0, "a"))
    (parity,) = dispatches(frontend.submit(0.0, "b"))  # b waits for the one instance
    assert kinds(frontend.finished(0.1, *parity, "coded")) == []
    actions = frontend.finished(0.2, *first, "own")
    assert kinds(actions) == ["deployed", "reconstructed"]
    assert dispatches(actions) == []
    assert frontend.counts["dropped"] == 1


def test_a_group_that_does_not_fill_is_protected_by_copies() -> None:
    frontend = Frontend(erasure_code(2, 1), [2, 1], Limits(copy_after=1.0))
    (first,) = dispatches(frontend.submit(0.0, "a"))
    assert frontend.next_tick == 1.0
    (copy,) = dispatches(frontend.tick(1.0))
    assert copy.job.query is first.job.query
    assert copy.instance != first.instance
    assert kinds(frontend.finished(1.1, *copy, "own")) == ["deployed"]
    assert kinds(frontend.finished(1.2, *first, "own")) == []


def test_a_full_group_needs_no_copies() -> None:
    frontend = Frontend(erasure_code(2, 1), [2, 1], Limits(copy_after=1.0))
    frontend.submit(0.0, "a")
    frontend.submit(0.5, "b")
    assert frontend.tick(5.0) == []
    assert frontend.counts["copies"] == 0


def test_the_own_prediction_is_given_some_time() -> None:
    frontend = Frontend(erasure_code(2, 1), [2, 1], Limits(reconstruct_after=1.0))
    (first,) = dispatches(frontend.submit(0.0, "a"))
    _, parity = dispatches(frontend.submit(0.5, "b"))
    assert kinds(frontend.finished(0.6, *first, "own")) == ["deployed"]
    assert kinds(frontend.finished(0.7, *parity, "coded")) == []
    assert frontend.next_tick <= 1.5
    assert kinds(frontend.tick(1.4)) == []
    assert kinds(frontend.tick(1.5)) == ["reconstructed"]


def test_an_instance_that_hangs_is_restarted_and_its_work_given_out_again() -> None:
    frontend = Frontend(uncoded(), [2], Limits(hung_after=1.0))
    (first,) = dispatches(frontend.submit(0.0, "a"))
    restart, again = frontend.tick(1.0)
    assert restart == Restart(first.instance)
    assert again.job is first.job
    assert again.instance != first.instance
    assert frontend.finished(1.1, *first, "own") == []
    assert frontend.counts["stale"] == 1


def test_too_few_instances_are_refused() -> None:
    with pytest.raises(ValueError, match=r"instances=\[2\]: pools 0 to 1 need one or more"):
        Frontend(erasure_code(2, 1), [2])
