"""Codes built on another code: heads for each position, and decoders that are trained."""

from pathlib import Path

import pytest
import torch
from torch import nn

from parmtrain import load
from parmtrain.codes import Attention, Concat, Corrected, Heads, Linear, Stack, Sum, decode_each, run_coded
from parmtrain.deployed import DeployedModel
from parmtrain.errors import ConfigError
from parmtrain.metrics import of_classes
from parmtrain.training.coded_groups import CodedGroups
from parmtrain.training.losses import cross_entropy, decoded_mse, kl, mixed, mse
from tests.small_runs import small_run
from tests.tiers import thorough


def linear_heads(network: nn.Linear, k: int) -> nn.Module:
    """Return the parity model that suits a linear F on stacked queries: F itself, once for each position."""
    model = nn.Linear(k * network.in_features, k * network.out_features)
    model.weight.data = torch.block_diag(*[network.weight.data] * k)
    model.bias.data = network.bias.data.repeat(k)
    return nn.Sequential(nn.Flatten(), model)


@pytest.mark.parametrize("k", [2, 3, 5])
def test_heads_on_stacked_queries_recover_a_linear_model_whatever_is_missing(k: int) -> None:
    network, code = nn.Linear(6, 4), Heads(Stack(k))
    queries = torch.rand(8, k, 6)
    predictions = network(queries)
    outputs = code.gather(predictions, run_coded([linear_heads(network, k)], code.encode(queries)))
    cases = torch.ones(2**k, k + 1, dtype=torch.bool)
    cases[:, :k] = torch.cartesian_prod(*[torch.tensor([True, False])] * k)
    decoded = decode_each(code.decode, outputs, cases)
    assert torch.allclose(decoded, predictions.unsqueeze(1).expand_as(decoded), atol=1e-5)


def test_heads_are_trained_toward_the_predictions_themselves() -> None:
    code, predictions = Heads(Concat(k=2)), torch.randn(3, 2, 5)
    perfect = CodedGroups(code, predictions, code.target(predictions), torch.zeros(3, 2, dtype=torch.long))
    assert torch.equal(perfect.reconstructed, predictions)
    for loss in (mse, decoded_mse, kl):
        assert loss(perfect).abs() < 1e-6
    worse = CodedGroups(code, predictions, code.target(predictions) + 1, perfect.labels)
    assert mse(worse) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("correction", [Corrected, Attention])
def test_an_untrained_correction_is_none_and_a_trained_one_reaches_late_predictions_alone(
    correction: type[Corrected],
) -> None:
    torch.manual_seed(0)
    plain, code = Sum(3), correction(Sum(3), outputs=4)
    outputs, arrived = torch.randn(6, 4, 4), torch.ones(6, 4, dtype=torch.bool)
    arrived[torch.arange(6), torch.arange(6) % 3] = False
    assert torch.equal(code.decode(outputs, arrived), plain.decode(outputs, arrived))
    code.decoder.layers[2].bias.data.fill_(1.0)  # type: ignore[index, union-attr]
    changed = code.decode(outputs, arrived) - plain.decode(outputs, arrived)
    assert torch.allclose(changed, (~arrived[:, :3]).float().unsqueeze(2).expand(-1, -1, 4), atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("correction", [Corrected, Attention])
def test_a_correction_learns_what_subtraction_cannot(correction: type[Corrected]) -> None:
    torch.manual_seed(0)
    code, network = correction(Sum(2), outputs=3), nn.Linear(5, 3)
    deployed = DeployedModel(lambda queries: network(queries).square())
    model = lambda parity: network(parity - 0).square()  # F itself on the sum: wrong by a product  # noqa: E731
    queries = torch.randn(512, 2, 5)
    code.fit(deployed, queries, torch.zeros(512, 2), of_classes(3))
    predictions = deployed(queries.flatten(0, 1)).unflatten(0, (512, 2)).detach()
    groups = CodedGroups(code, predictions, run_coded([model], code.encode(queries)).detach(), torch.zeros(512, 2))
    before = decoded_mse(groups).item()
    optimizer = torch.optim.Adam(code.parameters(), lr=1e-2)
    for _ in range(200):
        optimizer.zero_grad()
        loss = decoded_mse(CodedGroups(code, groups.predictions, groups.parity, groups.labels))
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.9 * before
    assert code.decoder.scale == pytest.approx(predictions.std().item(), rel=1e-5)


def test_losses_are_mixed_by_their_weights() -> None:
    predictions, labels = torch.randn(2, 2, 4), torch.tensor([[0, 1], [2, 3]])
    groups = CodedGroups(Sum(2), predictions, torch.randn(2, 1, 4), labels)
    expected = 0.25 * kl(groups) + 2 * cross_entropy(groups)
    assert torch.allclose(mixed(groups, [kl, cross_entropy], [0.25, 2.0]), expected)
    with pytest.raises(ConfigError, match=r"loss\.weights must have one weight for each of the 1 loss\.losses, got 2"):
        mixed(groups, [kl], [1.0, 1.0])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "k"),
    [
        ("concat_heads", 2),
        thorough("concat_heads", 4),
        thorough("checkerboard_heads", 2),
        thorough("stack_heads", 4),
        ("sum_corrected", 2),
        thorough("sum_attention", 4),
    ],
)
def test_a_run_trains_exports_and_loads_them(code: str, k: int, tmp_path: Path) -> None:
    overrides = (f"code={code}", f"k={k}", "trainer.max_epochs=10", "groups=16", "loss=kl_and_labels")
    result = small_run(tmp_path, *overrides)
    bundle = load(tmp_path)
    heads = k if code.endswith("heads") else 1
    assert bundle.about["shapes"]["worker_output"] == [10 * heads]
    queries = torch.rand(3, k, 1, 8, 8)
    outputs = bundle.gather(torch.rand(3, k, 10), bundle.predict(bundle.encode(queries)))
    arrived = torch.ones(3, k + 1, dtype=torch.bool)
    arrived[:, 1] = False
    decoded = bundle.decode(outputs, arrived)
    assert torch.allclose(decoded, result.module.cpu().decode(outputs, arrived), atol=1e-5)
    assert result.metrics["degraded"]["accuracy"] > result.metrics["default"]["accuracy"] + 0.2


def test_attention_asks_a_set() -> None:
    torch.manual_seed(0)
    code = Attention(Sum(4), outputs=3, hidden=8)
    nn.init.normal_(code.decoder.layers[2].weight)  # type: ignore[index, union-attr]
    outputs, arrived = torch.randn(5, 5, 3), torch.tensor([[False, True, True, True, True]]).expand(5, -1)
    shuffled = outputs[:, [0, 3, 1, 2, 4]]
    assert torch.allclose(code.decode(outputs, arrived)[:, 0], code.decode(shuffled, arrived)[:, 0], atol=1e-5)
    others = code.decode(outputs + torch.tensor([0.0, 1.0, -1.0, 0.0, 0.0]).view(1, 5, 1), arrived)[:, 0]
    assert not torch.allclose(code.decode(outputs, arrived)[:, 0], others, atol=1e-3)  # though the sum is the same


def test_codes_are_built_on_those_with_one_parity_query() -> None:
    assert Heads(Sum(3)).parity_shape((1, 8, 8)) == (1, 8, 8)
    assert Heads(Stack(3)).parity_shape((1, 8, 8)) == (3, 8, 8)
    assert Linear(2).heads == 1
