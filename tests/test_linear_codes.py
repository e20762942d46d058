"""Codes that add queries recover a linear deployed model's predictions exactly, whoever is late."""

import copy
from math import prod

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from parmtrain.codes import Code, Linear, MeanParity, Stack, Sum, arrivals, decode_each
from parmtrain.codes.linear import coefficients
from parmtrain.errors import UnsupportedError
from parmtrain.models import MLP, LeNet, resnet18
from parmtrain.widening import widen_inputs

shapes = st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple)


def linear_outputs(code: Code, groups: int, shape: tuple[int, ...], seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return predictions ``[g, k, 3]`` of a linear deployed model and worker outputs ``[g, n, 3]``."""
    random = torch.Generator().manual_seed(seed)
    weight = torch.randn(prod(shape), 3, generator=random, dtype=torch.float64)
    queries = torch.randn(groups, code.k, *shape, generator=random, dtype=torch.float64)
    predictions = queries.flatten(2) @ weight
    return predictions, torch.cat([predictions, code.encode(queries).flatten(2) @ weight], dim=1)


@pytest.mark.slow
@given(data=st.data(), k=st.integers(2, 8), r=st.integers(1, 4), shape=shapes, groups=st.integers(0, 3))
@settings(deadline=None, max_examples=80)
def test_linear_recovers_a_linear_model_exactly(
    data: st.DataObject, k: int, r: int, shape: tuple[int, ...], groups: int
) -> None:
    code = Linear(k, r)
    predictions, outputs = linear_outputs(code, groups, shape, seed=data.draw(st.integers(0, 99)))
    assert torch.allclose(outputs[:, k:], code.target(predictions))
    late = data.draw(st.sets(st.integers(0, k + r - 1), max_size=r))
    arrived = torch.ones(groups, k + r, dtype=torch.bool)
    arrived[:, list(late)] = False
    decoded = code.decode(outputs.masked_fill(~arrived.unsqueeze(2), torch.nan), arrived)
    assert torch.allclose(decoded, predictions, atol=1e-8)


@pytest.mark.slow
@given(k=st.integers(2, 6), shape=shapes, groups=st.integers(0, 4), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=40)
def test_sum_and_mean_are_linear_codes_with_one_row(k: int, shape: tuple[int, ...], groups: int, seed: int) -> None:
    for code in (Sum(k), MeanParity(k), Linear(k, 1)):
        predictions, outputs = linear_outputs(code, groups, shape, seed)
        decoded = decode_each(code.decode, outputs, arrivals(k + 1, 1))
        wanted = predictions.unsqueeze(1).expand_as(decoded)
        assert torch.allclose(decoded, wanted, atol=1e-5)  # 1/k is of single precision
    assert torch.allclose(Sum(k).encode(predictions), predictions.sum(1, keepdim=True))
    assert torch.equal(Linear(k, 1).coefficients, Sum(k).coefficients)


@pytest.mark.parametrize("k", range(2, 13))
@pytest.mark.parametrize("r", range(1, 5))
def test_every_square_submatrix_of_the_coefficients_is_invertible(k: int, r: int) -> None:
    matrix = coefficients(k, r).double()
    assert torch.equal(matrix[0], torch.ones(k, dtype=torch.float64))
    assert torch.allclose(matrix.square().mean(1), torch.ones(r, dtype=torch.float64), atol=1e-6)
    for size in range(1, min(k, r) + 1):
        for rows in ~arrivals(r, size):
            squares = torch.stack([matrix[rows][:, columns] for columns in ~arrivals(k, size)])
            assert torch.linalg.svdvals(squares)[:, -1].min() > 5e-4


def test_two_missing_are_solved_with_an_error_enlarged_by_no_more_than_is_said() -> None:
    matrix = coefficients(4, 2).double()
    pairs = torch.stack([matrix[:, columns] for columns in ~arrivals(4, 2)])
    enlarged = 1 / torch.linalg.svdvals(pairs)[:, -1]
    assert max(enlarged.max(), (1 / matrix.abs()).max()) < 2.3


def test_spare_parity_outputs_are_averaged() -> None:
    code = Linear(3, 2)
    predictions, outputs = linear_outputs(code, 500, (4,), seed=0)
    noisy = outputs.clone()
    noisy[:, 3:] += torch.randn(500, 2, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def error(late: list[int]) -> float:
        arrived = torch.ones(500, 5, dtype=torch.bool)
        arrived[:, late] = False
        return (code.decode(noisy, arrived)[:, 0] - predictions[:, 0]).square().mean().item()

    assert error([0]) < min(error([0, 3]), error([0, 4]))


@pytest.mark.parametrize("build", [MLP, LeNet, resnet18])
@pytest.mark.parametrize("k", [2, 3])
def test_a_widened_model_begins_as_the_model_on_the_sum(build: type[nn.Module], k: int) -> None:
    torch.manual_seed(0)
    model = build((3, 12, 12), 5).eval()
    queries = torch.rand(4, k, 3, 12, 12)
    stacked, summed = Stack(k).encode(queries)[:, 0], queries.sum(1)
    wider = widen_inputs(copy.deepcopy(model), k, torch.rand(2, 3, 12, 12))
    assert torch.allclose(wider(stacked), model(summed), atol=1e-4)
    first = next(parameter for parameter in wider.parameters())
    assert first.shape[1] == k * next(iter(model.parameters())).shape[1]


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3)),
        nn.Sequential(nn.Flatten(2), nn.Linear(64, 4)),
        nn.Conv2d(4, 4, 3, groups=2),
        nn.Sequential(nn.ReLU()),
    ],
)
def test_stack_refuses_a_first_layer_that_it_cannot_widen(model: nn.Module) -> None:
    with pytest.raises(UnsupportedError, match="code=stack needs a first layer that is linear or a convolution"):
        widen_inputs(model, 2, torch.rand(2, 4, 8, 8))


def test_a_stacked_vector_is_a_longer_vector() -> None:
    assert Stack(3).parity_shape((16000,)) == (48000,)
    assert Stack(3).encode(torch.rand(2, 3, 16000)).shape == (2, 1, 48000)


def test_a_linear_code_is_trained_for_every_case_in_which_nothing_is_to_spare() -> None:
    code = Linear(4, 2)
    missing, parity = (~code.erasures[:, :4]).sum(1), code.erasures[:, 4:].sum(1)
    assert torch.equal(missing, parity)
    assert len(code.erasures) == 4 * 2 + 6
    assert len(Linear(10, 3).erasures) == 128
