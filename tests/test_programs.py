"""Programs are carried to other processes, whatever kind they are: to shared trainings, and to instances."""

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from parmtrain.deployed import DeployedModel
from parmtrain.models import MLP
from parmtrain.programs import Network, pack, read_network
from parmtrain.serving.worker import Worker
from tests.formats import save_exported, save_state_dict, save_torchscript

WRITERS: dict[str, Callable[[nn.Module, Path], None]] = {
    ".pt": save_state_dict,
    ".ts": save_torchscript,
    ".pt2": save_exported,
}


def build() -> nn.Module:
    torch.manual_seed(0)
    return MLP([1, 8, 8], 10)


@pytest.fixture(params=WRITERS)
def network(request: pytest.FixtureRequest, tmp_path: Path) -> nn.Module:
    path = tmp_path / f"f{request.param}"
    WRITERS[request.param](build(), path)
    return read_network(path, build)


def test_every_kind_of_program_is_the_same_in_another_process(network: nn.Module) -> None:
    queries = torch.rand(3, 1, 8, 8)
    expected = build()(queries)
    for sent in (pack(network), DeployedModel(network)):
        received = pickle.loads(pickle.dumps(sent))
        made = received if isinstance(received, DeployedModel) else received.unpack()
        assert torch.allclose(made(queries), expected, atol=1e-6)
    deployed = pickle.loads(pickle.dumps(DeployedModel(network)))
    assert deployed.fingerprint == DeployedModel(network).fingerprint
    deployed.check_unchanged()


def test_an_instance_runs_every_kind_of_program(network: nn.Module) -> None:
    query = torch.rand(1, 8, 8)
    worker = Worker(pickle.loads(pickle.dumps(pack(DeployedModel(network)))))
    assert torch.allclose(torch.from_numpy(worker.run(query.numpy())), build()(query[None])[0], atol=1e-6)


def flat(queries: torch.Tensor) -> torch.Tensor:
    return queries.flatten(1)


@pytest.mark.parametrize("network", [flat, nn.Flatten()])
def test_modules_and_functions_are_carried_as_they_are(network: Network) -> None:
    assert pickle.loads(pickle.dumps(pack(network))).unpack()(torch.ones(2, 1, 3)).shape == (2, 3)
