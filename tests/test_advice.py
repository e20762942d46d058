"""Advice on which code to serve, drawn from the table of a comparison."""

import csv
import json
import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from parmtrain import advise
from parmtrain.codes import Berrut, Concat, Heads, Linear, Replication, Sum
from parmtrain.errors import DataError
from parmtrain.serving import scheme_of
from parmtrain.serving.simulation.advice import advice
from parmtrain.serving.simulation.latency_report import ServiceRow
from parmtrain.serving.simulation.simulator import Outcome
from parmtrain.simulate import simulate
from tests.mistakes import tables


@pytest.mark.slow
def test_advice_on_the_codes_of_a_comparison(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    results = tmp_path / "table.csv"
    schemes = {
        "sum": scheme_of(Sum(2), 1, width=1),
        "concat_heads": scheme_of(Heads(Concat(4)), 1, width=4),
        "linear": scheme_of(Linear(4, 2), 2, width=1),
        "backup": scheme_of(Replication(2), 1, width=1),
        "batches": scheme_of(Replication(4, r=2), 1, width=2),
        "berrut_b": scheme_of(Berrut(2), 0, width=1),
        "older": None,
        "odd": scheme_of(Sum(5), 1, width=1),
    }
    lines = [
        ("sum", 2, 1, 1, 0.9, 0.8, 0.87, 1.0),
        ("concat_heads", 4, 1, 1, 0.9, 0.85, 0.89, 1.0),
        ("linear", 4, 2, 1, 0.9, 0.7, 0.85, 2.0),
        ("linear", 4, 2, 2, 0.9, 0.6, 0.8, 2.0),
        ("backup", 2, 2, 1, 0.9, 0.85, 0.88, 0.5),
        ("batches", 4, 2, 1, 0.9, 0.5, 0.6, 1.0),
        ("berrut_b", 2, 1, 1, 0.8, 0.7, 0.7, 1.0),
        ("older", 2, 1, 1, 0.9, 0.8, 0.87, 1.0),
        ("odd", 5, 1, 1, 0.9, 0.8, 0.87, 1.0),
        ("sum", 2, 1, 1, 0.9, 0.5, 0.87, 1.0),
        ("heads", 2, 1, 5, 0.9, 0.8, 0.87, 1.0),
        ("guess at random", 2, 1, 1, 0.9, 0.1, 0.5, ""),
    ]
    with results.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["code", "k", "r", "late", "nobody_late", "degraded", "all_k", "parity_flops", "scheme"])
        for code, *figures in lines:
            scheme = schemes.get(str(code))
            writer.writerow([code, *figures, "" if scheme is None else json.dumps(scheme.to_json())])
    given = [f"results={results}", f"folder={tmp_path / 'advice'}", "queries=1500", "slow=0.02"]
    assert advise.main(given) == 0
    assert [message for message in caplog.messages if "left out" in message] == [
        "left out, since the table has no scheme: older k=2 r=1",
        "left out, since instances=12 is not a multiple of k=5: odd k=5 r=1",
        "left out, since line 2 is for the same code as line 11: sum k=2 r=1",
        "left out, since the table has no line with late=1: heads k=2 r=1",
    ]
    assert "no advice, since the 99.9th percentile needs queries=10000 or more" in capsys.readouterr().out
    with open(tmp_path / "advice" / "table.csv", newline="") as file:
        advised = {(line["strategy"], line["instances"]): line for line in csv.DictReader(file)}
    assert {name for name, _ in advised if "=" in name} == {
        "sum k=2 r=1",
        "concat_heads k=4 r=1",
        "linear k=4 r=2",
        "backup k=2 r=2",
        "batches k=4 r=2",
        "berrut_b k=2 r=1",
    }
    assert ("linear k=4 r=2", "12 + 3 + 3") in advised
    assert ("backup k=2 r=2", "12 + 3") in advised  # its backup is four times as fast and runs twice as many queries
    batches = advised["batches k=4 r=2", "12 + 3"]  # a batch of two queries takes half the time of one query of F
    first = float(batches["reconstructed"])
    assert first > 0.5
    assert float(batches["overall accuracy"]) == pytest.approx(0.9 * (1 - first) + 0.5 * first)
    coded = advised["berrut_b k=2 r=1", "18"]
    assert float(coded["reconstructed"]) == 1.0
    assert float(coded["overall accuracy"]) == pytest.approx(0.7)
    ours = advised["sum k=2 r=1", "12 + 6"]
    share = float(ours["reconstructed"])
    assert float(ours["overall accuracy"]) == pytest.approx(0.9 - 0.1 * share, abs=1e-6)
    assert advise.main(given) == 0  # again, in its own folder


@pytest.mark.thorough
def test_a_terminal_shows_what_is_left_out_and_variants_are_told_apart(tmp_path: Path) -> None:
    tables.table(tmp_path)
    names, line = (tmp_path / "t.csv").read_text().splitlines()
    lines = [f"variant,{names}", f"loss=kl,{line}", f"loss=mse,{line}", f",{line.partition('{')[0][:-1]}"]
    (tmp_path / "t.csv").write_text("\n\n".join(lines), encoding="utf-8-sig")  # as Excel does
    command = [sys.executable, "-m", "parmtrain.advise", "results=t.csv", "queries=200", "folder=there"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert ended.stderr == "left out, since the table has no scheme: sum k=2 r=1\n"
    assert "sum loss=kl k=2 r=1" in ended.stdout
    assert "sum loss=mse k=2 r=1" in ended.stdout


def row(name: str, instances: int, tail: float, accuracy: float, queries: int = 10_000, refused: int = 0) -> ServiceRow:
    counts = {"refused": refused}
    outcome = Outcome(np.full(queries, tail), np.zeros(queries, dtype=np.int8), 0.0, 0.0, counts)
    return ServiceRow(name, (instances,), outcome, accuracy)


def test_the_advice_is_accurate_then_fast_then_cheap() -> None:
    rows = [
        row("poor", 12, 0.010, 0.26),
        row("fast", 24, 0.030, 0.9),
        row("cheap", 18, 0.032, 0.8992),
        row("slow", 12, 0.060, 0.9),
    ]
    assert advice(rows, 0.001).startswith(
        "advice: cheap on 18 instances, the fewest of those whose overall accuracy is"
    )
    assert advice(rows, 0.0).startswith("advice: fast on 24 instances")
    assert advice(rows, 1.0).startswith("advice: poor on 12 instances")
    assert advice(rows[3:], 0.001).startswith("advice: slow on 12 instances")
    overloaded = [row("none", 12, 0.03, 0.9, refused=1)]
    assert advice(overloaded, 0.001).startswith("no advice, since every candidate refuses queries; lower rate=…")
    assert "needs queries=10000 or more" in advice([row("none", 12, 0.03, 0.9, queries=9_999)], 0.001)


@pytest.mark.parametrize(("latency", "instances"), [("0.5", 3), ("2.0", 12), ("", 6)])
def test_a_parity_model_takes_as_long_as_was_measured(latency: str, instances: int, tmp_path: Path) -> None:
    columns = ["code", "k", "r", "late", "nobody_late", "degraded", "all_k", "parity_flops", "parity_latency", "scheme"]
    scheme = json.dumps(scheme_of(Sum(2), 1, width=1).to_json())
    with (tmp_path / "table.csv").open("w", newline="") as file:
        csv.writer(file).writerows([columns, ["sum", 2, 1, 1, 0.9, 0.8, 0.87, 1.0, latency, scheme]])
    found = advise.candidates(tmp_path / "table.csv", advise.AdviceSettings(instances=12))
    (own,) = [one.strategy for one in found if one.strategy.name.startswith("sum")]
    assert own.instances == (12, instances)
    assert own.speed == (1.0, 12 / 2 / instances)


@pytest.mark.slow
def test_a_code_is_also_advised_on_with_each_promise_that_it_can_give(tmp_path: Path) -> None:
    tables.table(tmp_path)
    names, line = (tmp_path / "t.csv").read_text().splitlines()
    columns = "accepted_0.98,accepted_value_0.98,accepted_own_0.98,accepted_0.99"
    (tmp_path / "t.csv").write_text(f"{columns},{names}\n0.8,0.94,0.95,0.0,{line}\n")
    load = advise.AdviceSettings(results="t.csv", queries=20_000, slow=0.05, slot=0.1)
    found = {one.strategy.name: one for one in advise.candidates(tmp_path / "t.csv", load)}
    plain, sure = found["sum k=2 r=1"], found["sum k=2 r=1 accept=0.98"]
    assert "sum k=2 r=1 accept=0.99" not in found
    assert sure.accuracies.reconstructed == pytest.approx(sure.accuracies.deployed - 0.01)
    every = 0.8 * sure.accuracies.reconstructed + 0.2 * (sure.accuracies.uncertain or 0)
    assert every == pytest.approx(plain.accuracies.reconstructed)
    all_of_it, most = (simulate(load, one.strategy) for one in (plain, sure))
    assert most.counts["unaccepted"] > 0
    assert "unaccepted" not in all_of_it.counts
    assert plain.accuracies.overall(all_of_it) < sure.accuracies.overall(most) < sure.accuracies.deployed
    (tmp_path / "t.csv").write_text(f"accepted_0.98,{names}\nmany,{line}\n")
    with pytest.raises(DataError, match=r"line 2: accepted_0\.98 must be a number from 0 to 1, got many"):
        advise.candidates(tmp_path / "t.csv", load)
