"""Scores against plain loops, for codes with several stragglers and for codes whose workers all run coded queries."""

from itertools import combinations
from statistics import mean
from typing import Any

import pytest
import torch
from torch import nn

from parmtrain import compose, score
from parmtrain.codes import Berrut, Code, Default, Linear, MeanParity, Replication, Sum
from parmtrain.config import assemble
from parmtrain.deployed import DeployedModel
from parmtrain.evaluation.costs import resources
from parmtrain.flops import flops
from parmtrain.models import LeNet
from parmtrain.tasks.base import Task
from parmtrain.tasks.queries import QuerySet
from parmtrain.training.parity_module import ParityModule


def made_up(code: Code) -> tuple[ParityModule, Task, QuerySet, torch.Tensor]:
    """Return a module with random parity models, a task, its test queries and predictions on them."""
    torch.manual_seed(0)
    task: Task = assemble.build(compose().task)
    queries, shape = task.splits().test, (1, 8, 8)
    deployed = DeployedModel(LeNet(shape, 10))

    def fresh(shape: tuple[int, ...], heads: int = 1, model: Any = None, **more: Any) -> nn.Module:
        return LeNet(shape, 10 * heads)

    models = code.parity_models(shape, deployed, fresh)
    predictions = deployed(task.input(queries[torch.arange(len(queries))][0]))
    return ParityModule(deployed, code, models).eval(), task, queries, predictions


def costs_of(module: ParityModule) -> dict[str, float | None]:
    return resources(module.code, list(module.parity_models), module.deployed, (1, 8, 8))


def groups(queries: QuerySet, k: int, seed: int) -> list[list[int]]:
    order = torch.randperm(len(queries), generator=torch.Generator().manual_seed(seed * 1_000_003))
    found: list[list[int]] = order[: len(queries) // k * k].view(-1, k).tolist()
    return found


@pytest.mark.slow
@pytest.mark.parametrize("code", [Sum(3), Linear(3, 2), Berrut(3, 2), Replication(2)], ids=lambda code: code.name)
def test_scores_are_those_of_a_plain_loop(code: Code) -> None:
    module, task, queries, predictions = made_up(code)
    scores = score(module, task, queries, predictions, seed=7, unavailable=[0.1], default={"accuracy": 0.1})
    stored, labels = queries[torch.arange(len(queries))]
    images = task.input(stored)
    outputs = []
    with torch.no_grad():
        for group in groups(queries, code.k, seed=7):
            coded = module.predict(module.encode(images[group][None]))
            outputs.append(module.gather(predictions[group][None], coded)[0])

    def right(late: tuple[int, ...], group: int) -> list[bool]:
        arrived = torch.tensor([[worker not in late for worker in range(code.n)]])
        decoded = code.decode(outputs[group][None], arrived)[0]
        wanted = labels[groups(queries, code.k, seed=7)[group]]
        return [
            bool((row.argmax() == label) and row.isfinite().all()) for row, label in zip(decoded, wanted, strict=True)
        ]

    def accuracy(late: tuple[int, ...], counted: list[int]) -> float:
        return mean(right(late, group)[i] for group in range(len(outputs)) for i in counted)

    everyone = list(range(code.k))
    assert scores["nobody_late"]["accuracy"] == pytest.approx(accuracy((), everyone))
    for number in range(1, code.stragglers + 1):
        figures: dict[str, Any] = scores if number == 1 else scores["stragglers"][str(number)]
        cases = list(combinations(range(code.n), number))
        each = [accuracy(late, everyone) for late in cases]
        assert figures["all_k"]["accuracy"] == pytest.approx(mean(each))
        assert figures["all_k"]["worst"]["accuracy"] == pytest.approx(min(each))
        assert accuracy(tuple(figures["all_k"]["worst"]["late"]), everyone) == pytest.approx(min(each))
        if code.systematic:
            lost = [accuracy(late, list(late)) for late in combinations(range(code.k), number)]
            assert figures["degraded"]["accuracy"] == pytest.approx(mean(lost))
        else:
            assert figures["degraded"]["accuracy"] == pytest.approx(mean(each))
        low, high = figures["all_k"]["accuracy_ci95"]
        assert low < figures["all_k"]["accuracy"] < high
        assert figures["all_k"]["unrecoverable"] == 0


def test_what_cannot_be_rebuilt_is_counted_as_such_and_as_wrong() -> None:
    class Hopeful(Sum):
        @property
        def stragglers(self) -> int:
            return 2

    module, task, queries, predictions = made_up(Hopeful(2))
    two = score(module, task, queries, predictions, seed=0, unavailable=[], default={"accuracy": 0.1})["stragglers"][
        "2"
    ]
    assert two["degraded"]["unrecoverable"] == 1.0
    assert two["degraded"]["accuracy"] == 0.0
    assert two["all_k"]["unrecoverable"] == pytest.approx((1 + 0.5 + 0.5) / 3)


def test_the_default_answer_is_right_as_often_as_its_class_is_there() -> None:
    module, task, queries, predictions = made_up(Default(2, 10))
    train = task.splits().train
    stored, labels = train[torch.arange(200).view(100, 2)]
    module.code.fit(module.deployed, stored, labels, task.measures)
    scores = score(module, task, queries, predictions, seed=0, unavailable=[], default={"accuracy": 0.1})
    most = labels.flatten().mode().values
    assert scores["degraded"]["accuracy"] == pytest.approx((queries.labels == most).double().mean().item())


@pytest.mark.slow
def test_arithmetic_is_counted_against_one_run_of_the_deployed_model() -> None:
    module, *_ = made_up(Linear(3, 2))
    costs = costs_of(module)
    assert costs["parity_flops"] == pytest.approx(2)
    assert costs["extra_workers"] == pytest.approx(2 / 3)
    berrut, *_ = made_up(Berrut(3, 2))
    assert costs_of(berrut)["parity_flops"] == pytest.approx(2)
    mean_query, *_ = made_up(MeanParity(3))
    assert costs_of(mean_query)["parity_flops"] == pytest.approx(1)
    assert flops(nn.Linear(4, 3), torch.ones(5, 4)) == 2 * 5 * 4 * 3
    assert flops(torch.jit.script(nn.Linear(4, 3)), torch.ones(5, 4)) == 2 * 5 * 4 * 3


def test_what_cannot_be_counted_is_none() -> None:
    module = ParityModule(DeployedModel(lambda queries: queries.flatten(1)[:, :10]), Sum(2), [LeNet((1, 8, 8), 10)])
    assert costs_of(module)["parity_flops"] is None
