"""Codes whose extra workers run each query by itself: copies, cheaper models, and small pictures."""

from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torchvision.models import VisionTransformer

from parmtrain.codes import Backup, LowRes, Replication, decode_each, run_coded
from parmtrain.codes.batches import BatchCode, BatchEncoder, EachQuery
from parmtrain.codes.lowres import LowResEncoder, small_size
from parmtrain.deployed import DeployedModel
from parmtrain.errors import UnsupportedError
from parmtrain.flops import flops, widest
from parmtrain.models import LeNet, resnet18, student

QUERY, OUTPUTS = (1, 28, 28), 10
F = DeployedModel(LeNet([*QUERY], OUTPUTS))


def fresh(shape: tuple[int, ...], heads: int = 1, model: Any = None, **more: Any) -> nn.Module:
    """Build a model as a run does, with F's architecture where the code names none."""
    build = model or LeNet
    made: nn.Module = build(query_shape=list(shape), outputs=heads * OUTPUTS, **more)
    return made


def model_of(code: BatchCode | Replication) -> nn.Module:
    (model,) = code.parity_models(QUERY, F, fresh)
    return model.eval()


def one_query(queries: int) -> float:
    return flops(F, torch.zeros(queries, *QUERY))


@pytest.mark.parametrize("r", [1, 2, 4])
@pytest.mark.parametrize("kind", [Replication, Backup])
def test_any_number_of_late_predictions_comes_back_each_from_its_own_worker(kind: Any, r: int) -> None:
    code = kind(4, r=r)
    model = model_of(code)
    single = model.network if isinstance(model, EachQuery) else model
    queries = torch.rand(3, 4, *QUERY)
    predictions = F(queries.flatten(0, 1)).unflatten(0, (3, 4))
    wanted = single(queries.flatten(0, 1)).unflatten(0, (3, 4)) if kind is Backup else predictions
    outputs = code.gather(predictions, run_coded([model], code.encode(queries)))
    assert outputs.shape == (3, 4 + r, 4 // r * OUTPUTS)
    arrived = torch.ones(16, 4 + r, dtype=torch.bool)
    arrived[:, :4] = torch.cartesian_prod(*[torch.tensor([True, False])] * 4)
    decoded = decode_each(code.decode, outputs, arrived)
    expected = torch.where(arrived[None, :, :4, None], predictions.unsqueeze(1), wanted.unsqueeze(1))
    assert torch.allclose(decoded, expected, atol=1e-5)
    arrived[:, 4] = False  # the first extra worker is late, too
    lost = decode_each(code.decode, outputs, arrived).isnan().all(-1)
    assert torch.equal(lost[0], ~arrived[:, :4] & (torch.arange(4) < 4 // r))


def test_replication_takes_as_many_runs_of_f_whatever_the_number_of_workers() -> None:
    for r in (1, 3):
        code = Replication(3, r=r)
        model, queries = model_of(code), code.encode(torch.rand(1, 3, *QUERY))
        assert flops(lambda coded, model=model: run_coded([model], coded), queries) == one_query(3)


@given(st.integers(4, 300), st.integers(4, 300), st.integers(2, 16))
def test_small_pictures_never_have_more_pixels_than_one_query_and_keep_its_aspect(h: int, w: int, k: int) -> None:
    rows, columns = small_size(h, w, k)
    assert k * rows * columns <= h * w
    if min(rows, columns) >= 8:
        assert 0.8 < (rows / columns) / (h / w) < 1.25
        assert k * rows * columns > 0.75 * h * w


def test_small_pictures_show_the_whole_picture() -> None:
    encode = LowResEncoder(k=4)
    ramp = torch.linspace(0, 1, 16).expand(1, 4, 1, 16, 16)
    small = encode(ramp)[0, 0, 0, 0]
    assert small.shape == (8, 8)
    assert torch.allclose(small.mean(), ramp.mean(), atol=1e-3)
    assert (small.diff(dim=1) > 0).all()
    noise = torch.rand(1, 4, 1, 64, 64)
    assert encode(noise).std() < 0.7 * noise.std()  # averaged, not sampled
    row = LowResEncoder(k=2, layout="row")(torch.rand(1, 2, 1, 40, 101))
    assert row.shape == (1, 1, 2, 1, 40, 50)


@pytest.mark.parametrize("code", [LowRes(3, model=student), Backup(3, model=student), LowRes(3)])
def test_a_query_that_is_broken_spoils_no_other_answer(code: BatchCode) -> None:
    queries = torch.rand(2, 3, *QUERY)
    broken = queries.clone()
    broken[:, 1] = torch.nan
    model = model_of(code)
    whole, spoiled = (model(code.encode(given)[:, 0]).unflatten(1, (3, OUTPUTS)) for given in (queries, broken))
    assert torch.allclose(whole[:, [0, 2]], spoiled[:, [0, 2]], atol=1e-6)
    assert spoiled[:, 1].isnan().all()


@pytest.mark.parametrize("k", [2, 3, 4, 8])
@pytest.mark.parametrize(("kind", "budget"), [(LowRes, 1.0), (Backup, 1.0), (Backup, 0.5), (LowRes, 0.3)])
def test_a_student_uses_up_its_budget_and_no_more(kind: Any, budget: float, k: int) -> None:
    code = kind(k, model=student, flops=budget)
    used = flops(model_of(code), code.encode(torch.zeros(1, k, *QUERY))[:, 0]) / one_query(1)
    assert 0.9 * budget <= used <= budget


@pytest.mark.parametrize("shape", [(1, 4000), (2, 1000), (100, 40), (3, 8, 8), (50,)])
def test_there_is_a_student_for_queries_of_any_shape(shape: tuple[int, ...]) -> None:
    code, wide = Backup(2, model=student, flops=1.0), nn.Sequential(nn.Flatten(), nn.LazyLinear(200))
    wide(torch.zeros(1, *shape))
    deployed = DeployedModel(nn.Sequential(wide, nn.Linear(200, OUTPUTS)))
    (model,) = code.parity_models(shape, deployed, fresh)
    used = flops(model.eval(), code.encode(torch.zeros(1, 2, *shape))[:, 0]) / deployed.flops(shape)
    assert 0.85 <= used <= 1


@pytest.mark.slow
@pytest.mark.parametrize(("k", "size"), [(2, (21, 22)), (3, (16, 16)), (4, (16, 16))])
def test_strides_that_round_sizes_up_get_smaller_pictures(k: int, size: tuple[int, int]) -> None:
    def build(shape: tuple[int, ...], *_: Any, **__: Any) -> nn.Module:
        return resnet18(list(shape), OUTPUTS)

    code, deployed = LowRes(k, flops=1.0), DeployedModel(build((3, 32, 32)))
    (model,) = code.parity_models((3, 32, 32), deployed, build)
    assert code.parity_shape((3, 32, 32)) == (k, 3, *size)
    small = code.encode(torch.rand(1, k, 3, 32, 32))[:, 0]
    assert small.shape[1:] == (k, 3, *size)
    assert flops(model, small) <= 1.05 * flops(deployed, torch.zeros(1, 3, 32, 32))
    assert LowRes(k).parity_shape((3, 32, 32)) == (k, 3, *small_size(32, 32, k))  # without a budget


def test_sizes_that_a_network_does_not_take_are_passed_over() -> None:
    def build(*_: Any, **__: Any) -> nn.Module:
        layers = nn.PixelUnshuffle(2), nn.Conv2d(12, 8, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        return nn.Sequential(*layers, nn.Linear(8, OUTPUTS))

    code, deployed = LowRes(3, flops=0.8), DeployedModel(build())
    code.parity_models((3, 32, 32), deployed, build)
    assert code.parity_shape((3, 32, 32)) == (3, 3, 16, 16)  # not 18 × 18, too many FLOPs, nor 17 × 17
    student_instead = LowRes(3, flops=0.3, otherwise=student)
    student_instead.parity_models((3, 32, 32), deployed, fresh)
    assert "within the budget (code=lowres with code.flops=0.3" in student_instead.remark


@pytest.mark.parametrize("code", [LowRes(3, model=student, flops=1.0), LowRes(3, flops=1.0), Backup(3)])
def test_models_are_handed_over_ready_to_train(code: BatchCode) -> None:
    (model,) = code.parity_models(QUERY, F, fresh)
    assert all(part.training for part in model.modules())


def test_the_widest_model_does_not_depend_on_how_it_was_searched() -> None:
    def build(width: float) -> nn.Module:
        return nn.Linear(4, max(1, round(8 * width)))

    for most in (8, 63, 64, 1000):
        found = widest(build, (4,), most, "the budget")
        assert isinstance(found, nn.Linear)
        assert found.out_features == most // 8
    torch.manual_seed(0)
    first = widest(build, (4,), 100, "the budget").state_dict()["weight"]
    torch.manual_seed(0)
    assert torch.equal(first, nn.Linear(4, 12).weight)


def constant(queries: Tensor) -> Tensor:
    return queries.flatten(1)[:, :OUTPUTS]


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: Backup(4, r=3), "code=backup shares k=4 queries evenly: r must divide k, got 3"),
        (lambda: Replication(3, r=2), "code=replication shares k=3 queries evenly: r must divide k, got 2"),
        (lambda: LowRes(2, r=2), "code=lowres makes one parity query per group: r must be 1, got 2"),
        (lambda: LowRes(2, layout="column"), "code.layout must be grid or row, got column"),
        (lambda: LowRes(2).parity_shape((16000,)), "code=lowres needs queries of shape [c, h, w]"),
        (lambda: LowRes(9).parity_shape((1, 2, 2)), "code=lowres with k=9 needs larger images, got 2×2"),
        (
            lambda: model_of(Backup(2, flops=1.0)),
            "FLOPs for a query, got a parity model that takes",
        ),
        (
            lambda: model_of(Backup(2, model=student, flops=1e-5)),
            "code=backup with code.flops=1e-05 leaves 42 FLOPs for a query, got a model that takes",
        ),
        (
            lambda: Backup(2, model=student, flops=1.0).parity_models(QUERY, DeployedModel(constant), fresh),
            "code=backup with code.flops=1.0 needs a deployed model whose FLOPs can be counted",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_one_sentence(call: Any, sentence: str) -> None:
    with pytest.raises(UnsupportedError) as fault:
        call()
    assert sentence in str(fault.value)


@pytest.mark.parametrize(
    ("network", "shape", "expected"),
    [
        (nn.LSTM(8, 16, batch_first=True), (5, 8), 2 * 5 * 4 * 16 * (8 + 16)),
        (
            nn.TransformerEncoderLayer(16, 2, 32, batch_first=True),
            (5, 16),
            2 * 5 * (4 * 16 * 16 + 2 * 16 * 32) + 4 * 5 * 5 * 16,
        ),
    ],
    ids=["LSTM", "attention"],
)
def test_fused_layers_are_counted_as_the_products_that_they_are(
    network: nn.Module, shape: tuple[int, ...], expected: int
) -> None:
    assert flops(network.eval(), torch.zeros(1, *shape)) == expected


def test_a_budget_and_a_width_exclude_each_other() -> None:
    code = Backup(2, model=partial(student, width=0.5), flops=1.0)
    with pytest.raises(UnsupportedError, match=r"code.model.width must be 1.0, got 0.5"):
        model_of(code)
    numbered = Backup(2, model=LeNet, flops=1.0)  # its width is a number of channels
    with pytest.raises(UnsupportedError, match="needs a model whose width is a factor"):
        model_of(numbered)


def test_batches_keep_the_order_of_queries() -> None:
    queries = torch.arange(12.0).view(1, 6, 2)
    assert BatchEncoder(r=3)(queries)[0, 1].tolist() == [[4.0, 5.0], [6.0, 7.0]]
    assert torch.equal(EachQuery(nn.Identity())(BatchEncoder(r=2)(queries).flatten(0, 1)), queries.view(2, 6))


def transformer(size: int) -> Any:
    return VisionTransformer(size, 2, num_layers=1, num_heads=1, hidden_dim=8, mlp_dim=8, num_classes=OUTPUTS)


def test_a_student_of_another_size_is_asked_for_where_the_deployed_model_takes_one() -> None:
    deployed = DeployedModel(transformer(8))
    with pytest.raises(UnsupportedError, match=r"code=lowres runs a student on queries of shape \[3, 4, 4\].*parity"):
        LowRes(4).parity_models((3, 8, 8), deployed, lambda *_, **__: transformer(8))
