"""Every configured code keeps to the same contract, for each k and r of a few that it takes."""

import copy
import json
from functools import cache
from itertools import product
from math import prod
from typing import Any

import pytest
import torch
from omegaconf import DictConfig
from torch import nn

from parmtrain.bundle.torchscript import to_torchscript
from parmtrain.codes import (
    Code,
    Concat,
    Default,
    Heads,
    Replication,
    Scheme,
    Sum,
    arrivals,
    decode_each,
    run_coded,
    scheme_of,
)
from parmtrain.codes.scheme import mask
from parmtrain.config import assemble
from parmtrain.config.compose import compose
from parmtrain.config.sources import options
from parmtrain.deployed import DeployedModel
from parmtrain.errors import UnsupportedError
from parmtrain.training.coded_groups import CodedGroups
from parmtrain.training.losses import kl
from tests.made_up_task import OUTPUTS, QUERY, cheap


def fresh(shape: tuple[int, ...], heads: int = 1, model: Any = None, **more: Any) -> nn.Module:
    if model is not None:
        made: nn.Module = model(query_shape=list(shape), outputs=heads * OUTPUTS, **more)
        return made
    return nn.Sequential(nn.Flatten(), nn.Linear(prod(shape), heads * OUTPUTS))


@cache
def configured(name: str) -> DictConfig:
    shape = f"task.query_shape={list(QUERY)}".replace(" ", "")
    return compose("task=arrays", f"code={name}", shape, f"task.outputs={OUTPUTS}")


def codes(name: str) -> list[Code]:
    """Return the configured code of this name with every k and r that it takes, of a few."""
    return [copy.deepcopy(code) for code in built(name)]


@cache
def built(name: str) -> list[Code]:
    torch.manual_seed(0)
    taken: dict[tuple[int, int], Code] = {}
    for k, r in product((2, 3, 5), (None, 1, 2, 3)):
        cfg = configured(name).copy()
        cfg.k, cfg.r = k, r
        if "flops" in cfg.code:
            cfg.code.flops = None  # the deployed model here is cheaper than any student
        try:
            code: Code = assemble.build(cfg.code)
        except UnsupportedError:
            continue
        taken.setdefault((code.k, code.r), code)
    assert taken
    return list(taken.values())


every_code = pytest.mark.parametrize("name", [option for option in options("code") if option != "auto"])


@pytest.mark.slow
@every_code
def test_results_name_a_code_as_its_option(name: str) -> None:
    assert {code.label for code in built(name)} == {name}


def some_late(code: Code, groups: int) -> torch.Tensor:
    late = arrivals(code.n, code.stragglers)
    return late[torch.arange(groups) % len(late)]


@every_code
@pytest.mark.parametrize("dtype", [torch.float32, pytest.param(torch.float64, marks=pytest.mark.slow)])
def test_any_batch_of_either_precision_goes_through(name: str, dtype: torch.dtype) -> None:
    deployed = DeployedModel(cheap().to(dtype))
    for code in codes(name):
        code.to(dtype)
        models = [model.to(dtype) for model in code.parity_models(QUERY, deployed, fresh)]
        for groups in (3, 1, 0):
            queries = torch.rand(groups, code.k, *QUERY, dtype=dtype)
            coded = code.encode(queries)
            assert coded.shape == (groups, code.num_coded, *code.parity_shape(QUERY))
            assert coded.dtype == dtype
            parity = run_coded(models, coded) if groups else coded.new_empty(0, code.num_coded, code.heads * OUTPUTS)
            own = deployed(queries.flatten(0, 1)).view(groups, code.k, OUTPUTS)
            outputs = code.gather(own, parity)
            assert outputs.shape == (groups, code.n, code.heads * OUTPUTS)
            arrived = some_late(code, groups)
            decoded = code.decode(outputs.masked_fill(~arrived.unsqueeze(2), torch.nan), arrived)
            assert decoded.shape == (groups, code.k, OUTPUTS)
            assert decoded.dtype == dtype
            assert decoded.isfinite().all()


@every_code
def test_what_arrived_passes_unchanged_and_what_did_not_is_never_read(name: str) -> None:
    for code in codes(name):
        outputs = torch.randn(2, code.n, code.heads * OUTPUTS, generator=torch.Generator().manual_seed(1))
        cases = torch.cat([arrivals(code.n, late, most=20) for late in range(code.n + 1)])
        decoded = decode_each(code.decode, outputs, cases)
        for case, arrived in enumerate(cases):
            junk = torch.where(arrived[:, None], outputs, outputs + 100)
            again = code.decode(junk, arrived.repeat(2, 1))
            assert torch.allclose(again, decoded[:, case], atol=1e-5, equal_nan=True)
            if code.systematic:
                own = arrived[: code.k]
                assert torch.equal(decoded[:, case, own], outputs[:, : code.k, :OUTPUTS][:, own])


@every_code
def test_nothing_is_unrecoverable_up_to_the_stragglers_that_a_code_is_for(name: str) -> None:
    for code in codes(name):
        outputs = torch.randn(2, code.n, code.heads * OUTPUTS)
        for late in range(code.stragglers + 1):
            assert decode_each(code.decode, outputs, arrivals(code.n, late)).isfinite().all()


@every_code
def test_the_scheme_says_what_the_decoder_gives(name: str) -> None:
    for code in codes(name):
        scheme = scheme_of(code, 1, code.heads * OUTPUTS)
        assert Scheme.from_json(json.loads(json.dumps(scheme.to_json()))) == scheme
        for arrived in torch.rand(40, code.n, generator=torch.Generator().manual_seed(0)) < 0.6:
            decoded = code.decode(torch.zeros(1, code.n, code.heads * OUTPUTS), arrived[None])[0]
            given = scheme.recoverable(mask(arrived.tolist()))
            said = torch.tensor([bool(given >> i & 1) for i in range(code.k)])
            finite = decoded.isfinite().all(dim=1)
            if code.num_coded == 0:  # what did not arrive is left to the default answer at the deadline
                assert torch.equal(said, arrived[: code.k])
            elif code.systematic:
                assert torch.equal(said, finite)
            else:  # an approximation from fewer outputs than the code is scored with is not used
                assert bool(said.all()) == (arrived.sum() >= code.n - code.stragglers)
                assert (finite | ~said).all()


def test_one_output_with_heads_gives_all_and_no_output_nothing() -> None:
    default = scheme_of(Default(2, outputs=3), 0, width=3)
    assert [default.recoverable(arrived) for arrived in (0b00, 0b01, 0b11)] == [0b00, 0b01, 0b11]
    scheme = scheme_of(Heads(Concat(3)), 1, width=30)
    assert scheme.recoverable(0b1000) == 0b111
    assert scheme.recoverable(0b0010) == 0b010


@pytest.mark.slow
@every_code
def test_encoder_and_decoder_are_torchscript_for_any_batch(name: str) -> None:
    for code in codes(name):
        code.eval()
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
def test_costs_add_up(name: str) -> None:
    for code in codes(name):
        sent = code.encode(torch.rand(1, code.k, *QUERY)).numel() / prod(QUERY)
        queries = 0 if code.systematic else code.k
        assert code.cost(QUERY) == {"extra_workers": code.r / code.k, "parity_bytes": sent - queries}


@every_code
def test_a_loss_reaches_what_is_trained_and_never_the_deployed_model(name: str) -> None:
    for code in codes(name):
        network = cheap()
        deployed = DeployedModel(network)
        before = {key: value.clone() for key, value in network.state_dict().items()}
        models = nn.ModuleList(code.parity_models(QUERY, deployed, fresh))
        trained = [*code.parameters(), *models.parameters()]
        if not trained:
            assert all(deployed in model.modules() for model in models)
            continue
        queries = torch.rand(4, code.k, *QUERY)
        predictions = deployed(queries.flatten(0, 1)).unflatten(0, (4, code.k))
        parity = run_coded(list(models), code.encode(queries))
        groups = CodedGroups(code, predictions, parity, torch.zeros(4, code.k).long())
        optimizer = torch.optim.SGD(trained, lr=0.1)
        kl(groups).backward()
        assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in trained)
        for part in (code.encoder, code.decoder, *models):
            if list(part.parameters()):
                assert any(parameter.grad is not None and parameter.grad.any() for parameter in part.parameters())
        optimizer.step()
        assert all(parameter.grad is None for parameter in network.parameters())
        assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


@every_code
def test_a_code_has_a_target_or_says_which_losses_need_none(name: str) -> None:
    for code in codes(name):
        predictions = torch.rand(2, code.k, OUTPUTS)
        if type(code).target is not Code.target:
            assert code.target(predictions).shape == (2, code.num_coded, code.heads * OUTPUTS)
            continue
        with pytest.raises(UnsupportedError, match=rf"^code={code.name} has no target .* loss=kl"):
            code.target(predictions)


def test_cases_of_arrival_are_all_there_are_or_a_seeded_draw_without_repeats() -> None:
    every = arrivals(6, 3)
    assert len(every) == len({tuple(row.tolist()) for row in every}) == 20
    assert (every.sum(1) == 3).all()
    drawn = arrivals(30, 5, most=50, seed=1)
    assert len({tuple(row.tolist()) for row in drawn}) == 50
    assert (drawn.sum(1) == 25).all()
    assert torch.equal(drawn, arrivals(30, 5, most=50, seed=1))
    assert not torch.equal(drawn, arrivals(30, 5, most=50, seed=2))


def test_schemes_of_many_workers_know_what_one_and_two_outputs_give() -> None:
    replication = scheme_of(Replication(8), 0, width=1)
    assert replication.recoverable(1 << 8) == 0b1
    assert replication.recoverable(1 << 9 | 1) == 0b11
    heads = scheme_of(Heads(Concat(12)), 1, width=12)
    assert heads.recoverable(1 << 12) == (1 << 12) - 1
    many = scheme_of(Sum(14), 1, width=1)
    assert many.recoverable((1 << 15) - 2) == (1 << 14) - 1
    assert many.recoverable(0b1011) == 0b1011
