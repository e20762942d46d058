"""Simulated services: delays and slowdowns, queueing, strategies with equal resources, and the command."""

from typing import Any

import numpy as np
import pytest

from parmtrain.errors import ConfigError
from parmtrain.serving import Frontend, Kind, uncoded
from parmtrain.serving.simulation.delays import ServiceTimes, Slowdowns, constant, exponential, lognormal, pareto
from parmtrain.serving.simulation.simulator import Simulation, poisson
from parmtrain.serving.simulation.strategies import NAMES, strategies
from parmtrain.simulate import SimulationSettings, main, simulate


def test_slowdowns_are_the_same_for_everyone_and_as_likely_as_said() -> None:
    slowdowns = Slowdowns(0.2, constant(1.0), slot=0.5, correlation=0.5, seed=3)
    slow = np.array([[slowdowns.slow(instance, 0.5 * slot) for slot in range(9000)] for instance in range(4)])
    again = Slowdowns(0.2, constant(1.0), slot=0.5, correlation=0.5, seed=3)
    assert [again.slow(2, 0.5 * slot) for slot in range(100)] == slow[2, :100].tolist()
    assert slow.mean() == pytest.approx(0.2, abs=0.01)
    assert np.corrcoef(slow)[0, 1] == pytest.approx(0.5, abs=0.05)
    each = ServiceTimes(constant(0.0), Slowdowns(0.2, constant(1.0)))
    assert np.mean([each.seconds(0, 0, 0.0) for _ in range(9000)]) == pytest.approx(0.2, abs=0.02)


def test_instances_that_are_always_slow_and_predictions_that_are_by_themselves() -> None:
    by_coin = Slowdowns(probability=0.25, delay=constant(1.0), instances=2)
    assert [by_coin.slow(instance, 0.0, coin=0.3) for instance in range(4)] == [True, True, False, False]
    assert by_coin.slow(3, 0.0, coin=0.2)
    times = ServiceTimes(constant(0.5), by_coin)
    assert [times.seconds(instance, 0, 0.0) for instance in (0, 1)] == [1.5, 1.5]
    assert np.mean([times.seconds(2, 0, 0.0) for _ in range(4000)]) == pytest.approx(0.75, abs=0.03)


@pytest.mark.parametrize("draw", [exponential(2.0), lognormal(2.0, 0.5), pareto(2.0, 3.0), constant(2.0)])
def test_delays_have_their_mean(draw: Any) -> None:
    assert draw(np.random.default_rng(0), 200_000).mean() == pytest.approx(2.0, rel=0.03)


@pytest.mark.slow
def test_a_simulation_of_one_queue_has_the_waiting_time_of_the_textbook() -> None:
    rate, mean = 5.0, 0.1
    simulation = Simulation(Frontend(uncoded(), [1]), ServiceTimes(exponential(mean), seed=1))
    outcome = simulation.run(poisson(rate, 60_000, seed=0))
    assert outcome.utilisation == pytest.approx(rate * mean, rel=0.03)
    assert outcome.latency.mean() == pytest.approx(mean / (1 - rate * mean), rel=0.05)  # M/M/1


@pytest.mark.slow
def test_the_same_seed_gives_the_same_simulation_and_killed_instances_lose_nothing() -> None:
    settings = SimulationSettings(k=[2], queries=3000, slow=0.05, kills=30, restart=1.0, hung_after=5.0)
    for strategy in settings.chosen()[2]:
        one, other = simulate(settings, strategy), simulate(settings, strategy)
        assert np.array_equal(one.latency, other.latency)
        assert len(one.latency) == 3000
        assert one.counts.get("lost", 0) > 0
        assert sum(one.share(kind) for kind in Kind) == pytest.approx(1.0)


@pytest.mark.slow
def test_a_coded_service_keeps_its_tail_where_slowness_is_rare() -> None:
    settings = SimulationSettings(queries=20_000, k=[2], slow=0.01, strategies=["equal", "coded"])
    equal, coded = (simulate(settings, strategy) for strategy in settings.chosen()[2])
    assert coded.percentile(50) == pytest.approx(equal.percentile(50), rel=0.05)
    gap = (equal.percentile(99.9) - equal.percentile(50)) / (coded.percentile(99.9) - coded.percentile(50))
    assert gap > 3.5


def test_strategies_use_equal_resources() -> None:
    for k, r in ((2, 1), (3, 1), (4, 2)):
        instances = {one.name.split()[0]: sum(one.instances) for one in strategies(NAMES, 12, k, r)}
        assert instances.pop("none") == 12
        assert set(instances.values()) == {12 + 12 * r // k}
    with pytest.raises(ConfigError, match="instances must be a multiple of k"):
        strategies(["coded"], 12, 5, 1)


@pytest.mark.slow
def test_the_command_writes_a_table_and_a_plot(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["queries=2000", "k=2,3", "strategies=none,coded", f"folder={tmp_path}"]
    assert main(given) == 0
    said = capsys.readouterr().out
    assert "coded k=3 r=1" in said
    assert "built in, not your models' own: available=0.895, degraded=0.88, fallback=0.1; give" in said
    known = ["available=0.9", "degraded=0.8", "fallback=0.2"]
    assert main([*given, *known]) == 0  # again, in its own folder
    assert "built in" not in capsys.readouterr().out
    lines = (tmp_path / "table.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["strategy", "none", "coded k=2 r=1", "coded k=3 r=1"]
    assert (tmp_path / "latency.png").stat().st_size > 1000
