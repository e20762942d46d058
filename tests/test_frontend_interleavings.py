"""The frontend gives each query exactly one answer, whatever instances do and in whatever order."""

from typing import Any

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
from parmtrain.serving.frontend.acceptance import Acceptance, Below
from parmtrain.serving.frontend.events import Compare, Decode, Job, Jobs, Query, Reason
from parmtrain.serving.frontend.limits import Parity
from parmtrain.serving.frontend.trust import Trust

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
    """Drives a frontend with queries whose outputs name the query, or the group and worker, that they come from."""

    @rule(
        name=st.sampled_from(sorted(SCHEMES)),
        copy_after=st.sampled_from([0.0, 2.0, float("inf")]),
        fill_after=st.sampled_from([0.0, 1.0, float("inf")]),
        reconstruct_after=st.sampled_from([0.0, 3.0]),
        waiting=st.sampled_from([3, 1000]),
        attempts=st.integers(1, 3),
        fewer=st.integers(0, 1),
        batch_max=st.sampled_from([1, 1, 2, 4]),
        batch_wait=st.sampled_from([0.0, 1.0]),
        threshold=st.sampled_from([None, 0.5]),
        below=st.sampled_from(list(Below)),
        audit=st.sampled_from([0.0, 0.5, 1.0]),
        parity=st.sampled_from(list(Parity)),
        copy_coded=st.booleans(),
    )
    @precondition(lambda self: not hasattr(self, "frontend"))
    def begin(
        self,
        name: str,
        copy_after: float,
        fill_after: float,
        reconstruct_after: float,
        waiting: int,
        attempts: int,
        fewer: int,
        batch_max: int,
        batch_wait: float,
        threshold: float | None,
        below: Below,
        audit: float,
        parity: Parity,
        copy_coded: bool,
    ) -> None:
        self.scheme, instances = SCHEMES[name]
        limits = Limits(
            deadline=10.0,
            copy_after=copy_after,
            fill_after=fill_after,
            reconstruct_after=reconstruct_after,
            hung_after=6.0,
            waiting=waiting,
            attempts=attempts,
            batch_max=batch_max,
            batch_wait=batch_wait,
            audit=audit,
            parity=parity,
            copy_coded=copy_coded,
        )
        fewest = max(1, self.scheme.k - fewer * self.scheme.partial)
        acceptance = Acceptance([] if threshold is None else [threshold], below)
        self.frontend = Frontend(self.scheme, instances, limits, fewest, Trust(acceptance))
        self.asked: list[Decode] = []
        self.unaccepted: dict[int, tuple[Any, float]] = {}
        self.now, self.taken = 0.0, 0
        self.answers: dict[int, Kind] = {}
        self.running: dict[int, Jobs] = {}
        self.old: list[tuple[int, Jobs]] = []
        self.down: set[int] = set()
        self.gone: set[int] = set()
        self.killed: set[Job] = set()
        self.members: dict[tuple[int, int], int] = {}

    def do(self, actions: list[Any]) -> None:
        for action in actions:
            if isinstance(action, Dispatch):
                assert action.instance not in self.running
                assert action.instance not in self.down | self.gone
                limits = self.frontend.limits
                assert 1 <= len(action.jobs) <= limits.batch_max
                assert len({job.group for job in action.jobs}) == len(action.jobs)
                assert len(action.jobs) == 1 or not any(job in self.killed for job in action.jobs)
                assert all(self.frontend.pools.pool_of[action.instance] == job.pool for job in action.jobs)
                assert all(job.tries <= limits.attempts for job in action.jobs)
                self.running[action.instance] = action.jobs
                for job in action.jobs:
                    if job.query is not None:  # a group that is done with forgets its queries
                        self.members[job.group.number, job.query.position] = job.query.number
            elif isinstance(action, Restart):
                self.old.append((action.instance, self.running.pop(action.instance)))
                self.killed |= set(self.old[-1][1])
                if action.instance not in self.gone:
                    self.down.add(action.instance)
            elif isinstance(action, Decode):
                if action.own is None:
                    self.check_outputs(action)
                else:
                    assert self.scheme.recoverable(action.arrived) >> action.query.position & 1
                    assert action.outputs[action.query.position] is None
                self.asked.append(action)
            elif isinstance(action, Compare):
                self.frontend.compared(self.now, action, 1.0)
                assert action.own[0] == "own"
                if not action.audit:
                    assert action.guess.prediction[0] == action.own[1]
            else:
                self.take(action)

    def take(self, answer: Answer) -> None:
        query = answer.query
        assert {one.payload for one in query.group.queries} <= {answer.payload}  # those of one tenant
        assert query.number not in self.answers
        self.answers[query.number] = answer.kind
        if answer.kind is Kind.deployed:
            assert answer.output == ("own", query.number)
        elif answer.reason is Reason.deadline:
            assert self.now >= query.at + 10.0
        elif answer.kind is Kind.default:
            assert answer.reason in (Reason.attempts, Reason.decoding)
            self.nothing_is_left_for(query)
        elif answer.kind is Kind.uncertain:
            assert (answer.output, answer.confidence) == self.unaccepted[query.number]
            if self.frontend.acceptance.below is not Below.send and self.now < query.at + 10.0:
                self.nothing_is_left_for(query)
        else:
            assert answer.output[0] == query.number
            assert answer.confidence is not None
            assert answer.confidence >= (self.frontend.acceptance.thresholds or [0.0])[0]

    def check_outputs(self, decode: Decode) -> None:
        """Check that what is to be decoded gives the prediction, and is of the query's own group."""
        query = decode.query
        assert query.number not in self.answers
        assert self.now >= query.at + self.frontend.limits.reconstruct_after
        arrived = sum(1 << worker for worker, output in enumerate(decode.outputs) if output is not None)
        assert decode.arrived == arrived
        assert self.scheme.recoverable(arrived) >> query.position & 1
        for worker, output in enumerate(decode.outputs):
            if worker < self.scheme.own:  # those of queries that came and that ran
                assert output is None or output == ("own", self.members[query.group.number, worker])
            else:
                assert output in (None, ("coded", query.group.number, worker))

    @precondition(lambda self: self.begun() and self.asked)
    @rule(confidence=st.sampled_from([None, 0.1, 0.9, 0.9]))
    def a_prediction_is_decoded(self, confidence: float | None) -> None:
        decode = self.asked.pop(0)
        query = decode.query
        prediction = None if confidence is None else (query.number, decode.arrived)
        if confidence is not None and decode.own is None:
            self.unaccepted[query.number] = prediction, confidence
        self.do(self.frontend.decoded(self.now, decode, prediction, confidence or 0.0))

    def nothing_is_left_for(self, query: Query) -> None:
        """Check by what runs, not by what the frontend knows, that a query which was given up has no chance."""
        group, limits = query.group, self.frontend.limits
        running = [job for jobs in self.running.values() for job in jobs]
        assert not any(job.query is query for job in running)
        assert group.closed or group.deaths >= limits.attempts or not self.scheme.pools
        workers = {job.worker for job in running if job.group is group and job.worker is not None}
        arrived = sum(1 << worker for worker, output in enumerate(group.outputs) if output is not None)
        every = arrived | sum(1 << worker for worker in workers)
        possible = self.scheme.recoverable(every) if group.closed else 0
        assert not possible >> query.position & 1 or query.judged  # which was tried

    def begun(self) -> bool:
        return hasattr(self, "frontend")

    @precondition(begun)
    @rule(gap=st.sampled_from([0.0, 0.5, 3.0]), tenant=st.sampled_from(["", "", "other"]))
    def arrive(self, gap: float, tenant: str) -> None:
        self.now += gap
        try:
            self.do(self.frontend.submit(self.now, tenant, tenant=tenant))
            self.taken += 1
        except Overloaded:
            assert self.taken - len(self.answers) >= self.frontend.limits.waiting

    @precondition(lambda self: self.begun() and self.running)
    @rule(which=st.integers(0, 9), outcome=st.sampled_from(["output", "output", "output", "garbage", "death"]))
    def instance_ends(self, which: int, outcome: str) -> None:
        instance = sorted(self.running)[which % len(self.running)]
        jobs = self.running.pop(instance)
        self.old.append((instance, jobs))
        if outcome == "death":
            self.killed |= set(jobs)
            if instance not in self.gone:
                self.down.add(instance)
            self.do(self.frontend.lost(self.now, instance))
        else:
            garbled = {0} if outcome == "garbage" else set()
            outputs = [None if number in garbled else output_of(job) for number, job in enumerate(jobs)]
            self.do(self.frontend.finished(self.now, instance, jobs, outputs))

    @precondition(begun)
    @rule(pool=st.integers(0, 9))
    def instance_joins(self, pool: int) -> None:
        number = self.frontend.pools.join(pool % len(self.frontend.pools.occupied))
        assert number not in self.running
        assert number not in self.down
        self.gone.discard(number)
        self.down.add(number)

    @precondition(begun)
    @rule(which=st.integers(0, 9))
    def instance_leaves(self, which: int) -> None:
        there = sorted(set(range(len(self.frontend.pools.pool_of))) - self.gone)
        instance = there[which % len(there)] if there else None
        if instance is not None:
            self.gone.add(instance)
            self.down.discard(instance)
            self.frontend.pools.leave(instance)

    @precondition(begun)
    @rule(which=st.integers(0, 9))
    def idle_instance_dies(self, which: int) -> None:
        idle = set(range(len(self.frontend.pools.pool_of))) - set(self.running) - self.down - self.gone
        if idle:
            instance = sorted(idle)[which % len(idle)]
            self.down.add(instance)
            self.do(self.frontend.lost(self.now, instance))

    @precondition(lambda self: self.begun() and self.old)
    @rule(which=st.integers(0, 99))
    def result_comes_late_or_twice(self, which: int) -> None:
        instance, jobs = self.old[which % len(self.old)]
        if self.running.get(instance) is not jobs:
            assert self.frontend.finished(self.now, instance, jobs, list(map(output_of, jobs))) == []

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
