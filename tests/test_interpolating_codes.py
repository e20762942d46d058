"""Berrut's and the spline codes: what they reproduce exactly, and workers that answer wrongly."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import FloaterHormannInterpolator, make_smoothing_spline

from parmtrain.codes import Berrut, BerrutByzantine, Code, NeRCC, arrivals, decode_each
from parmtrain.codes.berrut import berrut_weights, query_nodes, worker_nodes
from parmtrain.codes.splines import by_reinsch, smoothing_matrix
from parmtrain.deployed import DeployedModel
from parmtrain.metrics import of_classes
from parmtrain.metrics.functional import agree

nodes = st.sampled_from(["A", "B"])


@pytest.mark.slow
@given(k=st.integers(2, 12), r=st.integers(1, 6), nodes=nodes, data=st.data())
@settings(deadline=None, max_examples=80)
def test_berrut_reproduces_constants_whoever_arrives(k: int, r: int, nodes: str, data: st.DataObject) -> None:
    code = Berrut(k, r, nodes)
    queries = torch.rand(1, 1, 2, 3, dtype=torch.float64).expand(2, k, 2, 3)
    coded = code.encode(queries)
    assert torch.allclose(coded, queries[:, :1].expand_as(coded), atol=1e-5)
    late = data.draw(st.sets(st.integers(0, k + r - 1), max_size=k + r - 1))
    arrived = torch.ones(2, k + r, dtype=torch.bool)
    arrived[:, list(late)] = False
    decoded = code.decode(coded.flatten(2).masked_fill(~arrived.unsqueeze(2), torch.nan), arrived)
    assert torch.allclose(decoded, queries.flatten(2), atol=1e-5)


@given(k=st.integers(2, 12), r=st.integers(1, 6), nodes=nodes, seed=st.integers(0, 99))
@settings(deadline=None, max_examples=60)
def test_berrut_weights_equal_scipys_interpolant(k: int, r: int, nodes: str, seed: int) -> None:
    workers, queries = worker_nodes(k + r, nodes), query_nodes(k)
    values = np.random.default_rng(seed).normal(size=k + r)
    ascending = np.argsort(workers.numpy())
    theirs = FloaterHormannInterpolator(workers.numpy()[ascending], values[ascending], d=0)
    assert np.allclose(berrut_weights(queries, workers).numpy() @ values, theirs(queries.numpy()), atol=1e-9)


@given(k=st.integers(2, 12), r=st.integers(1, 24), nodes=nodes)
@settings(deadline=None, max_examples=80)
def test_berrut_is_exact_where_a_worker_sits_on_a_query(k: int, r: int, nodes: str) -> None:
    code = Berrut(k, r, nodes)
    at_query = (query_nodes(k)[:, None] - worker_nodes(k + r, nodes)).abs() < 1e-9
    queries = torch.randn(3, k, 5)
    coded = code.encode(queries)
    outputs = coded.tanh()  # any function
    decoded = code.decode(outputs, torch.ones(3, k + r, dtype=torch.bool))
    for i, j in at_query.nonzero().tolist():
        assert torch.allclose(coded[:, j], queries[:, i], atol=1e-6)
        assert torch.equal(decoded[:, i], outputs[:, j])


@pytest.mark.parametrize(("k", "r", "nodes"), [(2, 3, "A"), (2, 2, "B"), (3, 4, "A")])
def test_nodes_do_clash_where_they_are_said_to(k: int, r: int, nodes: str) -> None:
    assert ((query_nodes(k)[:, None] - worker_nodes(k + r, nodes)).abs() < 1e-9).any()


def test_berrut_is_the_sum_that_its_inventor_wrote() -> None:
    code = Berrut(4, 2, "B")
    outputs, late = torch.randn(1, 6, 2, dtype=torch.float64), {1, 4}
    arrived = torch.tensor([[i not in late for i in range(6)]])
    workers, there = worker_nodes(6, "B").tolist(), [i for i in range(6) if i not in late]
    decoded = code.decode(outputs, arrived)[0]
    for j, a in enumerate(query_nodes(4).tolist()):
        terms = [(-1) ** rank / (a - workers[i]) for rank, i in enumerate(there)]
        expected = sum(term * outputs[0, i] for term, i in zip(terms, there, strict=True)) / sum(terms)
        assert torch.allclose(decoded[j], expected)


@given(
    k=st.integers(2, 5),
    errors=st.integers(1, 2),
    nodes=nodes,
    size=st.sampled_from([10.0, 1e3, torch.nan, torch.inf]),
    data=st.data(),
)
@settings(deadline=None, max_examples=60)
def test_wrong_answers_are_found_and_do_not_move_the_result(
    k: int, errors: int, nodes: str, size: float, data: st.DataObject
) -> None:
    code = BerrutByzantine(k, errors=errors, nodes=nodes)
    random = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    queries = torch.randn(1, k, 6, generator=random, dtype=torch.float64)
    outputs = code.encode(queries) @ torch.randn(6, 8, generator=random, dtype=torch.float64)
    chosen = data.draw(st.permutations(range(code.n)))
    late, wrong = chosen[:1], chosen[1 : 1 + errors]
    arrived = torch.ones(1, code.n, dtype=torch.bool)
    arrived[0, late] = False
    without = arrived.clone()
    without[0, wrong] = False
    spoilt = outputs.clone()
    spoilt[0, wrong] = torch.randn(errors, 8, generator=random, dtype=torch.float64) * size
    plain = Berrut(k, code.r, nodes)
    assert torch.allclose(code.decode(spoilt, arrived), plain.decode(outputs, without), atol=1e-6)


@pytest.mark.slow
@given(
    points=st.integers(1, 12),
    smoothness=st.sampled_from([0.0, 1e-6, 1e-3, 0.1, 10.0]),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=80)
def test_spline_matrices_equal_scipys_where_scipy_can(points: int, smoothness: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    knots = np.sort(np.arange(points) + random.uniform(-0.3, 0.3, points))
    values = random.normal(size=points)
    at = random.uniform(knots[0], knots[-1], 9)
    fitted = by_reinsch(knots, at, smoothness) @ values
    if points >= 5:
        assert np.allclose(fitted, make_smoothing_spline(knots, values, lam=smoothness)(at), atol=1e-8)
    everywhere = np.concatenate([at, [knots[0] - 2, knots[-1] + 3]])
    assert np.allclose(
        smoothing_matrix(knots, everywhere, smoothness), by_reinsch(knots, everywhere, smoothness), atol=1e-8
    )
    shuffled = random.permutation(points)
    assert np.allclose(smoothing_matrix(knots[shuffled], at, smoothness) @ values[shuffled], fitted, atol=1e-8)


@given(points=st.integers(2, 9), smoothness=st.sampled_from([0.0, 1e-3, 1.0]))
@settings(deadline=None, max_examples=40)
def test_splines_keep_straight_lines_and_go_on_straight(points: int, smoothness: float) -> None:
    knots = np.cos(np.arange(points) * np.pi / points)
    at = np.linspace(-3, 3, 13)
    assert np.allclose(smoothing_matrix(knots, at, smoothness) @ (2 * knots + 1), 2 * at + 1)
    values = np.random.default_rng(0).normal(size=points)
    outside = smoothing_matrix(knots, np.array([2.0, 3.0, 4.0]), smoothness) @ values
    assert outside[2] - outside[1] == pytest.approx(outside[1] - outside[0])


def test_an_unsmoothed_spline_goes_through_its_values() -> None:
    knots = np.array([0.0, 1.0, 1.5, 4.0])
    assert np.allclose(smoothing_matrix(knots, knots, 0.0), np.eye(4))


def test_a_very_smooth_spline_is_the_least_squares_line() -> None:
    knots, values = np.array([0.0, 1.0, 1.5, 4.0]), np.array([1.0, -1.0, 2.0, 5.0])
    line = np.polynomial.Polynomial.fit(knots, values, 1)
    assert np.allclose(smoothing_matrix(knots, knots, 1e9) @ values, line(knots), atol=1e-5)


@pytest.mark.slow
def test_nercc_chooses_what_serves_best_on_the_queries_it_is_given() -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(6, 30), torch.nn.Tanh(), torch.nn.Linear(30, 4))
    deployed, queries = DeployedModel(network), torch.randn(200, 5, 6)
    code = NeRCC(5, r=1, smoothness=(0.0, 1e-3, 1.0))
    code.fit(deployed, queries, torch.zeros(200, 5).long(), of_classes(4))
    own = deployed(queries)

    def agreement(chosen: Code) -> float:
        outputs = deployed(chosen.encode(queries))
        decoded = decode_each(chosen.decode, outputs, arrivals(6, 1))
        return agree(decoded, own.unsqueeze(1).expand_as(decoded)).mean().item()

    fixed = [NeRCC(5, smoothness=(value,)) for value in (0.0, 1e-3, 1.0)]
    assert agreement(code) >= max(map(agreement, fixed))
    assert set(code.chosen) <= {0.0, 1e-3, 1.0}
    again = NeRCC(5, r=1, smoothness=(0.0, 1e-3, 1.0))
    again.fit(deployed, queries, torch.zeros(200, 5).long(), of_classes(4))
    assert torch.equal(again.decoder.matrices, code.decoder.matrices)  # type: ignore[arg-type]
