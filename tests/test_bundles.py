"""An exported bundle gives its run's numbers and scores, whatever the code, and is refused once it is changed."""

import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from parmtrain import load
from parmtrain.bundle.export import export
from parmtrain.bundle.formats import Program
from parmtrain.bundle.parts import alike
from parmtrain.bundle.torchscript import TorchScript
from parmtrain.codes import Sum, arrivals, decode_each
from parmtrain.errors import ExportError
from parmtrain.evaluate import evaluate
from parmtrain.models import MLP
from parmtrain.reopened import reopen
from parmtrain.result import Result
from tests.small_runs import small_run
from tests.tiers import thorough


def test_the_bundle_gives_the_modules_numbers(finished: Result) -> None:
    bundle, module = load(finished.folder), finished.module
    for groups in (1, 3, 50):
        queries = torch.rand(groups, 2, 1, 8, 8)
        with torch.no_grad():
            parity_queries = module.encode(queries)
            outputs = torch.cat([torch.randn(groups, 2, 10), module.predict(parity_queries)], 1)
        assert torch.allclose(bundle.encode(queries), parity_queries, atol=1e-5)
        assert torch.allclose(bundle.predict(parity_queries), outputs[:, 2:], atol=1e-5)
        rebuilt = decode_each(module.decode, outputs, arrivals(3, 1))
        assert torch.allclose(decode_each(bundle.decode, outputs, arrivals(3, 1)), rebuilt, atol=1e-5)
    assert bundle.about["metrics"]["degraded"] == finished.metrics["degraded"]
    assert bundle.about["preprocessing"]["scale"] == 16


def test_a_bundle_scores_as_its_run_did(finished: Result) -> None:
    again = evaluate(finished.folder)
    for key in ("available", "nobody_late", "degraded", "all_k", "stragglers", "overall", "default"):
        assert again[key] == finished.metrics[key], key


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "trained", "archives"),
    [
        ("linear", True, ["parity_model.ts", "parity_model_2.ts"]),
        thorough("stack", True, ["parity_model.ts"]),
        thorough("backup", True, ["parity_model.ts"]),
        ("lowres", True, ["parity_model.ts"]),
        thorough("late_mix", True, ["parity_model.ts"]),
        thorough("mux_heads", True, ["parity_model.ts"]),
        ("learned_mlp", True, []),
        thorough("learned_convolution", True, []),
        thorough("mean_parity", False, []),
        ("berrut_byzantine", False, []),
        thorough("nercc", False, []),
        thorough("replication", False, []),
        ("replication r=1", False, ["parity_model.ts"]),
        ("default", False, []),
    ],
)
def test_every_kind_of_code_runs_is_exported_and_scores_as_its_run_did(
    code: str, trained: bool, archives: list[str], tmp_path: Path
) -> None:
    epochs = "trainer.max_epochs=1"
    result = small_run(tmp_path, *f"code={code}".split(), "k=3", epochs)
    metrics = result.metrics
    assert metrics["training"]["epochs"] == (1 if trained else 0)
    assert (metrics["validation"]["epoch"] is not None) == trained
    assert 0 < metrics["validation"]["degraded_accuracy"] <= 1
    assert (tmp_path / "training.png").exists() == trained
    assert sorted(path.name for path in (tmp_path / "export").glob("parity*")) == archives
    again = evaluate(tmp_path)
    for key in ("available", "nobody_late", "degraded", "all_k", "stragglers", "overall", "default"):
        assert again[key] == metrics[key], key
    bundle = load(tmp_path)
    if bundle.about["coded"] and not archives:
        asked = torch.rand(1, bundle.about["coded"], 1, 8, 8)
        with_it = load(tmp_path, deployed=result.module.deployed.network)
        assert torch.allclose(bundle.predict(asked), with_it.predict(asked), atol=1e-5)


def test_a_bundle_that_was_changed_is_refused(finished: Result, tmp_path: Path) -> None:
    shutil.copytree(finished.folder / "export", tmp_path / "export")
    assert load(tmp_path).k == 2
    decoder = tmp_path / "export" / "decoder.ts"
    decoder.write_bytes(decoder.read_bytes() + b"\0")
    with pytest.raises(ExportError, match=r"decoder\.ts must be the exported file, but its SHA-256 differs"):
        load(tmp_path)
    decoder.unlink()
    with pytest.raises(ExportError, match=r"decoder\.ts must exist, as bundle\.json lists it"):
        load(tmp_path)
    (tmp_path / "export" / "bundle.json").write_text("{")
    with pytest.raises(ExportError, match=r"bundle\.json must be valid JSON"):
        load(tmp_path)
    with pytest.raises(ExportError, match="must hold a bundle"):
        load(tmp_path / "nowhere")


def test_an_export_folder_of_any_name_is_opened_and_no_other(finished: Result, tmp_path: Path) -> None:
    shutil.copytree(finished.folder, tmp_path / "run")
    shutil.copytree(finished.folder / "export", tmp_path / "run" / "mine")
    (tmp_path / "run" / "export" / "decoder.ts").unlink()
    prepared, bundle = reopen(tmp_path / "run" / "mine")
    assert bundle.folder == tmp_path / "run" / "mine"
    assert bundle.deployed is prepared.deployed


def test_a_bundle_reconstructs_with_its_own_deployed_model_alone(finished: Result) -> None:
    bundle = load(finished.folder, deployed=finished.module.deployed)
    queries = torch.rand(3, 2, 1, 8, 8)
    own = finished.module.deployed(queries.flatten(0, 1)).unflatten(0, (3, 2))
    answers = bundle.reconstruct(queries, lost=1)
    assert torch.allclose(answers[:, 0], own[:, 0], atol=1e-5)
    parity = bundle.predict(bundle.encode(queries))[:, 0]
    assert torch.allclose(answers[:, 1], parity - own[:, 0], atol=1e-4)
    assert torch.allclose(load(finished.folder).reconstruct(queries, lost=1), answers, atol=1e-5)
    with pytest.raises(ExportError, match=r"the deployed model must be the one that the bundle in .* was trained for"):
        load(finished.folder, deployed=MLP([1, 8, 8], 10))


class Wrong:
    """A format whose programs answer otherwise than TorchScript's."""

    suffix = ".ts"

    def save(self, part: nn.Module, example: tuple[Tensor, ...], path: Path) -> None:
        """Write one part."""
        TorchScript().save(part, example, path)

    def load(self, path: Path) -> Program:
        """Return the wrong program."""
        return self.wrong(path.stem, TorchScript().load(path))

    def wrong(self, name: str, program: Program) -> Program:
        raise NotImplementedError


class FirstAlone(Wrong):
    def wrong(self, name: str, program: Program) -> Program:
        return lambda *inputs: program(*(one[:1].expand_as(one) for one in inputs))


class FirstPattern(Wrong):
    def wrong(self, name: str, program: Program) -> Program:
        return lambda first, *arrived: program(first, *(one[:1].expand_as(one) for one in arrived))


class OneLate(Wrong):
    def wrong(self, name: str, program: Program) -> Program:
        if name != "confidence":
            return program
        return lambda predictions, arrived: torch.full(predictions.shape[:2], arrived.size(1) - 1.0)


class Arrived(nn.Module):
    """A confidence: the number of outputs that arrived."""

    def forward(self, predictions: Tensor, arrived: Tensor) -> Tensor:
        """Return the number, for each prediction."""
        return arrived.sum(1, keepdim=True).expand(predictions.size(0), predictions.size(1)).to(predictions.dtype)


@pytest.mark.parametrize(
    ("format", "part"), [(FirstAlone, "LinearEncoder"), (FirstPattern, "SubtractionDecoder"), (OneLate, "Arrived")]
)
def test_programs_must_answer_each_row_and_each_arrival_pattern(format: type[Wrong], part: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=f"{part} must give its own numbers to 1e-5 when exported .*, got others"):
        export(Sum(k=2), [nn.Flatten()], (4,), 4, {}, tmp_path / "export", format(), confidence=Arrived())
    assert not list(tmp_path.iterdir())


def test_numbers_are_alike_by_the_size_of_their_row() -> None:
    wanted = torch.tensor([[1000.0, 1.0], [1.0, 0.0]])
    assert alike(wanted, wanted + torch.tensor([[0.0, 9e-3], [0.0, 9e-6]]))
    assert not alike(wanted, wanted + torch.tensor([[0.0, 0.0], [0.0, 9e-5]]))
    nan, inf = float("nan"), float("inf")
    odd = torch.tensor([[nan, inf, 0.0]])
    assert alike(odd, odd.clone())
    for other in ([[0.0, inf, 0.0]], [[nan, -inf, 0.0]], [[nan, inf, nan]], [[nan, 1.0, 0.0]]):
        assert not alike(odd, torch.tensor(other))
