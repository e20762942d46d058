"""Choices for a training: processes, precision, callbacks, metrics, teacher, starting weights and logger."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from parmtrain import compose
from parmtrain.config import assemble
from parmtrain.errors import ConfigError
from parmtrain.models import MLP
from parmtrain.programs import weights
from parmtrain.result import Result
from parmtrain.training.coded_groups import CodedGroups
from tests.formats import save_exported, save_torchscript
from tests.small_runs import small_run

pytestmark = pytest.mark.slow


@pytest.mark.thorough
def test_two_processes_give_the_figures_of_one(tmp_path: Path) -> None:
    network = tmp_path / "f.pt2"
    save_exported(MLP([1, 8, 8], 10), network)
    shared = (f"deployed.path={network}", "groups=32")
    one = small_run(tmp_path / "one", *shared).metrics
    two = small_run(tmp_path / "two", "trainer=ddp", *shared).metrics
    for part in ("validation", "degraded", "all_k"):
        assert two[part] == one[part]
    columns = [(tmp_path / name / "logs/version_0/metrics.csv").read_text().splitlines() for name in ("one", "two")]
    assert columns[0][0] == columns[1][0]
    assert len(columns[0]) == len(columns[1])


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (("groups=63",), "groups must be a multiple of the 2 processes that share it, got 63"),
        (("averaging=ema",), "averaging must be null with 2 processes; use trainer.devices=1 with it"),
    ],
)
def test_what_two_processes_cannot_share(overrides: tuple[str, ...], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        small_run(tmp_path / "run", "trainer=ddp", *overrides)


@pytest.mark.parametrize(
    "overrides",
    [("averaging=ema", "averaging.decay=0.9"), ("parity.channels_last=true",), ("trainer.precision=bf16-mixed",)],
    ids=" ".join,
)
def test_ways_to_train(overrides: tuple[str, ...], finished: Result, tmp_path: Path) -> None:
    network, trained = tmp_path / "f.ts", finished.module.deployed.network
    assert isinstance(trained, nn.Module)
    save_torchscript(trained, network)
    ours = small_run(tmp_path / "run", f"deployed.path={network}", *overrides).metrics["degraded"]["accuracy"]
    assert ours == pytest.approx(finished.metrics["degraded"]["accuracy"], abs=0.05)


def test_callbacks_of_the_configuration_are_heard(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stop_at_once = "+callbacks.early_stopping.stopping_threshold=0.0"
    named = "callbacks=[early_stopping,learning_rate,model_summary]"
    target = "pytorch_lightning.callbacks.ModelCheckpoint"
    every_epoch = (f"+callbacks.mine._target_={target}", f"+callbacks.mine.dirpath={tmp_path}/mine")
    metrics = small_run(tmp_path, named, stop_at_once, *every_epoch, "trainer.max_epochs=6").metrics
    assert metrics["training"]["epochs"] == 1
    assert [path.suffix for path in (tmp_path / "mine").iterdir()] == [".ckpt"]
    assert "lr-Adam" in (tmp_path / "logs/version_0/metrics.csv").read_text().splitlines()[0]
    assert "parity_models" in capsys.readouterr().out


def test_metrics_of_the_configuration_are_scored(tmp_path: Path) -> None:
    degraded = small_run(tmp_path, "metrics=[top2]", "trainer.max_epochs=1").metrics["degraded"]
    assert degraded["accuracy"] < degraded["top2"] < degraded["top5"]
    assert sum(degraded["top2_by_position"]) / 2 == pytest.approx(degraded["top2"])


def test_validating_every_second_epoch(tmp_path: Path) -> None:
    metrics = small_run(tmp_path, "+trainer.check_val_every_n_epoch=2", "trainer.max_epochs=4").metrics
    assert metrics["training"]["epochs"] == 4
    assert metrics["validation"]["epoch"] in (1, 3)


def test_a_parity_model_starts_from_the_deployed_models_weights(finished: Result) -> None:
    cfg, deployed = compose(), finished.module.deployed
    same = assemble.parity_model(cfg, assemble.build(cfg.task), deployed, (1, 8, 8))
    theirs = weights(deployed.network)
    assert all(torch.equal(value, theirs[name]) for name, value in same.state_dict().items())
    cfg = compose("parity.start=random")
    random = assemble.parity_model(cfg, assemble.build(cfg.task), deployed, (1, 8, 8))
    name, value = next(random.named_parameters())
    assert not torch.equal(value, theirs[name])


class Watched(nn.Module):
    """A deployed model that counts the queries it has answered."""

    def __init__(self) -> None:
        super().__init__()
        self.layers, self.answered = nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.Linear(48, 10)), 0

    def forward(self, queries: torch.Tensor) -> torch.Tensor:
        self.answered += len(queries)
        predictions: torch.Tensor = self.layers(queries)
        return predictions


def share_found(predictions: torch.Tensor, others: torch.Tensor) -> float:
    """Return the share of predictions that are also among the others."""
    distances = torch.cdist(predictions, others, compute_mode="donot_use_mm_for_euclid_dist")
    return (distances.min(dim=1).values < 1e-4).float().mean().item()


@pytest.mark.parametrize("teacher", ["query", "unaugmented"])
def test_the_teacher_sees_what_the_encoder_saw_or_the_unaugmented_image(
    teacher: str, data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from parmtrain.training import losses

    true_loss, network = losses.kl, Watched()
    taught: list[torch.Tensor] = []
    answered: list[int] = []

    def watched(groups: CodedGroups) -> torch.Tensor:
        if torch.is_grad_enabled() and len(groups.labels) > 1:  # a training batch, not the trial of one group
            taught.append(groups.predictions.flatten(0, 1))
            answered.append(network.answered)
        network.answered = 0
        return true_loss(groups)

    monkeypatch.setattr(losses, "kl", watched)
    cifar = (
        "task=cifar10",
        f"data.root={data_root}",
        "task.source.validation=20",
        "groups=50",
        "code=sum",
        "parity=lenet",
    )
    epochs = ("trainer.max_epochs=3", f"teacher={teacher}")
    small_run(tmp_path, *cifar, *epochs, deployed=network.forward)  # a module would be copied
    first, second, third = taught  # one batch of all 80 training queries in each epoch
    shares = [share_found(first, other) for other in (second, third)]
    if teacher == "query":
        assert answered[1:] == [len(second), len(third)]  # F runs once on each augmented query
        assert max(shares) < 0.5
    else:
        assert answered[1:] == [0, 0]  # F ran on the unaugmented queries once, beforehand
        assert min(shares) > 0.9
