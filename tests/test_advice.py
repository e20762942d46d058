"""Advice on which code to serve, drawn from the table of a comparison."""

import csv
import json
from pathlib import Path

import pytest

from parmtrain import advise
from parmtrain.codes import Berrut, Concat, Heads, Linear, Replication, Sum
from parmtrain.serving import scheme_of


def test_advice_on_the_codes_of_a_comparison(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = tmp_path / "table.csv"
    schemes = {
        "sum": scheme_of(Sum(2), 1, width=1),
        "concat_heads": scheme_of(Heads(Concat(4)), 1, width=4),
        "linear": scheme_of(Linear(4, 2), 2, width=1),
        "backup": scheme_of(Replication(2), 1, width=1),
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
        ("berrut_b", 2, 1, 1, 0.8, 0.7, 0.7, 1.0),
        ("older", 2, 1, 1, 0.9, 0.8, 0.87, 1.0),
        ("odd", 5, 1, 1, 0.9, 0.8, 0.87, 1.0),
    ]
    with results.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["code", "k", "r", "late", "nobody_late", "degraded", "all_k", "parity_flops", "scheme"])
        for code, *figures in lines:
            scheme = schemes[str(code)]
            writer.writerow([code, *figures, "" if scheme is None else json.dumps(scheme.to_json())])
    given = [f"results={results}", f"folder={tmp_path / 'advice'}", "queries=1500", "slow=0.02"]
    assert advise.main(given) == 0
    with open(tmp_path / "advice" / "table.csv", newline="") as file:
        advised = {(line["strategy"], line["instances"]): line for line in csv.DictReader(file)}
    assert {name for name, _ in advised if "=" in name} == {
        "sum k=2 r=1",
        "concat_heads k=4 r=1",
        "linear k=4 r=2",
        "backup k=2 r=2",
        "berrut_b k=2 r=1",
    }
    assert ("linear k=4 r=2", "12 + 3 + 3") in advised
    assert ("backup k=2 r=2", "12 + 3") in advised  # its backup is four times as fast and runs twice as many queries
    coded = advised["berrut_b k=2 r=1", "18"]
    assert float(coded["reconstructed"]) == 1.0
    assert float(coded["overall accuracy"]) == pytest.approx(0.7)
    ours = advised["sum k=2 r=1", "12 + 6"]
    share = float(ours["reconstructed"])
    assert float(ours["overall accuracy"]) == pytest.approx(0.9 - 0.1 * share, abs=1e-6)
