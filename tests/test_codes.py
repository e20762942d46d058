"""Properties that every code has, on any shape, at any position."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from parmtrain.codes import Code, Concat, Sum, reconstruct_each
from parmtrain.codes.layout import fits
from parmtrain.errors import UnsupportedError
from parmtrain.export import to_torchscript

shapes = st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple)
grids = st.integers(2, 16).filter(fits)
images = st.tuples(st.integers(1, 4), st.integers(5, 13), st.integers(5, 13))


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(k=st.integers(2, 6), shape=shapes, groups=st.integers(0, 4), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=40)
def test_sum_recovers_a_linear_model_exactly(k: int, shape: tuple[int, ...], groups: int, seed: int) -> None:
    weight = torch.randn(int(torch.tensor(shape).prod()), 3, generator=generator(seed), dtype=torch.float64)
    queries = torch.randn(groups, k, *shape, generator=generator(seed + 1), dtype=torch.float64)

    def deployed(batch: torch.Tensor) -> torch.Tensor:
        return batch.flatten(2) @ weight

    code = Sum(k)
    predictions, parity = deployed(queries), deployed(code.encode(queries))
    assert torch.allclose(parity, code.target(predictions))
    reconstructed = reconstruct_each(code.decode, torch.cat([predictions, parity], 1), k)
    assert torch.allclose(reconstructed, predictions)


@given(k=grids, shape=images, seed=st.integers(0, 99))
@settings(deadline=None, max_examples=40)
def test_concat_shows_each_query_in_a_cell_of_its_own(k: int, shape: tuple[int, int, int], seed: int) -> None:
    code = Concat(k)
    queries = torch.rand(3, k, *shape, generator=generator(seed))
    assert code.parity_shape(shape) == shape
    parity = code.encode(queries)
    assert parity.shape == (3, 1, *shape)
    for i in range(k):
        darkened = queries.clone()
        darkened[:, i] -= 1
        difference = parity - code.encode(darkened)
        cell = difference[0, 0, 0] > 0.5
        rows, columns = cell.any(1).nonzero().flatten(), cell.any(0).nonzero().flatten()
        assert cell.sum() == len(rows) * len(columns) > 0
        assert torch.allclose(difference, cell.float().expand_as(difference), atol=1e-5)


@given(k=grids, shape=images)
@settings(deadline=None, max_examples=40)
def test_concat_cells_tile_the_image_and_keep_means(k: int, shape: tuple[int, int, int]) -> None:
    levels = torch.arange(1.0, k + 1)
    parity = Concat(k).encode(levels.view(1, k, 1, 1, 1).expand(1, k, *shape))
    assert set(parity.flatten().tolist()) == set(levels.tolist())


@pytest.mark.parametrize(("shape", "rows", "columns"), [((1, 28, 28), 2, 2), ((3, 32, 32), 2, 2), ((1, 8, 12), 2, 2)])
def test_concat_averages_pixels_where_the_grid_divides_evenly(
    shape: tuple[int, int, int], rows: int, columns: int
) -> None:
    queries = torch.rand(2, rows * columns, *shape)
    height, width = shape[1] // rows, shape[2] // columns
    pooled = queries.view(2, rows, columns, shape[0], height, rows, width, columns).mean((5, 7))
    expected = pooled.permute(0, 3, 1, 4, 2, 5).reshape(2, 1, *shape)
    assert torch.allclose(Concat(rows * columns).encode(queries), expected, atol=1e-6)


@given(
    k=st.integers(2, 5),
    missing=st.sets(st.integers(0, 5)),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=40)
def test_decoding_reads_nothing_that_did_not_arrive(k: int, missing: set[int], seed: int) -> None:
    missing = {i for i in missing if i <= k}
    predictions = torch.randn(1, k, 4, generator=generator(seed))
    outputs = torch.cat([predictions, predictions.sum(1, keepdim=True)], 1)
    arrived = torch.tensor([[i not in missing for i in range(k + 1)]])
    outputs[~arrived] = torch.nan
    decoded = Sum(k).decode(outputs, arrived)
    lost = sorted(missing - {k})
    solvable = not lost or (len(lost) == 1 and k not in missing)
    for i in range(k):
        if i in lost and not solvable:
            assert decoded[0, i].isnan().all()
        else:
            assert torch.allclose(decoded[0, i], predictions[0, i], atol=1e-5)
        if i not in lost:
            assert torch.equal(decoded[0, i], predictions[0, i])


def test_gradients_reach_the_parity_output_through_an_erasure() -> None:
    predictions, parity = torch.randn(3, 2, 4), torch.randn(3, 1, 4, requires_grad=True)
    reconstruct_each(Sum(2).decode, torch.cat([predictions, parity], 1), 2).square().sum().backward()
    assert parity.grad is not None
    assert parity.grad.isfinite().all()
    assert parity.grad.abs().min() > 0


@pytest.mark.parametrize(
    "code", [Sum(2), Sum(5), Concat(2), Concat(3), Concat(9)], ids=lambda code: f"{code.name}{code.k}"
)
def test_codes_are_scriptable_for_any_batch_and_leave_shapes_open(code: Code) -> None:
    queries, outputs = torch.rand(2, code.k, 3, 11, 10), torch.rand(2, code.n, 7)
    arrived = torch.rand(2, code.n) < 0.5
    encoder = torch.jit.script(code.encoder)
    decoder = to_torchscript(code.decoder, (outputs, arrived))
    for groups in (0, 1, 4):
        more = torch.rand(groups, code.k, 3, 9, 13)
        assert torch.allclose(encoder(more), code.encode(more))
        more_outputs, more_arrived = torch.rand(groups, code.n, 2), torch.rand(groups, code.n) < 0.5
        decoded = decoder(more_outputs, more_arrived)
        assert torch.allclose(decoded, code.decode(more_outputs, more_arrived), equal_nan=True)
    assert isinstance(encoder, nn.Module)
    assert encoder(queries).shape == code.encode(queries).shape


@pytest.mark.parametrize("code", [Sum, Concat])
@pytest.mark.parametrize(("k", "r"), [(1, 1), (0, 1), (-2, 1), (2, 0), (2, 2), (2, -1)])
def test_impossible_k_and_r_are_refused(code: type[Code], k: int, r: int) -> None:
    with pytest.raises(UnsupportedError, match=f"^k={k}:" if k < 2 else f"^r={r}:"):
        code(k, r)


@pytest.mark.parametrize("k", [5, 7, 11, 13, 14])
def test_concat_refuses_k_without_a_grid_and_names_others(k: int) -> None:
    with pytest.raises(UnsupportedError, match=rf"^k={k}: code=concat .* code=sum takes any k"):
        Concat(k)


def test_concat_refuses_what_is_no_image_or_too_small() -> None:
    with pytest.raises(UnsupportedError, match=r"needs images of 2×2 pixels or more; these have 1×5"):
        Concat(4).parity_shape((1, 1, 5))
    with pytest.raises(UnsupportedError, match=r"cannot take a query of shape \[16000\]"):
        Concat(4).parity_shape((16000,))


def test_cost_of_the_classical_codes() -> None:
    assert Sum(4).cost((3, 32, 32)) == {"parity_bytes": 1.0, "extra_workers": 0.25}
    assert Concat(2).cost((3, 32, 32)) == {"parity_bytes": 1.0, "extra_workers": 0.5}
