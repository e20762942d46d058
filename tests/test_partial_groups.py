"""Groups with fewer than k queries: training on them, and scoring them."""

from pathlib import Path

import pytest
import torch
from torch import nn

from parmtrain.codes import Attention, Backup, Berrut, Code, Concat, Default, Heads, LateMix, Linear, LowRes, Sum
from parmtrain.codes.batches import EachQuery
from parmtrain.deployed import DeployedModel
from parmtrain.errors import ConfigError, UnsupportedError
from parmtrain.evaluate import evaluate
from parmtrain.evaluation.partial import PartialGroups
from parmtrain.models import LeNet
from parmtrain.serving.front.served import instance_counts, read_served
from parmtrain.serving.settings import ServeSettings
from parmtrain.training.coded_groups import CodedGroups
from parmtrain.training.groups import GroupBatch
from parmtrain.training.losses import kl, mse
from parmtrain.training.parity_module import ParityModule
from tests.small_runs import small_run

F = DeployedModel(LeNet([1, 8, 8], 10))


def module(code: Code, model: nn.Module, partial: bool = True) -> ParityModule:
    return ParityModule(F, code, [model], partial=partial)


@pytest.mark.parametrize("code", [Heads(Concat(3)), Backup(3), LowRes(3), LateMix(3)], ids=lambda code: code.name)
def test_codes_that_read_each_prediction_by_itself_take_partial_groups(code: Code) -> None:
    assert module(code, nn.Flatten()).scheme(outputs=10).partial


@pytest.mark.parametrize(
    "code", [Sum(3), Linear(3, 1), Attention(Sum(3), 10), Default(3, 10), Berrut(3, 1)], ids=lambda code: code.name
)
def test_others_do_not(code: Code) -> None:
    models = [LeNet([1, 8, 8], 10)] if code.num_coded else []
    needs_all = ParityModule(F, code, models, partial=True)
    assert not needs_all.scheme(outputs=10).partial
    batch = GroupBatch(torch.rand(5, 3, 1, 8, 8), torch.zeros(5, 3, dtype=torch.long), None)
    with pytest.raises(UnsupportedError, match=r"needs all k queries of a group, so partial must be false"):
        needs_all.coded_groups(batch, present=2)


def test_absent_queries_are_zeros_and_count_in_no_loss() -> None:
    code, queries = Heads(Concat(3)), torch.rand(5, 3, 1, 8, 8)
    model = LeNet([1, 8, 8], 30)
    batch = GroupBatch(queries, torch.zeros(5, 3, dtype=torch.long), None)
    groups = module(code, model).coded_groups(batch, present=2)
    blank = torch.cat([queries[:, :2], torch.zeros(5, 1, 1, 8, 8)], dim=1)
    assert torch.equal(groups.parity, model(code.encode(blank)[:, 0]).unsqueeze(1))
    assert groups.reconstructed.shape == groups.own.shape == (5, 2, 10)
    assert torch.equal(groups.own, F(queries[:, :2].flatten(0, 1)).unflatten(0, (5, 2)))
    kl(groups).backward()
    gradient = model.classifier[2].weight.grad
    assert isinstance(gradient, torch.Tensor)
    assert torch.count_nonzero(gradient[20:]) == 0  # of the head without a query
    with pytest.raises(UnsupportedError, match="partial=true needs a loss that compares reconstructed predictions"):
        mse(groups)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_students_score_alike_in_groups_of_any_size(size: int) -> None:
    code, student = Backup(3), LeNet([1, 8, 8], 10).eval()
    partial = PartialGroups(module(code, EachQuery(student), partial=False).eval(), size)
    queries = torch.rand(4, size, 1, 8, 8)
    predictions = F(queries.flatten(0, 1)).unflatten(0, (4, size))
    outputs = partial.gather(predictions, partial.predict(partial.encode(queries)))
    assert outputs.shape == (4, partial.n, 30)
    arrived = torch.ones(4, partial.n, dtype=torch.bool)
    arrived[:, 0] = False
    decoded = partial.decode(outputs, arrived)
    assert torch.allclose(decoded[:, 0], student(queries[:, 0]), atol=1e-6)
    assert torch.equal(decoded[:, 1:], predictions[:, 1:])


@pytest.mark.slow
def test_a_run_trains_and_scores_groups_of_every_size(tmp_path: Path) -> None:
    result = small_run(tmp_path, "code=concat_heads", "k=3", "partial=true", "trainer.max_epochs=8")
    scored = result.metrics["partial"]
    assert list(scored) == ["1", "2"]
    assert all(0.1 < one["accuracy"] <= 1 and len(one["by_position"]) == int(size) for size, one in scored.items())
    assert evaluate(tmp_path)["partial"] == scored
    settings = ServeSettings(bundle=str(tmp_path), k=2, replicas=6)
    served = read_served(settings)
    assert (served.k(settings), instance_counts(settings, served)) == (2, [6, 3])
    with pytest.raises(ConfigError, match=r"k must be 3 or less, the k of the bundle in .*, got 4"):
        read_served(ServeSettings(bundle=str(tmp_path), k=4))


@pytest.mark.slow
def test_a_run_refuses_partial_groups_before_any_work(tmp_path: Path) -> None:
    for code in ("sum", "berrut_b", "mean_parity", "default"):
        with pytest.raises(ConfigError, match=rf"code={code} needs all k queries of a group, so partial must be false"):
            small_run(tmp_path / code, "partial=true", f"code={code}")
    with pytest.raises(ConfigError, match=r"partial=true needs a loss that compares reconstructed predictions"):
        small_run(tmp_path / "mse", "partial=true", "code=lowres", "loss=mse")


def test_a_group_that_is_whole_is_scored_as_before() -> None:
    groups = CodedGroups(Heads(Concat(2)), torch.randn(3, 2, 4), torch.randn(3, 1, 8), torch.zeros(3, 2).long())
    assert groups.reconstructed.shape == (3, 2, 4)
