"""Deployed models that answer with more than one tensor, or with axes of length one."""

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from parmtrain import load
from parmtrain.answers import answering
from parmtrain.errors import ConfigError, DeployedModelError
from parmtrain.models import LeNet
from tests.formats import save_exported, save_torchscript
from tests.small_runs import small_run
from tests.tiers import thorough


@dataclass
class Output:
    logits: Tensor
    hidden: Tensor


class Several(nn.Module):
    """A network whose logits are one of two outputs."""

    def __init__(self, form: Any) -> None:
        super().__init__()
        self.inner, self.form = LeNet([1, 8, 8], 10, width=4), form

    def forward(self, queries: Tensor) -> Any:
        return self.form(self.inner(queries), queries)


FORMS: dict[str, tuple[Any, int | str]] = {
    "a tuple": (lambda logits, hidden: (hidden, logits), 1),
    "a list": (lambda logits, hidden: [logits, hidden], 0),
    "a mapping": (lambda logits, hidden: {"hidden": hidden, "logits": logits}, "logits"),
    "a dataclass": (Output, "logits"),
}


class Mapping(Several):
    """The one that returns a mapping, for a state dict."""

    def __init__(self) -> None:
        super().__init__(FORMS["a mapping"][0])


@pytest.mark.parametrize(("form", "output"), FORMS.values(), ids=FORMS)
def test_the_named_output_is_the_prediction(form: Any, output: int | str) -> None:
    network, queries = Several(form), torch.rand(3, 1, 8, 8)
    named = answering(network, output, queries, "F")
    assert torch.equal(named(queries), network.inner(queries))
    function = answering(network.forward, output, queries, "F")
    assert torch.equal(function(queries), network.inner(queries))


@pytest.mark.parametrize(
    "shaped", [lambda one: one[..., None, None], lambda one: one.unsqueeze(1)], ids=["after", "before"]
)
def test_axes_of_length_one_are_dropped(shaped: Any) -> None:
    network, queries = Several(lambda logits, _: shaped(logits)), torch.rand(3, 1, 8, 8)
    assert torch.equal(answering(network, None, queries, "F")(queries), network.inner(queries))


@pytest.mark.parametrize(
    ("form", "output", "sentence"),
    [
        (Output, None, r"F returns a Output of logits \[3, 10\] and hidden \[3, 1, 8, 8\]; name one: .*output=logits"),
        (Output, "scores", r"F must return an output scores \(deployed\.output\), got logits, hidden"),
        (lambda logits, hidden: (logits, hidden), 2, r"F must return an output 2 \(deployed\.output\), got 0, 1"),
        (lambda logits, _: logits, 0, r"F must return an output 0 \(deployed\.output\), got a Tensor alone"),
    ],
)
def test_an_output_that_is_not_there_is_named_with_those_that_are(form: Any, output: Any, sentence: str) -> None:
    with pytest.raises(DeployedModelError, match=sentence):
        answering(Several(form), output, torch.rand(3, 1, 8, 8), "F")


class Both(nn.Module):
    """A network that can be scripted and exported, with two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = LeNet([1, 8, 8], 10, width=4)

    def forward(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        return queries, self.inner(queries)


@pytest.mark.slow
@pytest.mark.parametrize("save", [save_torchscript, save_exported])
@pytest.mark.parametrize("code", ["concat_heads", thorough("lowres")])
def test_programs_have_outputs_and_are_carried_to_other_processes(save: Any, code: str, tmp_path: Path) -> None:
    save(Both().eval(), tmp_path / "f")
    result = small_run(tmp_path / "run", f"deployed.path={tmp_path / 'f'}", "deployed.output=1", f"code={code}")
    queries = torch.rand(3, 1, 8, 8)
    for part in (result.module.deployed, *result.module.parity_models):
        shape = result.module.code.parity_shape((1, 8, 8))
        asked = queries if part is result.module.deployed else torch.rand(3, *shape)
        with torch.no_grad():
            assert torch.equal(pickle.loads(pickle.dumps(part))(asked), part(asked))


@pytest.mark.slow
def test_a_run_takes_the_output_that_is_named(tmp_path: Path) -> None:
    network = Several(FORMS["a mapping"][0])
    result = small_run(tmp_path / "run", "deployed.output=logits", "code=concat_heads", deployed=network)
    assert result.metrics["cost"]["parity_flops"] == pytest.approx(1, abs=0.2)
    queries = torch.rand(3, 2, 1, 8, 8)
    answered = load(tmp_path / "run", deployed=network).reconstruct(queries, lost=2)
    assert torch.equal(answered.flatten(0, 1), network(queries.flatten(0, 1))["logits"])
    torch.save(network.state_dict(), tmp_path / "f.pt")
    named = (f"deployed.path={tmp_path / 'f.pt'}", "deployed.model={_target_: tests.test_answers.Mapping}")
    other = small_run(tmp_path / "file", "deployed.output=logits", "code=concat_heads", *named)
    assert other.metrics["available"] == result.metrics["available"]
    with pytest.raises(ConfigError, match=r"deployed\.output must be null without deployed\.path, got logits"):
        small_run(tmp_path / "other", "deployed.output=logits")
