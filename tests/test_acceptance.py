"""What the frontend does with reconstructions of little confidence, and with late queries within a budget."""

from typing import Any

import pytest

from parmtrain.errors import ConfigError
from parmtrain.serving import Dispatch, Frontend, Kind, Limits, erasure_code, heads_code, uncoded
from parmtrain.serving.frontend.acceptance import Acceptance, Below
from parmtrain.serving.frontend.events import Reason
from parmtrain.serving.frontend.trust import Trust
from parmtrain.serving.settings import ServeSettings
from tests.deciding import decoded


def late(below: Below, **limits: Any) -> tuple[Any, Any, Any]:
    """Return a frontend, the job of a query that is late, and the reconstruction that it asks for."""
    frontend: Any = Frontend(erasure_code(2, 1), [3, 1], Limits(**limits), trust=Trust(Acceptance([0.8], below)))
    first, second, parity = frontend.submit(0.0, "a") + frontend.submit(0.0, "b")
    frontend.finished(0.1, *first, ["F(a)"])
    (decode,) = frontend.finished(0.2, *parity, ["P"])
    return frontend, second, decode


@pytest.mark.parametrize("below", list(Below))
def test_a_reconstruction_with_confidence_is_sent(below: Below) -> None:
    frontend, second, decode = late(below)
    (answer,) = frontend.decoded(0.2, decode, "b", 0.8)
    assert (answer.kind, answer.output, answer.confidence) == (Kind.reconstructed, "b", 0.8)
    (compare,) = frontend.finished(0.3, *second, ["F(b)"])  # what was sent turns out right or wrong
    assert (compare.guess, compare.own, compare.audit) == (("b", 0.8, 1), "F(b)", False)


def test_one_without_is_kept_while_the_own_prediction_may_come() -> None:
    frontend, second, decode = late(Below.wait)
    assert frontend.decoded(0.2, decode, "b", 0.79) == []
    answer, compare = frontend.finished(0.3, *second, ["F(b)"])
    assert (answer.kind, answer.output, answer.confidence) == (Kind.deployed, "F(b)", None)
    assert compare.guess.confidence == 0.79
    assert frontend.counts["unaccepted"] == 1


def test_one_without_is_better_than_nothing_at_the_deadline() -> None:
    frontend, _, decode = late(Below.wait, deadline=2.0)
    assert frontend.decoded(0.2, decode, "b", 0.3) == []
    (answer,) = frontend.tick(2.0)
    assert (answer.kind, answer.output, answer.confidence, answer.reason) == (Kind.uncertain, "b", 0.3, None)


def test_one_without_is_sent_at_once_where_the_own_prediction_cannot_come() -> None:
    frontend, second, decode = late(Below.wait, attempts=1)
    assert frontend.decoded(0.2, decode, "b", 0.3) == []
    (answer,) = frontend.lost(0.3, second.instance)
    assert (answer.kind, answer.output) == (Kind.uncertain, "b")


def test_its_query_is_sent_again_where_that_is_asked_for() -> None:
    frontend, second, decode = late(Below.hedge)
    (copy,) = frontend.decoded(0.2, decode, "b", 0.3)
    assert isinstance(copy, Dispatch)
    assert copy.jobs[0].query is second.jobs[0].query
    assert copy.instance != second.instance
    answer, _ = frontend.finished(0.4, *copy, ["F(b)"])
    assert (answer.kind, answer.output) == (Kind.deployed, "F(b)")
    assert frontend.counts["copies"] == 1


def test_it_is_sent_as_uncertain_where_that_is_asked_for() -> None:
    frontend, _, decode = late(Below.send)
    (answer,) = frontend.decoded(0.2, decode, "b", 0.3)
    assert (answer.kind, answer.output, answer.confidence) == (Kind.uncertain, "b", 0.3)


def test_outputs_that_cannot_be_decoded_are_waited_out() -> None:
    frontend, second, decode = late(Below.wait)
    assert frontend.decoded(0.2, decode, None, 0.0) == []
    (answer,) = frontend.finished(0.3, *second, ["F(b)"])
    assert answer.kind is Kind.deployed
    frontend, second, decode = late(Below.wait, attempts=1)
    frontend.decoded(0.2, decode, None, 0.0)
    (answer,) = frontend.lost(0.3, second.instance)
    assert (answer.kind, answer.reason) == (Kind.default, Reason.decoding)


def test_a_prediction_is_judged_once_however_many_outputs_come_later() -> None:
    acceptance = Acceptance([0.8, 0.9])
    frontend: Any = Frontend(erasure_code(2, 2), [2, 1, 1], trust=Trust(acceptance))
    first, second, one, other = frontend.submit(0.0, "a") + frontend.submit(0.0, "b")
    assert frontend.finished(0.1, *one, ["P"]) == []
    two = frontend.finished(0.2, *other, ["Q"])
    assert [decode.query.payload for decode in two] == ["a", "b"]
    assert frontend.decoded(0.2, two[0], "x", 0.85) == []  # two are late: 0.9 is asked for
    (sent,) = frontend.decoded(0.2, two[1], "y", 0.95)
    assert (sent.kind, sent.output) == (Kind.reconstructed, "y")
    answer, compare = frontend.finished(0.3, *first, ["F(a)"])
    assert (answer.output, compare.guess) == ("F(a)", ("x", 0.85, 2))
    (compare,) = frontend.finished(0.4, *second, ["F(b)"])
    assert compare.guess == ("y", 0.95, 2)
    assert frontend.counts["unaccepted"] == 1


def test_reconstructions_of_groups_that_are_not_full_are_outside_every_promise() -> None:
    for partial, kind in ((False, None), (True, Kind.reconstructed)):
        trust = Trust(Acceptance([0.8], partial=partial))
        frontend: Any = Frontend(heads_code(3), [3, 1], Limits(fill_after=1.0), trust=trust)
        frontend.submit(0.0, "a")
        (coded,) = frontend.tick(1.0)
        (decode,) = frontend.finished(1.1, *coded, ["P"])
        answers = frontend.decoded(1.1, decode, "a", 0.9)
        assert [one.kind for one in answers] == ([] if kind is None else [kind])


def test_a_query_without_a_chance_is_answered_though_another_ones_job_is_queued() -> None:
    frontend: Any = Frontend(heads_code(2), [1, 1], Limits(attempts=1), trust=Trust(Acceptance([0.8])))
    first, parity = frontend.submit(0.0, "a") + frontend.submit(0.0, "b")
    for decode in frontend.finished(0.1, *parity, ["P"]):
        frontend.decoded(0.1, decode, decode.query.payload, 0.9 if decode.query.payload == "b" else 0.3)
    (answer,) = frontend.lost(0.2, first.instance)
    assert (answer.kind, answer.output) == (Kind.uncertain, "a")


def test_a_wrong_word_is_refused() -> None:
    with pytest.raises(ConfigError, match="below must be wait, hedge, send, got guess"):
        ServeSettings(bundle="run", below="guess").check()
    with pytest.raises(ConfigError, match="parity must be at_once, idle, lazy, got never"):
        ServeSettings(bundle="run", parity="never").check()
    with pytest.raises(ConfigError, match="parity=lazy needs copy_after"):
        ServeSettings(bundle="run", parity="lazy", copy_after=float("inf")).check()


def test_copies_stay_within_their_budget() -> None:
    frontend: Any = Frontend(uncoded(), [100], Limits(copy_after=1.0, copy_budget=0.05))
    for number in range(1000):
        frontend.submit(number * 0.01, number)
        frontend.tick(number * 0.01)
    assert frontend.counts["copies"] == pytest.approx(10 + 0.05 * 900, abs=2)  # ten at once, then one in twenty


def test_a_live_percentile_follows_the_service() -> None:
    frontend: Any = Frontend(uncoded(), [1], Limits(copy_percentile=95, deadline=1000))
    now = 0.0
    for seconds in [0.01] * 300 + [0.5] * 1000:
        (job,) = [one for one in frontend.submit(now, "q") if isinstance(one, Dispatch)]
        now += seconds
        copies = frontend.counts["copies"]
        frontend.finished(now, *job, ["F"])
        now += 0.1
    frontend.submit(now, "q")
    assert frontend.next_tick == pytest.approx(now + 0.5)
    assert copies < 500


def test_a_lazy_group_is_encoded_once_two_of_its_queries_are_late() -> None:
    frontend: Any = Frontend(heads_code(4), [8, 1], Limits(copy_after=1.0, parity="lazy"))
    jobs = [frontend.submit(0.1 * number, number)[0] for number in range(4)]
    assert frontend.counts["groups"] == 0
    frontend.finished(0.5, *jobs[0], ["F"])
    frontend.finished(0.5, *jobs[3], ["F"])
    (copy,) = frontend.tick(1.1)  # the first late one is sent again
    assert copy.jobs[0].query.payload == 1
    (parity,) = frontend.tick(1.2)  # with the second, the group is encoded
    assert parity.jobs[0].query is None
    answers = decoded(frontend, 1.3, frontend.finished(1.3, *parity, ["P"]))
    assert [answer.kind for answer in answers] == [Kind.reconstructed] * 2
    assert frontend.counts["groups"] == frontend.counts["copies"] == 1


def test_a_group_is_encoded_at_once_where_a_parity_instance_is_idle() -> None:
    frontend: Any = Frontend(heads_code(2), [8, 1], Limits(copy_after=1.0, parity="idle"))
    first = [one for number in range(2) for one in frontend.submit(0.0, number)]
    assert [one.jobs[0].query is None for one in first] == [False, False, True]
    second = [one for number in range(2) for one in frontend.submit(0.1, number)]
    assert [one.jobs[0].query is None for one in second] == [False, False]
    decoded(frontend, 0.2, frontend.finished(0.2, *first[2], ["P"]))
    assert frontend.counts["groups"] == 1  # nobody of the second group is late yet
    frontend.tick(1.1)
    assert frontend.counts["groups"] == 2


def test_a_lazy_group_is_encoded_at_once_if_a_query_of_it_is_lost() -> None:
    frontend: Any = Frontend(heads_code(2), [2, 1], Limits(copy_after=1.0, parity="lazy", attempts=1))
    first, _ = (frontend.submit(0.0, number)[0] for number in range(2))
    (parity,) = frontend.finished(0.1, *first, [None])
    assert parity.jobs[0].query is None
    answers = decoded(frontend, 0.2, frontend.finished(0.2, *parity, ["P"]))
    assert [answer.query.payload for answer in answers] == [0, 1]


def test_hedges_of_unaccepted_reconstructions_stay_within_the_budget() -> None:
    limits = Limits(copy_budget=0.05, copy_after=100.0)
    frontend: Any = Frontend(heads_code(2), [4, 1], limits, trust=Trust(Acceptance([0.8], Below.hedge)))
    for number in range(400):
        jobs = [one for part in range(2) for one in frontend.submit(float(number), part)]
        (parity,) = [one for one in jobs if one.jobs[0].query is None]
        for decode in frontend.finished(number + 0.1, *parity, ["P"]):
            for copy in frontend.decoded(number + 0.1, decode, "guess", 0.1):
                jobs.append(copy)
        for one in jobs:
            if one is not parity and isinstance(one, Dispatch):
                frontend.finished(number + 0.2, *one, ["F"])
    assert 10 <= frontend.counts["copies"] <= 10 + 0.05 * 800


def test_groups_are_not_encoded_while_no_parity_instance_is_up() -> None:
    frontend: Any = Frontend(heads_code(2), [2, 1])
    frontend.lost(0.0, 2)
    assert [one.instance for number in range(2) for one in frontend.submit(0.1, number)] == [0, 1]
    assert frontend.counts["groups"] == 0


def test_parity_models_that_fail_are_not_asked_for_a_while() -> None:
    frontend: Any = Frontend(heads_code(2), [2, 1], Limits(parity_rest=30.0, attempts=1))
    now, encoded = 0.0, []
    for _ in range(60):
        before = frontend.counts["groups"]
        for one in [one for number in range(2) for one in frontend.submit(now, number)]:
            parity = one.jobs[0].query is None
            frontend.finished(now + 0.1, *one, [None if parity and now < 40 else "output"])
        encoded.append(frontend.counts["groups"] > before)
        now += 1.0
    assert encoded == [True] * 20 + [False] * 30 + [True] * 10  # 30 s after the 20th output
    assert frontend.breaker.why is None


def test_parity_models_that_nobody_needs_are_not_asked_where_that_is_asked_for() -> None:
    for worth, groups in ((0.0, 3000), (0.01, 1000)):
        frontend: Any = Frontend(heads_code(2), [2, 1], Limits(parity_worth=worth, parity_rest=float("inf")))
        for number in range(3000):
            for one in [one for part in range(2) for one in frontend.submit(float(number), part)]:
                frontend.finished(number + 0.1, *one, ["output"])
        assert frontend.counts["groups"] == groups
    assert frontend.breaker.why == "unneeded"


def test_parity_models_that_are_wrong_are_not_asked() -> None:
    trust = Trust(Acceptance([0.5]), promised=0.98)
    frontend: Any = Frontend(heads_code(2), [2, 1], Limits(audit=1.0, parity_rest=1e6), trust=trust)
    for number in range(500):
        for one in [one for part in range(2) for one in frontend.submit(float(number), part)]:
            for decode in frontend.finished(number + 0.1, *one, ["output"]):
                for compare in frontend.decoded(number + 0.1, decode, "guess", 1.0) if hasattr(decode, "own") else ():
                    frontend.compared(number + 0.1, compare, 0.0)
    assert frontend.breaker.why == "wrong"
    assert frontend.counts["groups"] < 50
