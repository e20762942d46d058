"""Deployed models whose arithmetic PyTorch does not see."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from parmtrain.errors import ConfigError
from parmtrain.flops import MOST_WEIGHTS, flops, widest
from tests.small_runs import small_run
from tests.tiers import thorough

WEIGHTS = np.random.default_rng(0).standard_normal((64, 10)).astype(np.float32)


def elsewhere(queries: Tensor) -> Tensor:
    """Answer with a library that is not PyTorch."""
    return torch.from_numpy(queries.flatten(1).numpy() @ WEIGHTS)


def one_query(folder: Path, code: str, cache: Path, *more: str) -> int:
    """Train a parity model of a budget of one run and return the FLOPs that it takes for a group."""
    result = small_run(folder, f"code={code}", "trainer.max_epochs=1", f"cache={cache}", *more, deployed=elsewhere)
    assert result.metrics["cost"]["parity_flops"] is None or more
    module = result.module
    return flops(module.parity_models[0], module.encode(torch.zeros(1, 2, 1, 8, 8))[:, 0])


@pytest.mark.slow
@pytest.mark.parametrize("code", ["lowres", thorough("backup"), thorough("sum")])
def test_flops_that_are_stated_are_the_budget(code: str, tmp_path: Path) -> None:
    used = one_query(tmp_path / "run", code, tmp_path, "deployed.flops=2e5")
    assert 0.9 * 2e5 <= used <= 2e5


@pytest.mark.thorough
def test_flops_that_cannot_be_counted_are_estimated_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = tmp_path / "cache"
    with caplog.at_level("INFO"):
        one_query(tmp_path / "first", "sum", cache)
    (kept,) = (cache / "timed").glob("*.json")
    assert "FLOPs cannot be counted; in the time of one query a student takes about" in caplog.text
    known = json.loads(kept.read_text())
    assert known["flops"] > 0
    kept.write_text(json.dumps({"flops": 150_000}))
    assert 0.9 * 150_000 <= one_query(tmp_path / "second", "sum", cache) <= 150_000


@pytest.mark.thorough
def test_a_budget_without_end_has_no_endless_student() -> None:
    network = widest(lambda width: nn.Linear(4096, round(1024 * width)), (4096,), 1e15, "the budget")
    assert 0.9 * MOST_WEIGHTS < sum(weight.numel() for weight in network.parameters()) <= MOST_WEIGHTS


def test_flops_that_are_counted_are_not_stated(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"deployed.flops must be null where FLOPs can be counted, 1,280 here, got 7"):
        small_run(tmp_path, "deployed.flops=7", deployed=nn.Sequential(nn.Flatten(), nn.Linear(64, 10)))


def test_flops_have_bounds(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"deployed.flops must be .*0, got -1"):
        small_run(tmp_path, "deployed.flops=-1", deployed=elsewhere)
