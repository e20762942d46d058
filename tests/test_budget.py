"""The best code within a budget, and the front of a comparison."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from parmtrain.compare.budget import Budget, best, cost_of, front, read_budget
from parmtrain.compare.plot import accuracy_against_resources
from parmtrain.errors import ConfigError


def row(code: str, validation: float | None, **more: Any) -> dict[str, Any]:
    common = {"k": 2, "r": 1, "late": 1, "systematic": True, "available": 0.99, "variant": ""}
    costs = {"parity_bytes": 1.0, "parity_flops": 1.0, "encoder_flops": 0.0}
    return {"code": code, "validation": validation, "degraded": validation, **common, **costs, **more}


ROWS = [
    row("sum", 0.8),
    row("lowres", 0.9, degraded=0.85),
    row("backup", 0.95, parity_bytes=2.0),
    row("replication", 0.99, r=2, parity_bytes=2.0, parity_flops=2.0),
    row("berrut_b", 0.98, systematic=False),
    row("lowres", 0.7, late=2),
    row("guess at random", None, parity_flops=None),
    row("sum", 0.6, k=3),
    row("odd", 0.5, k=3, parity_flops=None),
]


@pytest.mark.parametrize(
    ("given", "chosen"),
    [
        ([], ["lowres", "sum"]),
        (["budget.bytes=2"], ["backup", "sum"]),
        (["budget.bytes=inf", "budget.flops=inf", "budget.dispatches=inf"], ["replication", "sum"]),
        (["budget.flops=0.5"], []),  # that of odd is unknown
        (["budget.dispatches=0"], []),
    ],
)
def test_the_best_code_for_each_k_is_chosen_by_validation(given: list[str], chosen: list[str]) -> None:
    budget, rest = read_budget(["k=2,3", *given])
    assert rest == ["k=2,3"]
    assert [one["code"] for one in best(ROWS, budget)] == chosen


def test_the_front_is_what_nothing_beats_at_its_cost() -> None:
    rows = [one for one in ROWS if one["late"] == 1 and one["k"] == 2 and one["degraded"] is not None]
    assert [one["code"] for one in front(rows, "flops")] == ["berrut_b", "replication"]
    assert [one["code"] for one in front(rows, "bytes")] == ["berrut_b", "replication"]
    for resource in ("flops", "bytes", "dispatches"):
        kept = front(rows, resource)
        for one in rows:
            x, y = cost_of(one)[resource], one["degraded"]
            assert any(cost_of(other)[resource] <= x and other["degraded"] >= y for other in kept)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            ["budget.flop=1"],
            "flop=1: unknown key flop; choose a key from bytes, dispatches, flops; did you mean flops?",
        ),
        (["budget.flops=-1"], "flops must be 0 or more, got -1"),
        (["budget.bytes=1", "budget.bytes=2"], "bytes must be given once"),
    ],
)
def test_a_wrong_budget_is_refused(given: list[str], sentence: str) -> None:
    with pytest.raises(ConfigError) as fault:
        read_budget(given)
    assert sentence in str(fault.value)


def test_a_budget_allows_what_the_table_shows() -> None:
    nearly = row("sum", 0.8, encoder_flops=0.0004)
    assert Budget(flops=1.0).allows(nearly)
    assert not Budget(flops=1.0).allows(row("sum", 0.8, encoder_flops=0.006))


def test_a_budget_reads_as_it_is_written() -> None:
    assert str(Budget(flops=0.5)) == "budget.flops=0.5 budget.bytes=1 budget.dispatches=1"


@pytest.mark.slow
def test_rows_are_drawn_also_where_no_cost_is_known(tmp_path: Path) -> None:
    rows = [row("sum", 0.8, parity_flops=None), row("lowres", 0.9, parity_flops=None), row("sum", 0.7, k=3)]
    accuracy_against_resources(rows, "accuracy", "made up", tmp_path / "codes.png")
    with Image.open(tmp_path / "codes.png") as image:
        assert min(image.size) > 500


def test_costs_that_look_alike_in_the_table_are_alike_on_the_front() -> None:
    rows = [row("concat", 0.35, encoder_flops=0.0), row("sum", 0.93, encoder_flops=0.0004)]
    assert [one["code"] for one in front(rows, "flops")] == ["sum"]
