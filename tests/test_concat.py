"""The concatenation code shows every query in a cell of its own."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from parmtrain.codes import Checkerboard, Concat
from parmtrain.errors import UnsupportedError

groups = st.integers(2, 16)
images = st.tuples(st.integers(1, 4), st.integers(5, 13), st.integers(5, 13))


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(k=groups, shape=images, seed=st.integers(0, 99))
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


@given(k=st.integers(2, 8), shape=images)
@settings(deadline=None, max_examples=40)
def test_a_checkerboard_shows_each_query_on_its_own_pixels_at_their_places(k: int, shape: tuple[int, int, int]) -> None:
    code = Checkerboard(k)
    queries = torch.rand(3, k, *shape)
    assert code.parity_shape(shape) == shape
    parity = code.encode(queries)
    owner = (torch.arange(shape[1])[:, None] + torch.arange(shape[2])) % k
    for i in range(k):
        assert torch.equal(parity[:, 0, :, owner == i], queries[:, i][:, :, owner == i])


@pytest.mark.parametrize("shape", [(16000,), (1, 2, 2)])
def test_a_checkerboard_refuses_what_it_cannot_deal_out(shape: tuple[int, ...]) -> None:
    with pytest.raises(UnsupportedError, match="checkerboard"):
        Checkerboard(4).parity_shape(shape)


@given(k=groups, shape=images)
@settings(deadline=None, max_examples=40)
def test_concat_cells_are_of_one_size_and_keep_means(k: int, shape: tuple[int, int, int]) -> None:
    levels = torch.arange(1.0, k + 1)
    parity = Concat(k).encode(levels.view(1, k, 1, 1, 1).expand(1, k, *shape))
    rows, columns = Concat(k).grid
    cell = shape[0] * (shape[1] // rows) * (shape[2] // columns)
    assert [int((parity == level).sum()) for level in levels] == [cell] * k
    assert int((parity == 0).sum()) == parity.numel() - k * cell


@pytest.mark.parametrize(("shape", "rows", "columns"), [((1, 28, 28), 2, 2), ((3, 32, 32), 2, 2), ((1, 8, 12), 2, 2)])
def test_concat_averages_pixels_where_the_grid_divides_evenly(
    shape: tuple[int, int, int], rows: int, columns: int
) -> None:
    queries = torch.rand(2, rows * columns, *shape)
    height, width = shape[1] // rows, shape[2] // columns
    pooled = queries.view(2, rows, columns, shape[0], height, rows, width, columns).mean((5, 7))
    expected = pooled.permute(0, 3, 1, 4, 2, 5).reshape(2, 1, *shape)
    assert torch.allclose(Concat(rows * columns).encode(queries), expected, atol=1e-6)


def test_grids_are_the_smallest_that_are_near_a_square() -> None:
    for k in range(2, 40):
        rows, columns = Concat(k).grid
        assert rows <= columns <= 3 * rows
        smaller = [(r, c) for r in range(1, 8) for c in range(r, 3 * r + 1) if k <= r * c < rows * columns]
        assert not smaller


def test_concat_refuses_what_is_no_image_or_too_small() -> None:
    with pytest.raises(UnsupportedError, match=r"needs images of 2×2 pixels or more, got 1×5"):
        Concat(4).parity_shape((1, 1, 5))
    with pytest.raises(UnsupportedError, match=r"needs queries of shape \[c, h, w\] .*, got \[16000\]"):
        Concat(4).parity_shape((16000,))


@pytest.mark.parametrize("k", [2, 5, 7])
def test_a_row_keeps_the_height_and_takes_any_k(k: int) -> None:
    levels = torch.arange(1.0, k + 1)
    parity = Concat(k, layout="row").encode(levels.view(1, k, 1, 1, 1).expand(1, k, 1, 40, 101))
    assert parity.shape == (1, 1, 1, 40, 101)
    assert torch.allclose(parity[0, 0, 0], parity[0, 0, 0, :1].expand(40, -1))
    assert parity[0, 0, 0, 0].tolist() == [*levels.repeat_interleave(101 // k).tolist(), *[0.0] * (101 % k)]
    with pytest.raises(UnsupportedError, match=r"code\.layout must be grid or row, got spiral"):
        Concat(k, layout="spiral")
