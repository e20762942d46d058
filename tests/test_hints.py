"""Distillation of hidden features, for every way in which a parity model holds them."""

from pathlib import Path

import pytest
import torch
from torch import nn

from parmtrain import ParityModule
from parmtrain.codes import Backup, Code, Concat, Heads, Linear, LowRes, Sum
from parmtrain.deployed import DeployedModel
from parmtrain.errors import ConfigError
from parmtrain.models import LeNet, perceptron_student
from parmtrain.training.groups import GroupBatch
from parmtrain.training.hints import Hints
from parmtrain.training.losses import kl
from tests.formats import save_torchscript
from tests.small_runs import figures, small_run

QUERY, OUTPUTS, HIDDEN = (1, 8, 8), 10, 8
LENET = LeNet([*QUERY], OUTPUTS, width=2)  # with 8 hidden features
F = DeployedModel(LENET)
GROUPS = GroupBatch(torch.rand(5, 4, *QUERY), torch.zeros(5, 4, dtype=torch.long), None)


def module(code: Code, loss: Hints) -> ParityModule:
    def fresh(shape: tuple[int, ...], heads: int = 1, model: object = None, **_: object) -> nn.Module:
        return perceptron_student(list(shape), heads * OUTPUTS, 0.1)  # with 6 hidden features

    return ParityModule(F, code, code.parity_models(QUERY, F, fresh), loss=loss)


CODES: dict[str, tuple[Code, tuple[int, ...]]] = {
    "a student of small pictures": (LowRes(4), (5, 4, 6)),
    "students of two queries each": (Backup(4, r=2), (5, 4, 6)),
    "one model of the sum": (Sum(4), (5, 6)),
    "two models": (Linear(4, 2), (5, 12)),
    "heads": (Heads(Concat(4)), (5, 6)),
}


@pytest.mark.parametrize(("code", "shape"), CODES.values(), ids=CODES)
def test_hidden_features_of_every_code_are_mapped_to_those_of_each_query(code: Code, shape: tuple[int, ...]) -> None:
    loss = Hints(kl, weight=2.0)
    made = module(code, loss)
    loss.begin(made, QUERY, GROUPS.labels[:1])
    groups = loss.run_groups(made, GROUPS)
    assert groups.hidden is not None
    assert groups.parity_hidden is not None
    assert groups.hidden.shape == (5, 4, HIDDEN)
    assert groups.parity_hidden.shape == shape
    third = LENET.classifier[:2](LENET.features(GROUPS.queries[:, 2]).flatten(1))
    assert torch.allclose(groups.hidden[:, 2], third, atol=1e-6)
    nn.init.zeros_(loss.bridge.get_parameter("weight"))
    nn.init.zeros_(loss.bridge.get_parameter("bias"))
    assert torch.allclose(loss(groups), kl(groups) + 2.0)  # a map to zero is as far as the features are large
    assert set(made.state_dict()) > {"loss.bridge.weight", "loss.bridge.bias"}


def test_absent_queries_have_no_features_to_learn() -> None:
    loss, code = Hints(kl), Heads(Concat(4))
    made = module(code, loss)
    loss.begin(made, QUERY, GROUPS.labels[:1])
    groups = loss.run_groups(made, GROUPS, present=2)
    assert groups.hidden is not None
    groups.hidden[:, 2:] = 1e6
    assert loss(groups) < 100


@pytest.mark.thorough
def test_a_run_with_hints_is_repeated_and_exported_without_them(tmp_path: Path) -> None:
    same = ("code=lowres_perceptron", "loss=hints", "k=4")
    first, second = (small_run(tmp_path / name, *same) for name in ("a", "b"))
    assert figures(first) == figures(second)
    assert any(name.startswith("loss.bridge") for name in first.module.state_dict())
    assert all("bridge" not in name for name, _ in first.module.parity_models.named_parameters())


def test_predictions_that_are_known_are_kept() -> None:
    loss, known = Hints(kl), torch.full((5, 4, OUTPUTS), 7.0)
    made = module(LowRes(4), loss)
    assert torch.equal(loss.run_groups(made, GROUPS._replace(predictions=known)).predictions, known)


def test_codes_without_a_parity_model_have_no_hints(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="loss=hints needs a parity model, and code=learned_mlp trains none"):
        small_run(tmp_path, "code=learned_mlp", "loss=hints")


def test_programs_hide_their_features(tmp_path: Path) -> None:
    save_torchscript(LENET, tmp_path / "f.ts")
    with pytest.raises(
        ConfigError, match=r"loss=hints needs a linear layer in the deployed model.*got \w*ScriptModule"
    ):
        small_run(tmp_path / "run", "code=lowres", "loss=hints", f"deployed.path={tmp_path / 'f.ts'}")
