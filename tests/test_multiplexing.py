"""Codes that mix queries or their features with keys or maps of their own, and read each prediction by its position."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from parmtrain.codes import LateMix, MuxHeads
from parmtrain.codes.late_mix import Mix
from parmtrain.codes.mux import KeyEncoder
from parmtrain.deployed import DeployedModel
from parmtrain.errors import UnsupportedError
from parmtrain.flops import flops
from parmtrain.models import MLP, LeNet, resnet18
from parmtrain.programs import Around

QUERY, OUTPUTS = (1, 8, 8), 10
F = DeployedModel(LeNet([*QUERY], OUTPUTS))


def fresh(shape: tuple[int, ...], heads: int = 1, model: Any = None, **more: Any) -> nn.Module:
    return LeNet([*shape], heads * OUTPUTS)


def residual(shape: tuple[int, ...], heads: int = 1, model: Any = None, **more: Any) -> nn.Module:
    return resnet18([*shape], heads * OUTPUTS)


@pytest.mark.parametrize("after", [None, "features.2", "features", "classifier.0"])
@pytest.mark.parametrize("k", [2, 3])
def test_layers_before_the_mixture_run_on_each_query_and_the_others_once(k: int, after: str | None) -> None:
    code = LateMix(k, after=after)
    (model,) = code.parity_models(QUERY, F, fresh)
    seen: dict[str, int] = {}
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(lambda _, given, out, name=name: seen.__setitem__(name, len(out)))
    outputs = model.eval()(code.encode(torch.rand(5, k, *QUERY))[:, 0])
    assert outputs.shape == (5, k * OUTPUTS)
    convolutions, layers = [rows for name, rows in seen.items() if "features" in name], list(seen.values())
    assert layers[0] == 5 * k
    assert layers[-1] == 5
    assert (convolutions[-1] == 5) == (after in (None, "features.2"))


def test_a_mixture_of_equal_maps_is_the_mean_of_the_features() -> None:
    mix, features = Mix(k=3, channels=4), torch.rand(6, 4, 5)
    mix.maps.data.copy_(torch.eye(4).expand(3, 4, 4) / 3)
    assert torch.allclose(mix(features), features.unflatten(0, (2, 3)).mean(1), atol=1e-6)
    flat = torch.rand(6, 4)
    assert torch.allclose(mix(flat), flat.unflatten(0, (2, 3)).mean(1), atol=1e-6)


def test_a_later_mixture_costs_more() -> None:
    queries = torch.rand(1, 2, *QUERY)
    costs = []
    for after in ("features.0", "features.3", "classifier.0"):
        (model,) = LateMix(2, after=after).parity_models(QUERY, F, fresh)
        costs.append(flops(model, queries) / flops(F, queries[:, 0]))
    assert 1 < costs[0] < min(costs[1:])
    assert max(costs) < 2.4  # the maps themselves take some


@pytest.mark.parametrize("keys", ["binary", "orthogonal"])
def test_keys_keep_lengths_and_hardly_overlap(keys: str) -> None:
    encoder = KeyEncoder(3, (1, 16, 16), keys, seed=0)
    image = torch.rand(1, 16, 16, generator=torch.Generator().manual_seed(1))
    alone = torch.zeros(3, 3, 1, 16, 16)
    alone[torch.arange(3), torch.arange(3)] = image  # group i has the image at position i, and nothing else
    keyed = 3 * encoder(alone).flatten(1)
    assert torch.allclose(keyed.norm(dim=1), image.norm().expand(3), atol=1e-4)
    overlap = (keyed @ keyed.T) / image.norm() ** 2
    assert overlap[~torch.eye(3, dtype=torch.bool)].abs().max() < 0.3
    again = KeyEncoder(3, (1, 16, 16), keys, seed=0)
    assert torch.equal(again.keys, encoder.keys)
    assert not torch.equal(KeyEncoder(3, (1, 16, 16), keys, seed=1).keys, encoder.keys)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: LateMix(2, r=2), "code=late_mix makes one parity query per group: r must be 1, got 2"),
        (
            lambda: MuxHeads(2, [1, 8, 8], 10, r=2),
            "code=mux_heads makes one parity query per group: r must be 1, got 2",
        ),
        (lambda: MuxHeads(2, [1, 8, 8], 10, keys="ternary"), "code.keys must be binary or orthogonal, got ternary"),
        (lambda: MuxHeads(2, [3, 64, 64], 10, keys="orthogonal"), "needs queries of 4096 numbers or fewer, got 12288"),
        (
            lambda: LateMix(2, after="nowhere").parity_models(QUERY, F, fresh),
            "code.after must be one of its layers, such as features.0, features.1",
        ),
        (
            lambda: LateMix(2, after="layer1.0.conv1").parity_models((3, 32, 32), F, residual),
            "where nothing leads around the layer, got code.after=layer1.0.conv1 in ResNet; name a whole stage",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_one_sentence(call: Any, sentence: str) -> None:
    with pytest.raises(UnsupportedError) as fault:
        call()
    assert sentence in str(fault.value)


@pytest.mark.parametrize("wrap", [lambda one: nn.Sequential(nn.Identity(), one), Around])
def test_late_mix_finds_the_first_layer_within_what_wraps_it(wrap: Callable[[nn.Module], nn.Module]) -> None:
    def wrapped(shape: tuple[int, ...], heads: int = 1, model: Any = None, **more: Any) -> nn.Module:
        return wrap(MLP([4], heads * 3, [8]))

    (mixed,) = LateMix(2).parity_models((4,), DeployedModel(MLP([4], 3, [8])), wrapped)
    (layer,) = [part for part in mixed.modules() if isinstance(part, Mix)]
    assert layer.maps.shape == (2, 8, 8)


def test_late_mix_needs_a_layer_after_the_mixture() -> None:
    def wrapping(shape: tuple[int, ...], heads: int = 1, model: Any = None, **more: Any) -> nn.Module:
        return nn.Sequential(nn.ReLU(), MLP([4], 3 * heads, [8]))

    with pytest.raises(UnsupportedError, match=r"some with weights must come after code\.after, got 1, which has all"):
        LateMix(2, after="1").parity_models((4,), DeployedModel(nn.Linear(4, 3)), wrapping)
