"""What every code keeps to: one interface, one table of them."""

from collections.abc import Callable
from math import prod

import pytest
import torch
from torch import nn

from parmtrain.codes import (
    Attention,
    Backup,
    Berrut,
    BerrutByzantine,
    Checkerboard,
    Code,
    Concat,
    Corrected,
    Default,
    Heads,
    LearnedConvolution,
    LearnedMLP,
    Linear,
    MeanParity,
    NeRCC,
    Replication,
    Stack,
    Sum,
    arrivals,
    decode_each,
    run_coded,
)
from parmtrain.deployed import DeployedModel
from parmtrain.errors import UnsupportedError
from parmtrain.export import to_torchscript
from parmtrain.training.coded_groups import CodedGroups
from parmtrain.training.losses import kl

QUERY, OUTPUTS = (3, 9, 8), 7


def cheap() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 9 * 8, OUTPUTS))


def fresh(shape: tuple[int, ...], heads: int = 1) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(prod(shape), heads * OUTPUTS))


ROWS: list[Callable[[], Code]] = [
    lambda: Sum(2),
    lambda: Sum(5),
    lambda: Linear(4),
    lambda: Linear(3, 3),
    lambda: Linear(2, 4),
    lambda: MeanParity(3),
    lambda: Concat(2),
    lambda: Concat(9),
    lambda: Stack(3),
    lambda: Heads(Concat(2)),
    lambda: Heads(Stack(3)),
    lambda: Heads(Sum(4)),
    lambda: Corrected(Sum(2), OUTPUTS),
    lambda: Attention(Sum(3), OUTPUTS, hidden=8),
    lambda: Checkerboard(3),
    lambda: Corrected(Concat(4), OUTPUTS, hidden=8),
    lambda: Replication(3),
    lambda: Backup(2, cheap),
    lambda: Default(3, OUTPUTS),
    lambda: LearnedMLP(2, QUERY, OUTPUTS),
    lambda: LearnedMLP(3, QUERY, OUTPUTS, r=2),
    lambda: LearnedConvolution(2, QUERY, OUTPUTS),
    lambda: Berrut(2, nodes="A"),
    lambda: Berrut(4, r=3, nodes="B"),
    lambda: Berrut(8, nodes="B"),
    lambda: BerrutByzantine(2),
    lambda: BerrutByzantine(3, errors=2, late=2),
    lambda: NeRCC(2),
    lambda: NeRCC(5, r=2),
]


def name(code: Code) -> str:
    return f"{code.name}-k{code.k}-r{code.r}"


ROW_IDS = [name(row()) for row in ROWS]
every_code = pytest.mark.parametrize("row", ROWS, ids=ROW_IDS)


def some_late(code: Code, groups: int) -> torch.Tensor:
    late = arrivals(code.n, code.stragglers)
    return late[torch.arange(groups) % len(late)]


@every_code
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_any_batch_of_either_precision_goes_through(row: Callable[[], Code], dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    code = row().to(dtype)
    deployed = DeployedModel(cheap().to(dtype))
    models = code.parity_models(QUERY, deployed, fresh)
    for groups in (3, 1, 0):
        queries = torch.rand(groups, code.k, *QUERY, dtype=dtype)
        coded = code.encode(queries)
        assert coded.shape == (groups, code.coded, *code.parity_shape(QUERY))
        assert coded.dtype == dtype
        models = [model.to(dtype) for model in models]
        parity = run_coded(models, coded) if groups else coded.new_empty(0, code.coded, code.heads * OUTPUTS)
        own = deployed(queries.flatten(0, 1)).view(groups, code.k, OUTPUTS)
        outputs = code.gather(own, parity)
        assert outputs.shape == (groups, code.n, code.heads * OUTPUTS)
        arrived = some_late(code, groups)
        decoded = code.decode(outputs.masked_fill(~arrived.unsqueeze(2), torch.nan), arrived)
        assert decoded.shape == (groups, code.k, OUTPUTS)
        assert decoded.dtype == dtype
        assert decoded.isfinite().all()


@every_code
def test_what_arrived_passes_unchanged_and_what_did_not_is_never_read(row: Callable[[], Code]) -> None:
    code = row()
    outputs = torch.randn(2, code.n, code.heads * OUTPUTS, generator=torch.Generator().manual_seed(1))
    cases = torch.cat([arrivals(code.n, late, most=20) for late in range(code.n + 1)])
    decoded = decode_each(code.decode, outputs, cases)
    others = torch.where(torch.rand(2, code.n, 1) < 2, outputs + 100, outputs)
    for case, arrived in enumerate(cases):
        junk = torch.where(arrived[:, None], outputs, others)
        again = code.decode(junk, arrived.repeat(2, 1))
        assert torch.allclose(again, decoded[:, case], atol=1e-5, equal_nan=True)
        if code.systematic:
            own = arrived[: code.k]
            assert torch.equal(decoded[:, case, own], outputs[:, : code.k, :OUTPUTS][:, own])


@every_code
def test_nothing_is_unrecoverable_up_to_the_stragglers_that_a_code_is_for(row: Callable[[], Code]) -> None:
    code = row()
    outputs = torch.randn(2, code.n, code.heads * OUTPUTS)
    for late in range(code.stragglers + 1):
        assert decode_each(code.decode, outputs, arrivals(code.n, late)).isfinite().all()


@pytest.mark.parametrize(
    ("code", "late"),
    [
        (Sum(3), [0, 1]),
        (Sum(3), [0, 3]),
        (Stack(2), [1, 2]),
        (MeanParity(2), [0, 1]),
        (Linear(4, 2), [0, 1, 2]),
        (Linear(4, 2), [3, 4, 5]),
        (Heads(Concat(4)), [1, 2, 4]),
        (Corrected(Sum(3), OUTPUTS), [0, 1]),
        (Corrected(Sum(3), OUTPUTS), [0, 3]),
        (Replication(2), [0, 2]),
        (LearnedMLP(2, (1, 2, 2), OUTPUTS), [0, 1]),
        (NeRCC(3), [0, 1]),
        (Berrut(2), [0, 1, 2]),
    ],
    ids=lambda value: name(value) if isinstance(value, Code) else str(value),
)
def test_what_cannot_be_rebuilt_is_nan_and_the_rest_is_kept(code: Code, late: list[int]) -> None:
    outputs, arrived = torch.randn(1, code.n, code.heads * OUTPUTS), torch.ones(1, code.n, dtype=torch.bool)
    arrived[0, late] = False
    decoded = code.decode(outputs, arrived)
    for i in range(code.k):
        if code.systematic and i not in late:
            assert torch.equal(decoded[0, i], outputs[0, i, :OUTPUTS])
        else:
            assert decoded[0, i].isnan().all()


@every_code
def test_encoder_and_decoder_are_torchscript_for_any_batch(row: Callable[[], Code]) -> None:
    code = row().eval()
    queries, outputs = torch.rand(2, code.k, *QUERY), torch.randn(2, code.n, code.heads * OUTPUTS)
    encoder = to_torchscript(code.encoder, (queries,))
    decoder = to_torchscript(code.decoder, (outputs, some_late(code, 2)))
    assert isinstance(encoder, torch.jit.ScriptModule)
    for groups in (0, 1, 4):
        more = torch.rand(groups, code.k, *QUERY)
        assert torch.allclose(encoder(more), code.encode(more), atol=1e-6)
        more_outputs, arrived = torch.randn(groups, code.n, code.heads * OUTPUTS), torch.rand(groups, code.n) < 0.5
        decoded = decoder(more_outputs, arrived)
        assert torch.allclose(decoded, code.decode(more_outputs, arrived), atol=1e-5, equal_nan=True)


@every_code
def test_costs_add_up(row: Callable[[], Code]) -> None:
    code = row()
    cost = code.cost(QUERY)
    assert cost["extra_workers"] == code.r / code.k
    assert cost["parity_bytes"] == (code.k if code.name.startswith("stack") else code.r)


@every_code
def test_a_loss_reaches_what_is_trained_and_never_the_deployed_model(row: Callable[[], Code]) -> None:
    torch.manual_seed(0)
    code, network = row(), cheap()
    deployed = DeployedModel(network)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    models = nn.ModuleList(code.parity_models(QUERY, deployed, fresh))
    trained = [*code.parameters(), *models.parameters()]
    if not trained:
        return
    queries = torch.rand(4, code.k, *QUERY)
    predictions = deployed(queries.flatten(0, 1)).unflatten(0, (4, code.k))
    groups = CodedGroups(
        code, predictions, run_coded(list(models), code.encode(queries)), torch.zeros(4, code.k).long()
    )
    optimizer = torch.optim.SGD(trained, lr=0.1)
    kl(groups).backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in trained)
    for part in (code.encoder, code.decoder, *models):
        if list(part.parameters()):
            assert any(parameter.grad is not None and parameter.grad.any() for parameter in part.parameters())
    optimizer.step()
    assert all(parameter.grad is None for parameter in network.parameters())
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_cases_of_arrival_are_all_there_are_or_a_seeded_draw_without_repeats() -> None:
    every = arrivals(6, 3)
    assert len(every) == len({tuple(row.tolist()) for row in every}) == 20
    assert (every.sum(1) == 3).all()
    drawn = arrivals(30, 5, most=50, seed=1)
    assert len({tuple(row.tolist()) for row in drawn}) == 50
    assert (drawn.sum(1) == 25).all()
    assert torch.equal(drawn, arrivals(30, 5, most=50, seed=1))
    assert not torch.equal(drawn, arrivals(30, 5, most=50, seed=2))


def test_a_linear_code_is_trained_for_every_case_in_which_nothing_is_to_spare() -> None:
    code = Linear(4, 2)
    missing, parity = (~code.erasures[:, :4]).sum(1), code.erasures[:, 4:].sum(1)
    assert torch.equal(missing, parity)
    assert len(code.erasures) == 4 * 2 + 6
    assert len(Linear(10, 3).erasures) == 128


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda: Sum(1), "k=1: a coding group has 2 queries or more"),
        (lambda: Linear(0), "k=0: a coding group has 2 queries or more"),
        (lambda: Concat(-2), "k=-2: a coding group has 2 queries or more"),
        (lambda: Berrut(1), "k=1: a coding group has 2 queries or more"),
        (lambda: NeRCC(1), "k=1: a coding group has 2 queries or more"),
        (lambda: BerrutByzantine(1), "k=1: a coding group has 2 queries or more"),
        (lambda: Default(1, 3), "k=1: a coding group has 2 queries or more"),
        (lambda: Sum(2, 2), "r=2: code=sum makes one parity query a group; r=1 is right"),
        (lambda: Concat(2, 0), "r=0: code=concat makes one parity query a group; r=1 is right"),
        (lambda: Stack(2, 3), "r=3: code=stack makes one parity query a group; r=1 is right"),
        (lambda: MeanParity(2, 2), "r=2: code=mean_parity makes one parity query a group; r=1 is right"),
        (lambda: Linear(2, 0), "r=0: a coding group has 1 extra worker or more"),
        (lambda: Berrut(2, -1), "r=-1: a coding group has 1 extra worker or more"),
        (lambda: NeRCC(2, 0), "r=0: a coding group has 1 extra worker or more"),
        (lambda: LearnedMLP(2, QUERY, OUTPUTS, r=0), "r=0: a coding group has 1 extra worker or more"),
        (
            lambda: Replication(3, 1),
            "r=1: code=replication sends every query twice, to k=3 extra workers; r=3 is right",
        ),
        (lambda: Backup(2, cheap, 1), "r=1: code=backup sends every query twice, to k=2 extra workers; r=2 is right"),
        (lambda: Default(2, 3, r=1), "r=1: code=default has no extra worker; r=0 is right"),
        (lambda: Heads(Linear(2, 2)), "r=2: code=linear_heads reads one parity output; r=1 is right"),
        (lambda: Corrected(Linear(3, 2), 4), "r=2: code=linear_corrected corrects what one parity output gives; r=1"),
        (lambda: Berrut(2, nodes="C"), "code.nodes=C: there are two choices of nodes, A and B"),
        (
            lambda: BerrutByzantine(2, r=1),
            "r=1: code=berrut_byzantine has 2k+2·errors+late−1 = 6 workers for k=2; r=4 is right",
        ),
        (
            lambda: BerrutByzantine(2, errors=0),
            "code.errors=0 code.late=1: code=berrut_byzantine takes 1 error or more",
        ),
        (lambda: NeRCC(40, r=4), "r=4: code=nercc keeps a matrix for each case of up to r late workers among 44"),
        (
            lambda: LearnedMLP(4, (3, 224, 224), 2),
            "k=4: code=learned_mlp has 453.2 billion weights for queries of shape [3, 224, 224]",
        ),
        (lambda: LearnedConvolution(2, (9,), 2), "code=learned_convolution encodes images [c, h, w] and cannot take"),
    ],
)
def test_what_a_code_cannot_be_is_refused_with_a_sentence(build: Callable[[], Code], sentence: str) -> None:
    with pytest.raises(UnsupportedError) as refused:
        build()
    assert str(refused.value).startswith(sentence)


@pytest.mark.parametrize(
    "row", [row for row in ROWS if row().name not in ("sum", "linear", "concat", "checkerboard", "stack")]
)
def test_a_code_without_a_target_says_which_losses_do(row: Callable[[], Code]) -> None:
    code = row()
    if isinstance(code, MeanParity | Backup | Heads | Corrected):
        return
    with pytest.raises(UnsupportedError, match=rf"^code={code.name} has no target .* loss=kl"):
        code.target(torch.rand(1, code.k, 2))
