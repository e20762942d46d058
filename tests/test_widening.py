"""Networks of any kind, widened: modules, TorchScript archives and exported programs."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from parmtrain.errors import UnsupportedError
from parmtrain.models import MLP, ConvNet, LeNet, resnet18
from parmtrain.programs import read_network
from parmtrain.widening import widen_inputs, widen_outputs
from tests.formats import save_exported, save_torchscript

QUERY, OUTPUTS = (1, 8, 8), 5
SAVED = {".ts": save_torchscript, ".pt2": save_exported}


def squeezing(*_: object) -> nn.Module:
    """A network whose last layer is a 1×1 convolution, before the pooling."""
    return nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Conv2d(6, OUTPUTS, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())


BUILDS: dict[str, Callable[..., nn.Module]] = {
    "perceptron": MLP,
    "LeNet": LeNet,
    "normalised": ConvNet,
    "residual": resnet18,
    "1×1 convolution": squeezing,
}


@pytest.fixture(params=["eager", *SAVED])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def network(build: Callable[..., nn.Module], kind: str, folder: Path) -> nn.Module:
    torch.manual_seed(0)
    made = build(QUERY, OUTPUTS).eval()
    if kind == "eager":
        return made
    SAVED[kind](made, folder / f"f{kind}")
    return read_network(folder / f"f{kind}", lambda: made)


def unlike(parameters: list[Tensor]) -> None:
    """Take one step down a made-up slope, so that copies of a weight are no longer alike."""
    for parameter in parameters:
        assert parameter.grad is not None
        parameter.data -= 0.1 * parameter.grad


@pytest.mark.slow
@pytest.mark.parametrize("build", BUILDS.values(), ids=BUILDS)
def test_outputs_are_copies_that_gradients_tell_apart(
    build: Callable[..., nn.Module], kind: str, tmp_path: Path
) -> None:
    made, queries = network(build, kind, tmp_path), torch.rand(4, *QUERY)
    with torch.no_grad():
        predictions = made(queries)
    wide = widen_outputs(made, 3, torch.rand(2, *QUERY))
    assert torch.allclose(wide(queries), predictions.repeat(1, 3), atol=1e-4)
    slopes = torch.arange(3.0).repeat_interleave(OUTPUTS)
    (wide(queries) * slopes).sum().backward()
    unlike(list(wide.parameters()))
    first, second, _ = wide(queries).unflatten(1, (3, OUTPUTS)).unbind(1)
    assert not torch.allclose(first, second, atol=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize("build", [MLP, LeNet, ConvNet, resnet18])
def test_inputs_are_stacked_where_the_program_lets_them(build: type[nn.Module], tmp_path: Path) -> None:
    made, groups = network(build, ".ts", tmp_path), torch.rand(4, 2, *QUERY)
    with torch.no_grad():
        wanted = made(groups.sum(1))
    assert torch.allclose(widen_inputs(made, 2, torch.rand(2, *QUERY))(groups.flatten(1, 2)), wanted, atol=1e-4)


@pytest.mark.parametrize(
    "made", [nn.Flatten(), nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.LayerNorm(8)), nn.Sequential(nn.ReLU())]
)
def test_what_does_not_end_in_a_layer_that_can_be_widened_is_refused_unchanged(made: nn.Module) -> None:
    before = {name: value.clone() for name, value in made.state_dict().items()}
    with pytest.raises(UnsupportedError, match=r"need a last layer that is linear .* code=lowres and code=backup"):
        widen_outputs(made, 2, torch.rand(2, *QUERY))
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())
