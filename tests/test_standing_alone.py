"""A bundle holds the deployed model, too: copied to a machine without data, cache and configuration, it is enough."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from parmtrain import load
from parmtrain.errors import DataError, ExportError
from parmtrain.evaluate import evaluate
from parmtrain.models import LeNet
from parmtrain.serving.front.served import read_served
from parmtrain.serving.settings import ServeSettings
from tests.small_runs import small_run

pytestmark = pytest.mark.slow

QUERIES = torch.rand(3, 2, 1, 8, 8, generator=torch.Generator().manual_seed(0))


class Halves(nn.Module):
    """A network in half precision, which converts its queries itself."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = LeNet([1, 8, 8], 10, width=4).half()

    def forward(self, queries: torch.Tensor) -> torch.Tensor:
        predictions: torch.Tensor = self.inner(queries.half())
        return predictions


class Named(nn.Module):
    """A network with several outputs, one of which is the prediction."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = LeNet([1, 8, 8], 10, width=4)

    def forward(self, queries: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"hidden": queries, "logits": self.inner(queries)}


class Vectors(Named):
    """The same for queries as vectors."""

    def forward(self, queries: torch.Tensor) -> dict[str, torch.Tensor]:
        return super().forward(queries.unflatten(1, (1, 8, 8)))


def scripted(network: nn.Module, _: Path) -> nn.Module:
    compiled: nn.Module = torch.jit.script(network.eval())
    return compiled


KINDS: dict[str, tuple[Callable[[], nn.Module], Any, tuple[str, ...]]] = {
    "eager": (lambda: LeNet([1, 8, 8], 10, width=4), lambda network, _: network, ()),
    "TorchScript": (lambda: LeNet([1, 8, 8], 10, width=4), scripted, ()),
    "half": (Halves, lambda network, _: network, ()),
    "one of several outputs": (Named, lambda network, _: network, ("deployed.output=logits",)),
}


@pytest.mark.parametrize(("build", "as_given", "more"), KINDS.values(), ids=KINDS)
def test_a_copied_bundle_reconstructs_and_can_be_served(
    build: Any, as_given: Any, more: tuple[str, ...], tmp_path: Path
) -> None:
    given = as_given(build(), tmp_path)
    result = small_run(tmp_path / "run", "code=lowres", *more, deployed=given)
    shutil.copytree(tmp_path / "run" / "export", tmp_path / "elsewhere")
    alone, beside = load(tmp_path / "elsewhere"), load(tmp_path / "run", deployed=result.module.deployed)
    for lost in (0, 2):
        assert torch.allclose(alone.reconstruct(QUERIES, lost), beside.reconstruct(QUERIES, lost), atol=1e-5)
    (tmp_path / "run" / "config.yaml").rename(tmp_path / "config.yaml")
    read_served(ServeSettings(bundle=str(tmp_path / "run")))
    (tmp_path / "config.yaml").rename(tmp_path / "run" / "config.yaml")
    served = read_served(ServeSettings(bundle=str(tmp_path / "elsewhere")))
    assert served.models[0] is served.deployed
    scores = evaluate(tmp_path / "run")
    assert scores["degraded"]["accuracy"] == pytest.approx(result.metrics["degraded"]["accuracy"], abs=0.003)
    asked = QUERIES.flatten(0, 1)
    assert torch.allclose(served.deployed(asked), result.module.deployed(asked), atol=1e-5)


def test_codes_whose_coded_queries_the_deployed_model_runs_stand_alone_too(tmp_path: Path) -> None:
    result = small_run(tmp_path, "code=mean_parity")
    alone, beside = load(tmp_path), load(tmp_path, deployed=result.module.deployed)
    assert torch.allclose(alone.reconstruct(QUERIES), beside.reconstruct(QUERIES), atol=1e-5)


@pytest.mark.thorough
def test_without_the_deployed_model_a_bundle_says_what_it_lacks(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    small_run(tmp_path / "without", "deployed.bundle=false")
    with pytest.raises(ExportError, match=r"reconstruct needs the deployed model; load .* deployed="):
        load(tmp_path / "without").reconstruct(QUERIES)
    small_run(tmp_path / "untrained", "code=mean_parity", "deployed.bundle=false")
    with pytest.raises(ExportError, match=r"code=mean_parity runs coded queries on the deployed model, which this"):
        load(tmp_path / "untrained").predict(torch.zeros(1, 1, 1, 8, 8))
    network = LeNet([1, 8, 8], 10, width=4).eval()
    small_run(tmp_path / "function", "code=lowres", deployed=network.forward)
    (said,) = [message for message in caplog.messages if "does not hold the deployed model" in message]
    assert said.endswith("it is a function, not a module")
    shutil.copytree(tmp_path / "function" / "export", tmp_path / "elsewhere")
    with pytest.raises(DataError):
        read_served(ServeSettings(bundle=str(tmp_path / "elsewhere")))


class Branching(nn.Module):
    """A network that treats bright queries otherwise, which a trace does not keep."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = LeNet([1, 8, 8], 10, width=4)
        self.told: dict[Any, Any] = {"a": 1, 2: "b"}  # not a type of TorchScript, so that it is traced

    def forward(self, queries: torch.Tensor) -> torch.Tensor:
        scaled = [query / len(self.told) if float(query.max()) > 100 else query for query in queries]
        predictions: torch.Tensor = self.inner(torch.stack(scaled))
        return predictions


def test_a_program_that_answers_otherwise_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    small_run(tmp_path, "code=lowres", deployed=Branching())
    (said,) = [message for message in caplog.messages if "does not hold the deployed model" in message]
    assert "must give its own numbers to 1e-5 when exported" in said
    assert not (tmp_path / "export" / "deployed.ts").exists()


def test_a_network_that_takes_vectors_and_returns_a_mapping_is_brought(tmp_path: Path) -> None:
    network = Vectors()
    more = ("task.input.flatten=true", "deployed.output=logits", "deployed.bundle=false", "code=lowres")
    result = small_run(tmp_path, *more, deployed=network)
    bundle = load(tmp_path, deployed=network)
    assert bundle.deployed is not None
    asked = QUERIES.flatten(0, 1)
    assert torch.equal(bundle.deployed(asked), result.module.deployed(asked))
