"""Batches of a pool: what they hold, when they are given out, and what a failed one costs."""

import urllib.request
from dataclasses import replace
from math import inf
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from parmtrain import serve, simulate
from parmtrain.errors import ConfigError
from parmtrain.result import Result
from parmtrain.serving import Dispatch, Frontend, Limits, erasure_code, uncoded
from parmtrain.serving.frontend.events import Action, Answer, Jobs
from parmtrain.serving.instances.model_server import OneModel
from parmtrain.serving.instances.runner import Runner
from parmtrain.serving.protocol.dataplane import DataPlane
from parmtrain.serving.protocol.http import Protocol, application
from parmtrain.serving.protocol.open_inference import write
from parmtrain.serving.protocol.requests import most_queries
from parmtrain.serving.simulation.batch_curve import BatchCurve
from parmtrain.serving.simulation.strategies import Strategy
from tests.servers import serving


def batches(actions: list[Action]) -> list[tuple[int, list[object]]]:
    """Return the batches that actions give out: the instance, and the queries, None for coded ones."""
    return [
        (one.instance, [job.query.payload if job.query else None for job in one.jobs])
        for one in actions
        if isinstance(one, Dispatch)
    ]


def jobs_of(actions: list[Action]) -> Jobs:
    return next(one.jobs for one in actions if isinstance(one, Dispatch))


def test_what_waits_for_a_busy_instance_is_given_out_as_one_batch_of_different_groups() -> None:
    frontend = Frontend(erasure_code(2, 1), [1, 1], Limits(batch_max=3))
    first = frontend.submit(0.0, "a")
    waiting = [batches(frontend.submit(0.0, name)) for name in "bcdefg"]
    assert batches(first) == [(0, ["a"])]
    assert waiting == [[(1, [None])], [], [], [], [], []]  # a and b are encoded; c and d, e and f wait
    after = frontend.finished(1.0, 0, jobs_of(first), ["F"])
    assert batches(after) == [(0, ["b", "c", "e"])]
    assert frontend.counts["batches"] == 3


def test_parity_queries_of_several_groups_are_one_batch() -> None:
    frontend = Frontend(erasure_code(2, 1), [9, 1], Limits(batch_max=4))
    asked = [frontend.submit(0.0, number) for number in range(8)]
    coded = next(one.jobs for one in asked[1] if isinstance(one, Dispatch) and one.instance == 9)
    assert batches(frontend.finished(1.0, 9, coded, ["P"])) == [(9, [None] * 3)]


def test_an_idle_instance_waits_for_a_full_batch_as_long_as_it_may() -> None:
    frontend = Frontend(uncoded(), [1], Limits(batch_max=2, batch_wait=0.1))
    assert frontend.submit(0.0, "a") == []
    assert frontend.next_tick == 0.1
    assert batches(frontend.tick(0.1)) == [(0, ["a"])]

    frontend = Frontend(uncoded(), [1], Limits(batch_max=2, batch_wait=0.1))
    frontend.submit(0.0, "a")
    assert batches(frontend.submit(0.05, "b")) == [(0, ["a", "b"])]
    assert frontend.next_tick > 0.1


def test_members_of_one_group_never_wait_for_each_other() -> None:
    frontend = Frontend(erasure_code(2, 1), [2, 1], Limits(batch_max=2, batch_wait=0.1))
    frontend.submit(0.0, "a")
    assert frontend.submit(0.0, "b") == []  # two jobs wait, which do not make a batch of two
    assert batches(frontend.tick(0.1)) == [(0, ["a"]), (1, ["b"]), (2, [None])]


def test_a_query_that_kills_a_batch_takes_nobody_with_it_the_second_time() -> None:
    frontend = Frontend(uncoded(), [4], Limits(batch_max=3, batch_wait=1.0, attempts=2))
    frontend.submit(0.0, "a")
    frontend.submit(0.0, "killer")
    together = frontend.submit(0.0, "b")
    assert batches(together) == [(0, ["a", "killer", "b"])]
    alone = frontend.lost(0.5, 0)
    assert batches(alone) == [(1, ["a"]), (2, ["killer"]), (3, ["b"])]
    assert frontend.lost(0.6, 2) == []
    again = frontend.finished(0.7, 1, alone[0].jobs, ["F(a)"])  # type: ignore[union-attr]
    assert batches(again) == [(1, ["killer"])]
    assert [one.reason for one in frontend.lost(0.8, 1) if isinstance(one, Answer)] == ["attempts"]


def test_the_partners_of_a_batch_that_a_killer_ends_keep_their_attempts_and_their_code() -> None:
    frontend = Frontend(erasure_code(2, 1), [3, 1], Limits(batch_max=2, batch_wait=1.0, attempts=1))
    frontend.submit(0.0, "killer")
    frontend.submit(0.0, "partner")
    first = frontend.submit(0.0, "innocent")
    assert batches(first) == [(0, ["killer", "innocent"])]
    alone = frontend.lost(0.1, 0)
    assert batches(alone) == [(1, ["killer"]), (2, ["innocent"])]
    assert not [one for one in alone if isinstance(one, Answer)]
    group = alone[1].jobs[0].group  # type: ignore[union-attr]
    frontend.submit(0.2, "late")
    assert group.coded


def test_one_malformed_output_costs_its_own_query_alone() -> None:
    frontend = Frontend(uncoded(), [1], Limits(batch_max=2, batch_wait=1.0))
    frontend.submit(0.0, "a")
    jobs = jobs_of(frontend.submit(0.0, "b"))
    answer, again = frontend.finished(0.5, 0, jobs, [None, "F(b)"])
    assert isinstance(answer, Answer)
    assert answer.payload == "b"
    assert batches([again]) == [(0, ["a"])]


def test_a_queue_is_estimated_by_the_pace_of_queries_and_not_of_batches() -> None:
    frontend = Frontend(uncoded(), [1], Limits(batch_max=10))
    now = 0.0
    for _ in range(200):  # ten queries take a second
        for number in range(20):
            actions = frontend.submit(now, number)
            if jobs := [one for one in actions if isinstance(one, Dispatch)]:
                running = jobs[0].jobs
        while frontend.waiting:
            now += len(running) / 10
            running = next(
                (one.jobs for one in frontend.finished(now, 0, running, ["F"] * len(running))
                 if isinstance(one, Dispatch)), ()
            )  # fmt: skip
    for number in range(15):
        frontend.submit(now, number)
    assert frontend.pools.wait(0) == pytest.approx(1.4, rel=0.01)


def test_the_simulator_knows_how_long_batches_take(tmp_path: Path) -> None:
    file = tmp_path / "curve.csv"
    BatchCurve((1, 2, 8), (0.0045, 0.005, 0.0075)).write(file)
    plain = simulate.SimulationSettings(instances=2, rate=800.0, queries=4000, service=0.0045, slow=0.0, waiting=9999)
    batched = replace(plain, batch_max=8, batch_curve=str(file))
    tails = [simulate.simulate(one, Strategy("none", uncoded(), (2,))).percentile(99) for one in (plain, batched)]
    assert tails[0] > 1.0  # 800 queries a second are 1.8 times what two instances do one by one
    assert tails[1] < 0.05


@pytest.mark.slow
def test_the_curve_of_a_bundle_is_measured_by_the_command(
    finished: Result, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "curve.csv"
    given = [f"bundle={finished.folder}", f"file={file}", "rounds=2"]
    assert serve.main(["--curve", *given, "model=parity", "sizes=4,2"]) == 0
    assert BatchCurve.read(file).sizes == (1, 2, 4)
    assert capsys.readouterr().out.splitlines()[-1] == f"in {file}"
    assert serve.main(["--curve", *given, "sizes=0"]) != 0
    assert "sizes must be integers from 1 to 4096, got 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    "content", ["", "size,seconds\n2,1\n", "size,seconds\n1,0\n", "size,seconds\n1,x\n", "a,b\n1,2\n"]
)
def test_files_that_are_no_curves_are_refused(content: str, tmp_path: Path) -> None:
    file = tmp_path / "curve.csv"
    file.write_text(content)
    with pytest.raises(ConfigError, match=r"curve\.csv must be a CSV file with columns size and seconds, but: "):
        BatchCurve.read(file)


def test_a_batch_of_one_never_waits() -> None:
    frontend = Frontend(uncoded(), [1], Limits(batch_wait=inf))
    assert batches(frontend.submit(0.0, "a")) == [(0, ["a"])]


def test_servers_take_the_largest_batch_that_a_front_may_send() -> None:
    shape = (3, 16, 16)
    with torch.random.fork_rng():
        model = OneModel("linear", Runner(nn.Sequential(nn.Flatten(), nn.Linear(768, 4))), shape, 4)
    queries = np.zeros((most_queries(shape), *shape), dtype=np.float32)
    body, headers = write("inputs", {"query": (queries, True)}, wanted="prediction")
    with serving(application(Protocol(DataPlane(model)).routes)) as url:
        request = urllib.request.Request(f"{url}/v2/models/linear/infer", body, headers)
        with urllib.request.urlopen(request, timeout=20) as answer:
            assert answer.status == 200
