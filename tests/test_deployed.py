"""The deployed model: every format it comes in, every way it can be wrong, and that it never changes."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from parmtrain.codes import Sum
from parmtrain.deployed import DeployedModel, fingerprint, private_copy
from parmtrain.errors import DeployedModelError
from parmtrain.evaluation.predictions import predict_all
from parmtrain.models import MLP, resnet18
from parmtrain.probes import check_predictions
from parmtrain.programs import read_network
from parmtrain.tasks.images import ImageInput
from parmtrain.tasks.queries import TensorQueries
from parmtrain.training.parity_module import ParityModule
from tests.formats import save_exported, save_state_dict, save_torchscript

REFERENCE = "PARMTRAIN_REFERENCE_MLP"


def build() -> MLP:
    return MLP([1, 8, 8], 10)


def save_wrapped(network: nn.Module, path: Path) -> None:
    torch.save({"state_dict": {f"module.{name}": value for name, value in network.state_dict().items()}}, path)


def test_weights_from_before_batch_normalisation_counted_batches_are_read(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    state = {f"module.{key}": value for key, value in network.state_dict().items() if "num_batches" not in key}
    torch.save(state, tmp_path / "f.pt")
    read = read_network(tmp_path / "f.pt", lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)))
    assert torch.equal(read.state_dict()["0.weight"], network.state_dict()["0.weight"])


@pytest.mark.parametrize(
    ("save", "suffix"),
    [
        (save_state_dict, ".pt"),
        (lambda network, path: torch.save({"model": network.state_dict(), "epoch": 3}, path), ".pth"),
        (save_wrapped, ".ckpt"),
        (save_torchscript, ".ts"),
        (save_exported, ".pt2"),
    ],
    ids=["state dict", "under a key", "prefixed", "TorchScript", "torch.export"],
)
def test_every_format_gives_the_same_predictions(
    save: Callable[[nn.Module, Path], None], suffix: str, tmp_path: Path
) -> None:
    network = build()
    save(network, tmp_path / f"f{suffix}")
    deployed = DeployedModel(read_network(tmp_path / f"f{suffix}", build))
    check_predictions(deployed, (1, 8, 8), 10, "F")
    queries = torch.rand(5, 1, 8, 8)
    assert torch.allclose(deployed(queries), network(queries), atol=1e-6)
    assert deployed.has_weights


def test_a_file_may_be_called_anything(tmp_path: Path) -> None:
    save_torchscript(build(), tmp_path / "f")
    assert DeployedModel(read_network(tmp_path / "f", build))(torch.zeros(1, 1, 8, 8)).shape == (1, 10)


def truncated(path: Path) -> None:
    torch.save(build().state_dict(), path)
    path.write_bytes(path.read_bytes()[:20_000])


def poisoned(path: Path) -> None:
    network = build()
    nn.init.constant_(network.get_parameter("nn.2.bias"), torch.nan)
    torch.save(network.state_dict(), path)


class Malicious:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch hacked",)


@pytest.mark.parametrize(
    ("write", "sentence"),
    [
        (lambda path: None, "file not found"),
        (truncated, "or a damaged one"),
        (lambda path: path.write_bytes(b""), "got an empty file"),
        (lambda path: path.write_bytes(b"not a model"), "must be a state dict of tensors, a TorchScript archive"),
        (poisoned, r"nn\.2\.bias must be finite, got NaN"),
        (
            lambda path: torch.save(MLP([1, 8, 8], 7).state_dict(), path),
            r"nn\.4\.bias must have shape \[10\], got \[7\]",
        ),
        (lambda path: torch.save(resnet18([1, 8, 8], 10).state_dict(), path), r"must fit MLP: .* and \d+ more"),
        (lambda path: torch.save({"epoch": 3}, path), "must be a state dict of tensors"),
        (lambda path: torch.save(Malicious(), path), "must be a state dict of tensors"),
    ],
    ids=["missing", "truncated", "empty", "text", "NaN", "classes", "architecture", "no tensors", "malicious"],
)
def test_what_is_wrong_with_a_file_is_said(write: Callable[[Path], None], sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "f.pt"
    write(path)
    with pytest.raises(DeployedModelError, match=rf"(?s)^deployed\.path={path}: .*{sentence}") as refused:
        read_network(path, build)
    assert "weights_only" not in str(refused.value)  # torch's advice would run the file
    assert not Path("hacked").exists()


@pytest.mark.parametrize(
    ("network", "sentence"),
    [
        (nn.Flatten(0), r"returns shape \[128\] for 2 queries; expected \[2, 10\]"),
        (lambda queries: queries.flatten(1), r"returns shape \[2, 64\] for 2 queries"),
        (lambda queries: (queries,), "returns a tuple for 2 queries"),
        (lambda queries: queries.flatten(1)[:, :10] / 0, "must return finite values .* got NaN"),
        (MLP([3, 8, 8], 10), r"must accept a batch of 2 queries of shape \[1, 8, 8\], .* task\.query_shape=…"),
    ],
)
def test_predictions_that_do_not_fit_are_refused(
    network: Callable[[torch.Tensor], torch.Tensor], sentence: str
) -> None:
    with pytest.raises(DeployedModelError, match=f"^F .*{sentence}"):
        check_predictions(DeployedModel(network), (1, 8, 8), 10, "F")


def test_a_vector_model_is_given_vectors() -> None:
    check_predictions(DeployedModel(nn.Linear(64, 10), nn.Flatten()), (1, 8, 8), 10, "F")


class Loud(pl.LightningModule):
    """A parent that does to its children whatever it can."""

    def __init__(self, deployed: DeployedModel) -> None:
        super().__init__()
        self.deployed, self.own = deployed, nn.Linear(1, 1)


def erase(module: nn.Module) -> None:
    for value in module.parameters(recurse=False):
        value.data.zero_()


def test_no_weight_or_buffer_ever_changes() -> None:
    network = resnet18([1, 8, 8], 10)
    deployed = DeployedModel(network)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    parent = Loud(deployed)
    parent.train()
    parent.requires_grad_(True)
    parent.zero_grad(set_to_none=False)
    queries = torch.rand(6, 1, 8, 8, requires_grad=True)
    for _ in range(3):
        parent.train()
        deployed.train()
        (deployed(queries).sum() + parent.own(torch.ones(1, 1)).sum()).backward()
        torch.optim.SGD(parent.parameters(), lr=100.0, weight_decay=1.0).step()
    parent.half()
    parent.apply(erase)
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name
        assert value.dtype == before[name].dtype
    assert not network.training
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in network.parameters())
    assert queries.grad is not None
    assert queries.grad.abs().sum() > 0  # codes with trained encoders need the gradient through F
    assert not [name for name in parent.state_dict() if name.startswith("deployed")]
    deployed.check_unchanged()


def test_a_change_is_noticed() -> None:
    network = build()
    deployed = DeployedModel(network)
    with torch.no_grad():
        network.get_parameter("nn.0.bias")[0] += 1e-6
    with pytest.raises(DeployedModelError, match="must stay frozen, but its weights changed"):
        deployed.check_unchanged()


def test_optimizer_of_the_module_has_parity_weights_alone() -> None:
    module = ParityModule(DeployedModel(build()), Sum(2), [build()])
    assert {name.split(".")[0] for name, _ in module.named_parameters()} == {"parity_models"}


@pytest.mark.slow
def test_of_a_compiled_module_the_original_is_taken() -> None:
    network = MLP([1, 8, 8], 10)
    copied = private_copy(torch.compile(network))
    assert type(copied) is MLP
    assert copied is not network
    assert fingerprint(copied) == fingerprint(network)


def test_fingerprint_sees_buffers_and_names() -> None:
    a, b = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
    assert fingerprint(a) == fingerprint(b)
    assert b.running_mean is not None
    b.running_mean.add_(1)
    assert fingerprint(a) != fingerprint(b)
    assert fingerprint(nn.Sequential(a)) != fingerprint(a)


def test_predictions_are_cached_by_weights_data_and_input(tmp_path: Path) -> None:
    class Counting(MLP):
        calls = 0

        def forward(self, queries: torch.Tensor) -> torch.Tensor:
            self.calls += len(queries)
            return super().forward(queries)

    network = Counting([1, 8, 8], 10)
    deployed = DeployedModel(network)
    queries = TensorQueries(torch.randint(0, 256, (600, 1, 8, 8), dtype=torch.uint8), torch.zeros(600).long())
    prepare = ImageInput([1, 8, 8])
    first = predict_all(deployed, queries, prepare, tmp_path, "")
    assert torch.allclose(first, network(prepare(queries.stored)), atol=1e-6)
    network.calls = 0
    assert torch.equal(predict_all(deployed, queries, prepare, tmp_path, ""), first)
    assert network.calls < 600
    other_input = predict_all(deployed, queries, ImageInput([1, 8, 8], mean=[0.5]), tmp_path, "")
    other_data = predict_all(deployed, queries.subset(torch.arange(599, -1, -1)), prepare, tmp_path, "")
    other_model = predict_all(DeployedModel(build()), queries, prepare, tmp_path, "")
    assert not torch.allclose(other_input, first)
    assert torch.allclose(other_data, first.flip(0), atol=1e-6)
    assert not torch.allclose(other_model, first)


def test_same_weights_in_another_function_are_not_mistaken(tmp_path: Path) -> None:
    class Negated(MLP):
        def forward(self, queries: torch.Tensor) -> torch.Tensor:
            return -super().forward(queries)

    network, negated = build(), Negated([1, 8, 8], 10)
    negated.load_state_dict(network.state_dict())
    queries = TensorQueries(torch.randint(0, 256, (30, 1, 8, 8), dtype=torch.uint8), torch.zeros(30).long())
    first = predict_all(DeployedModel(network), queries, ImageInput([1, 8, 8]), tmp_path, "")
    second = predict_all(DeployedModel(negated), queries, ImageInput([1, 8, 8]), tmp_path, "")
    assert torch.allclose(first, -second, atol=1e-6)


def test_a_published_state_dict_loads_into_the_perceptron() -> None:
    path = os.environ.get(REFERENCE)
    if path is None:
        pytest.skip(f"{REFERENCE} is not set to the state dict of a 784-200-100-10 perceptron")
    deployed = DeployedModel(read_network(Path(path), lambda: MLP([1, 28, 28], 10)))
    check_predictions(deployed, (1, 28, 28), 10, "F")
