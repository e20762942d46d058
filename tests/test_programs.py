"""Programs are carried to other processes, whatever kind they are: to shared trainings, and to instances."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from parmtrain.answers import Answer
from parmtrain.bundle.torchscript import to_torchscript
from parmtrain.deployed import DeployedModel
from parmtrain.models import MLP
from parmtrain.programs import Around, Network, pack, read_exported, read_network
from parmtrain.serving.on_ray.worker import Worker
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
    queries = torch.rand(3, 1, 8, 8)
    worker = Worker(pickle.loads(pickle.dumps(pack(DeployedModel(network)))))
    assert torch.allclose(torch.from_numpy(worker.run(queries.numpy())), build()(queries), atol=1e-6)


def flat(queries: Tensor) -> Tensor:
    return queries.flatten(1)


@pytest.mark.parametrize("network", [flat, nn.Flatten()])
def test_modules_and_functions_are_carried_as_they_are(network: Network) -> None:
    assert pickle.loads(pickle.dumps(pack(network))).unpack()(torch.ones(2, 1, 3)).shape == (2, 3)


class Recurrent(nn.Module):
    """An LSTM, whose state is as large as the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(4, 8, batch_first=True), nn.Linear(8, 3)

    def forward(self, queries: Tensor) -> Tensor:
        states, _ = self.lstm(queries)
        predictions: Tensor = self.head(states[:, -1])
        return predictions


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The tensor attributes")
def test_an_exported_lstm_as_torchscript_takes_any_number_of_queries(tmp_path: Path) -> None:
    network, batch = Recurrent().eval(), torch.export.Dim.DYNAMIC
    exported = torch.export.export(network, (torch.rand(2, 6, 4),), dynamic_shapes=({0: batch},))
    torch.export.save(exported, tmp_path / "f.pt2")
    program = to_torchscript(Around(read_exported(tmp_path / "f.pt2")), (torch.rand(3, 6, 4),))
    for count in (1, 3, 7):
        queries = torch.rand(count, 6, 4)
        assert torch.allclose(program(queries), network(queries), atol=1e-6)


class Several(nn.Module):
    """A network whose prediction is one of several outputs, with an axis of length one, of a batch that it asks for."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.head = kind, nn.Linear(8, 3)

    def forward(self, queries: Tensor) -> Any:
        logits = self.head(queries).view(queries.shape[0], 3, 1)
        return {"logits": logits, "features": queries} if self.kind == "dict" else (logits,)


@pytest.mark.parametrize(("kind", "output"), [("dict", "logits"), ("tuple", 0)])
def test_one_of_several_outputs_of_an_exported_program_is_compiled(kind: str, output: Any, tmp_path: Path) -> None:
    network, batch = Several(kind).eval(), torch.export.Dim.DYNAMIC
    torch.export.save(
        torch.export.export(network, (torch.rand(2, 8),), dynamic_shapes=({0: batch},)), tmp_path / "f.pt2"
    )
    answer = Answer(read_exported(tmp_path / "f.pt2"), output)
    program = to_torchscript(answer, (torch.rand(3, 8),))
    for count in (1, 3, 7):
        queries = torch.rand(count, 8)
        assert program(queries).shape == (count, 3)
        assert torch.allclose(program(queries), network.head(queries), atol=1e-6)
