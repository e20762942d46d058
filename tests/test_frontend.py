"""What the frontend does with queries, results and lost instances, one situation at a time."""

import weakref
from typing import Any

import pytest

from parmtrain.codes import Scheme
from parmtrain.serving import (
    Answer,
    Dispatch,
    Frontend,
    Kind,
    Limits,
    Overloaded,
    Restart,
    erasure_code,
    heads_code,
    uncoded,
)
from parmtrain.serving.frontend import grouping
from parmtrain.serving.frontend.events import Reason
from tests.deciding import decoded


def kinds(actions: list[Any]) -> list[str]:
    return [action.kind.value for action in actions if isinstance(action, Answer)]


def dispatches(actions: list[Any]) -> list[Dispatch]:
    return [action for action in actions if isinstance(action, Dispatch)]


def test_no_query_waits_for_its_group() -> None:
    frontend = Frontend(erasure_code(3, 1), [3, 1])
    for number in range(3):
        first, *more = dispatches(frontend.submit(0.1 * number, number))
        assert first.jobs[0].query is not None
        assert first.jobs[0].query.payload == number
        assert len(more) == (number == 2)


def test_a_reconstruction_needs_results_of_its_own_group() -> None:
    frontend = Frontend(erasure_code(2, 1), [4, 2])
    jobs = {}
    for number in range(4):
        for dispatch in dispatches(frontend.submit(0.0, number)):
            jobs[dispatch.jobs[0].group.number, dispatch.jobs[0].worker] = dispatch
    other_parity, own = jobs[1, 2], jobs[0, 0]
    assert kinds(frontend.finished(0.1, *own, ["own"])) == ["deployed"]
    assert kinds(frontend.finished(0.2, *other_parity, ["coded"])) == []
    assert kinds(decoded(frontend, 0.3, frontend.finished(0.3, *jobs[0, 2], ["coded"]))) == ["reconstructed"]


def test_work_that_is_not_needed_leaves_the_queue_and_the_late_result_is_ignored() -> None:
    frontend = Frontend(erasure_code(2, 1), [1, 1])
    (first,) = dispatches(frontend.submit(0.0, "a"))
    (parity,) = dispatches(frontend.submit(0.0, "b"))  # b waits for the one instance
    assert kinds(frontend.finished(0.1, *parity, ["coded"])) == []
    actions = decoded(frontend, 0.2, frontend.finished(0.2, *first, ["own"]))
    assert kinds(actions) == ["deployed", "reconstructed"]
    assert dispatches(actions) == []
    assert frontend.counts["dropped"] == 1


def test_a_group_that_does_not_fill_is_protected_by_copies() -> None:
    frontend = Frontend(erasure_code(2, 1), [2, 1], Limits(copy_after=1.0))
    (first,) = dispatches(frontend.submit(0.0, "a"))
    assert frontend.next_tick == 1.0
    (copy,) = dispatches(frontend.tick(1.0))
    assert copy.jobs[0].query is first.jobs[0].query
    assert copy.instance != first.instance
    assert kinds(frontend.finished(1.1, *copy, ["own"])) == ["deployed"]
    assert kinds(frontend.finished(1.2, *first, ["own"])) == []


def test_a_group_that_does_not_fill_in_time_is_encoded_as_it_is_where_the_code_can() -> None:
    frontend = Frontend(heads_code(3), [3, 1], Limits(fill_after=1.0))
    (first,) = dispatches(frontend.submit(0.0, "a"))
    (second,) = dispatches(frontend.submit(0.5, "b"))
    assert frontend.next_tick == 1.0
    assert kinds(frontend.finished(0.6, *first, ["F(a)"])) == ["deployed"]
    assert frontend.next_tick == 1.5  # a has its answer, and b came later
    assert frontend.tick(1.4) == []
    (coded,) = dispatches(frontend.tick(1.5))
    assert coded.jobs[0].worker == 3
    (third,) = dispatches(frontend.submit(1.6, "c"))
    assert third.jobs[0].group is not second.jobs[0].group
    (answer,) = decoded(frontend, 1.7, frontend.finished(1.7, *coded, ["F_P(P)"]))
    assert isinstance(answer, Answer)
    assert (answer.query.payload, answer.output) == ("b", ("F(a)", None, None, "F_P(P)"))
    assert frontend.counts["partial"] == 1
    assert frontend.counts["groups"] == 1


def test_groups_are_smaller_where_the_code_takes_such() -> None:
    frontend = Frontend(heads_code(3), [3, 1], Limits(copy_after=1.0), k=2)
    frontend.submit(0.0, "a")
    (_, coded) = dispatches(frontend.submit(0.5, "b"))
    assert coded.jobs[0].worker == 3
    assert frontend.tick(2.0) == []  # the group is full, so nothing is copied
    (answer,) = decoded(frontend, 2.5, frontend.finished(2.5, *coded, ["F_P(P)"]))[:1]
    assert isinstance(answer, Answer)
    assert answer.output == (None, None, None, "F_P(P)")
    assert frontend.counts["partial"] == 0


@pytest.mark.parametrize(("scheme", "k"), [(erasure_code(3, 1), 2), (heads_code(3), 4), (heads_code(3), -1)])
def test_other_sizes_of_groups_are_refused(scheme: Scheme, k: int) -> None:
    with pytest.raises(ValueError, match=rf"k must be 3, the scheme's.*got {k}"):
        Frontend(scheme, [3, 1], k=k)


def test_a_lone_query_is_copied_while_no_instance_runs_its_coded_query() -> None:
    frontend = Frontend(heads_code(3), [2, 1], Limits(fill_after=1.0, copy_after=2.0))
    frontend.lost(0.0, 2)  # the parity instance
    (first,) = dispatches(frontend.submit(0.0, "a"))
    assert dispatches(frontend.tick(1.0)) == []
    (copy,) = dispatches(frontend.tick(2.0))
    assert copy.jobs[0].query is first.jobs[0].query


def test_a_group_of_a_tenant_that_has_gone_is_forgotten() -> None:
    frontend = Frontend(erasure_code(2, 1), [2, 1], Limits(deadline=5.0))
    (first,) = dispatches(frontend.submit(0.0, "a", tenant="gone"))
    frontend.finished(1.0, *first, ["F(a)"])
    assert frontend.next_tick == 5.0
    assert frontend.tick(5.0) == []
    assert first.jobs[0].group.queries == []
    (again,) = dispatches(frontend.submit(6.0, "b", tenant="gone"))
    assert again.jobs[0].group is not first.jobs[0].group


def test_there_are_only_so_many_open_groups() -> None:
    frontend = Frontend(erasure_code(2, 1), [2 * grouping.MOST_OPEN, 1], Limits(waiting=10**6))
    first, *_ = [dispatches(frontend.submit(0.0, "q", tenant=f"t{number}"))[0] for number in range(grouping.MOST_OPEN)]
    assert not first.jobs[0].group.closed
    frontend.submit(0.0, "q", tenant="one more")
    assert first.jobs[0].group.closed
    assert kinds(frontend.finished(1.0, *first, ["F"])) == ["deployed"]


def test_codes_that_need_all_k_queries_wait_for_them() -> None:
    frontend = Frontend(erasure_code(2, 1), [2, 1], Limits(fill_after=1.0, deadline=50.0))
    frontend.submit(0.0, "a")
    assert frontend.next_tick == 50.0
    assert frontend.tick(5.0) == []
    (_, coded) = dispatches(frontend.submit(6.0, "b"))
    assert coded.jobs[0].worker == 2


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
    assert kinds(frontend.finished(0.6, *first, ["own"])) == ["deployed"]
    assert kinds(frontend.finished(0.7, *parity, ["coded"])) == []
    assert frontend.next_tick <= 1.5
    assert kinds(frontend.tick(1.4)) == []
    assert kinds(decoded(frontend, 1.5, frontend.tick(1.5))) == ["reconstructed"]


def test_an_instance_that_hangs_is_restarted_and_its_work_given_out_again() -> None:
    frontend = Frontend(uncoded(), [2], Limits(hung_after=1.0))
    (first,) = dispatches(frontend.submit(0.0, "a"))
    restart, again = frontend.tick(1.0)
    assert restart == Restart(first.instance)
    assert isinstance(again, Dispatch)
    assert again.jobs[0] is first.jobs[0]
    assert again.instance != first.instance
    assert frontend.finished(1.1, *first, ["own"]) == []
    assert frontend.counts["stale"] == 1


def test_a_group_of_which_nothing_is_left_to_do_holds_nothing() -> None:
    class Payload:
        """A query that can be watched."""

    frontend = Frontend(erasure_code(2, 1), [2, 1])
    payloads = [Payload(), Payload()]
    watched = [weakref.ref(payload) for payload in payloads]
    jobs = [one for payload in payloads for one in dispatches(frontend.submit(0.0, payload))]
    del payloads
    for one in jobs:
        assert any(reference() for reference in watched)  # until the last job ends
        frontend.finished(1.0, one.instance, one.jobs, ["F"])
    del jobs, one
    assert not any(reference() for reference in watched)


def test_an_instance_that_joins_takes_the_number_of_one_that_left() -> None:
    frontend = Frontend(uncoded(), [2])
    frontend.pools.leave(0)
    assert [dispatch.instance for dispatch in dispatches(frontend.submit(0.0, "a"))] == [1]
    assert frontend.pools.join(0) == 0
    assert frontend.pools.join(0) == 2
    assert frontend.pools.up(0) == 1
    frontend.restored(1.0, 0)
    assert [dispatch.instance for dispatch in dispatches(frontend.submit(1.0, "b"))] == [0]


def test_a_query_that_kills_what_runs_it_is_given_up_and_its_partner_is_not() -> None:
    frontend = Frontend(erasure_code(2, 1), [4, 2], Limits(attempts=2))
    (killer,) = dispatches(frontend.submit(0.0, "killer"))
    (again,) = dispatches(frontend.lost(0.1, killer.instance))
    (answer,) = frontend.lost(0.2, again.instance)
    assert isinstance(answer, Answer)
    assert (answer.kind, answer.reason, answer.payload) == (Kind.default, Reason.attempts, "killer")
    (own,) = dispatches(frontend.submit(0.3, "partner"))  # the group is not encoded
    assert kinds(frontend.finished(0.4, own.instance, own.jobs, ["F"])) == ["deployed"]
    assert frontend.counts["failed"] == 1
    assert frontend.counts["coded"] == 0


def test_a_query_that_would_wait_too_long_is_refused_at_once() -> None:
    frontend = Frontend(uncoded(), [2], Limits(overloaded_after=2.9))
    for at in range(200):  # a query takes one second
        running = [one for number in range(2) for one in dispatches(frontend.submit(float(at), number))]
        for one in running:
            frontend.finished(at + 1.0, one.instance, one.jobs, ["F"])
    for _ in range(2):
        frontend.submit(200.0, "q")
    for _ in range(6):  # three for each instance
        frontend.submit(200.0, "q")
    with pytest.raises(Overloaded, match="the queue is full: 8 queries are waiting") as refusal:
        frontend.submit(200.0, "q")
    assert refusal.value.retry_after == 1
    assert frontend.counts["refused"] == 1


def test_too_few_instances_are_refused() -> None:
    with pytest.raises(ValueError, match=r"each pool from 0 to 1 must have an instance, got \[2\]"):
        Frontend(erasure_code(2, 1), [2])


def test_work_is_counted_from_dispatch_to_result_or_loss() -> None:
    frontend = Frontend(erasure_code(k=2, r=1), [2, 1])
    (first,) = dispatches(frontend.submit(0.0, "a"))
    second, coded = dispatches(frontend.submit(1.0, "b"))
    frontend.finished(3.0, first.instance, first.jobs, ["F(a)"])
    (again,) = dispatches(frontend.lost(5.0, second.instance))
    frontend.finished(6.0, coded.instance, coded.jobs, ["P"])
    assert frontend.pools.occupied == [3.0 + 4.0, 5.0]
    frontend.finished(8.0, again.instance, again.jobs, ["F(b)"])
    assert frontend.pools.occupied == [3.0 + 4.0 + 3.0, 5.0]
