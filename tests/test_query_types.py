"""A deployed model may take its queries in half precision, in double precision, or as bytes that it scales itself."""

import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from parmtrain import load
from parmtrain.deployed import DeployedModel
from parmtrain.errors import ConfigError
from parmtrain.training.initial_weights import start_from
from tests.formats import save_torchscript
from tests.small_runs import small_run
from tests.tiers import thorough

QUERIES = torch.rand(4, 2, 1, 8, 8, generator=torch.Generator().manual_seed(0))


class OfBytes(nn.Module):
    """A network that scales stored pixels itself, and refuses any others."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> Tensor:
        if pixels.dtype != torch.uint8:
            raise TypeError("bytes, please")
        predictions: Tensor = self.network(pixels.float() / 16)
        return predictions


def made(kind: str) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(576, 10)).eval()
    if kind == "uint8":
        return OfBytes(network)
    return network.to(getattr(torch, kind))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["uint8", thorough("bfloat16"), thorough("float64")])
def test_it_is_given_queries_of_its_type(kind: str, tmp_path: Path) -> None:
    network = made(kind)
    more = (f"deployed.takes={kind}", "code=lowres")
    result = small_run(tmp_path / "run", *more, deployed=network)
    assert 0.8 < result.metrics["cost"]["parity_flops"] <= 1
    shutil.copytree(tmp_path / "run" / "export", tmp_path / "elsewhere")
    alone, given = load(tmp_path / "elsewhere"), load(tmp_path / "run", deployed=network)
    taken = (QUERIES * 16).round().byte() if kind == "uint8" else QUERIES.to(getattr(torch, kind))
    own = network(taken.flatten(0, 1)).float().unflatten(0, (4, 2))
    for bundle in (alone, given):
        assert torch.allclose(bundle.reconstruct(QUERIES, 0)[:, 1], own[:, 1], atol=1e-2)


def test_without_its_type_it_is_refused_with_advice(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"in the type of its weights, bfloat16: set deployed.takes=bfloat16, or conv"
    ):
        small_run(tmp_path, deployed=made("bfloat16"))


def test_a_parity_model_with_its_own_network_needs_float32(tmp_path: Path) -> None:
    more = ("deployed.takes=float64", "code=sum")
    with pytest.raises(
        ConfigError, match=r"needs weights of type float32, got float64 in .*code=lowres or code=backup"
    ):
        small_run(tmp_path, *more, deployed=made("float64"))


@pytest.mark.slow
def test_a_file_of_its_architecture_keeps_its_weights(tmp_path: Path) -> None:
    save_torchscript(made("float64"), tmp_path / "f.ts")
    metrics = small_run(
        tmp_path / "run", f"deployed.path={tmp_path / 'f.ts'}", "deployed.takes=float64", "code=backup"
    ).metrics
    assert metrics["code"] == "backup"
    network = nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(576, 10))
    assert len(start_from(network, DeployedModel(made("float64")))) == 4
    assert torch.allclose(network(QUERIES[:, 0]), made("float32")(QUERIES[:, 0]), atol=1e-6)
