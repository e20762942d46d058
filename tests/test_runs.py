"""Whole runs on small real inputs."""

import json
import re
import time
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from parmtrain import compose, load, run
from parmtrain.codes import arrivals, decode_each
from parmtrain.config import assemble
from parmtrain.errors import ConfigError, DataError, ExportError, TrainingError
from parmtrain.evaluate import evaluate
from parmtrain.models import MLP
from parmtrain.runs import Result
from parmtrain.tasks.digits import Digits
from tests.formats import save_exported, save_state_dict, save_torchscript

SHORT = ("trainer.max_epochs=3", "deployed.fit.epochs=4")
CLOCK = ("seconds", "queries_per_second")


def small_run(folder: Path, *overrides: str, **more: Any) -> Result:
    return run(compose(*SHORT, *overrides), folder, **more)


def figures(result: Result) -> dict[str, Any]:
    """Return all that the same seed must give again."""
    training = {key: value for key, value in result.metrics["training"].items() if key not in CLOCK}
    return {**result.metrics, "training": training, "timing": None}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return small_run(tmp_path_factory.mktemp("runs") / "finished")


def test_a_run_writes_everything(finished: Result) -> None:
    folder = finished.folder
    assert json.loads((folder / "metrics.json").read_text()) == finished.metrics
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert names == {
        "config.yaml",
        "metrics.json",
        "training.png",
        "overall_accuracy.png",
        "examples.png",
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
        "logs/version_0/metrics.csv",
        "logs/version_0/hparams.yaml",
        "export/bundle.json",
        "export/encoder.ts",
        "export/parity_model.ts",
        "export/decoder.ts",
    }
    cfg = OmegaConf.load(folder / "config.yaml")
    assert (cfg.k, cfg.code.k, cfg.task.name) == (2, 2, "digits")
    assert "${" not in (folder / "config.yaml").read_text()


def test_metrics_have_their_keys_and_belong_together(finished: Result) -> None:
    metrics = finished.metrics
    available, degraded = metrics["available"]["accuracy"], metrics["degraded"]["accuracy"]
    low, high = metrics["degraded"]["accuracy_ci95"]
    assert low < degraded < high
    assert sum(metrics["degraded"]["by_position"]) / 2 == pytest.approx(degraded)
    assert 0 < metrics["degraded"]["agreement"] <= 1
    assert metrics["degraded"]["top5"] >= degraded
    assert metrics["degraded"]["groups"] == 225
    assert metrics["overall"] == pytest.approx(
        {str(share): (1 - share) * available + share * degraded for share in (0.01, 0.05, 0.1)}
    )
    assert metrics["nobody_late"]["accuracy"] == pytest.approx(available)
    assert metrics["all_k"]["accuracy"] == pytest.approx((2 * available + degraded) / 3)
    assert metrics["all_k"]["accuracy"] == pytest.approx(sum(metrics["all_k"]["by_worker"]) / 3)
    assert metrics["all_k"]["worst"]["accuracy"] == pytest.approx(min(metrics["all_k"]["by_worker"]))
    assert metrics["all_k"]["by_worker"][2] == pytest.approx(available)  # the parity model's worker
    assert metrics["stragglers"] == {}
    assert metrics["default"]["accuracy"] == 0.1
    cost = metrics["cost"]
    assert (cost["parity_bytes"], cost["extra_workers"], cost["parity_flops"]) == (1.0, 0.5, 1.0)
    assert 0 < cost["encoder_flops"] < 0.01
    assert 0 < metrics["timing"]["encode_us"] < 1e6
    assert 0 < metrics["timing"]["decode_us"] < 1e6
    assert metrics["training"]["epochs"] == 3
    assert metrics["training"]["queries_per_second"] == pytest.approx(
        3 * 1076 / metrics["training"]["seconds"], rel=1e-6
    )
    assert metrics["deployed"]["fingerprint"] == finished.module.deployed.fingerprint
    assert metrics["seed"] == 0
    assert torch.__version__.startswith(metrics["versions"]["torch"])


def test_the_scores_are_those_of_a_plain_loop(finished: Result) -> None:
    test = Digits(270, 450).read().test
    images = test.stored / 16
    module = finished.module
    order = torch.randperm(450, generator=torch.Generator().manual_seed(0)).view(-1, 2)
    hits = 0
    with torch.no_grad():
        for group in order.tolist():
            parity = module.parity_models[0](images[group].sum(0, keepdim=True))[0]
            for lost, other in (group, group[::-1]):
                rebuilt = parity - module.deployed(images[[other]])[0]
                hits += int(rebuilt.argmax() == test.labels[lost])
    assert finished.metrics["degraded"]["accuracy"] == pytest.approx(hits / 450)


def test_a_deployed_model_that_was_trained_is_kept_and_reused(
    finished: Result, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="parmtrain"):
        again = small_run(tmp_path)
    assert "trained earlier" in caplog.text
    assert "available accuracy A_a" in caplog.text
    assert figures(again) == figures(finished)


def test_another_seed_gives_other_figures(finished: Result, tmp_path: Path) -> None:
    other = small_run(tmp_path, "seed=1")
    assert other.metrics["deployed"] == finished.metrics["deployed"]
    assert other.metrics["degraded"] != finished.metrics["degraded"]


class Stop(nn.Module):
    """A loss that turns to NaN, or is cut off, at one step."""

    def __init__(self, step: int, what: type[BaseException] | None) -> None:
        super().__init__()
        self.left, self.what = step, what

    def forward(self, groups: Any) -> torch.Tensor:
        self.left -= 1
        loss: torch.Tensor = groups.parity.square().mean()
        if self.left == 0 and self.what is not None:
            raise self.what
        return loss * (torch.nan if self.left == 0 else 1)


def squared_output(groups: Any) -> torch.Tensor:
    """Return a loss that is the same before and after an interruption."""
    result: torch.Tensor = groups.parity.square().mean()
    return result


def test_interrupted_and_resumed_equals_uninterrupted(
    finished: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from parmtrain.errors import Interrupted
    from parmtrain.training import losses

    true_loss, calls = losses.kl, 0

    def cut_off(groups: Any) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == 20:  # in the second epoch
            raise KeyboardInterrupt
        return true_loss(groups)

    monkeypatch.setattr(losses, "kl", cut_off)
    with pytest.raises(Interrupted) as stopped:
        small_run(tmp_path / "first")
    assert stopped.value.checkpoint == tmp_path / "first" / "checkpoints" / "last.ckpt"
    monkeypatch.undo()
    resumed = small_run(tmp_path / "moved", f"ckpt_path={stopped.value.checkpoint}")
    assert figures(resumed) == figures(finished)
    same_folder = small_run(tmp_path / "first", f"ckpt_path={stopped.value.checkpoint}")
    assert figures(same_folder) == figures(finished)
    assert (tmp_path / "first" / "logs" / "version_0" / "metrics.csv").exists()


def test_two_processes_give_the_figures_of_one(tmp_path: Path) -> None:
    network = tmp_path / "f.ts"
    save_torchscript(MLP([1, 8, 8], 10), network)
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
        (("groups=63",), "groups=63: 2 processes share each batch; a multiple of it is right"),
        (("averaging=ema",), "averaging: it stays in one process, and trainer.devices gives 2; null is right"),
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
    network = tmp_path / "f.ts"
    save_torchscript(finished.module.deployed.network, network)
    ours = small_run(tmp_path / "run", f"deployed.path={network}", *overrides).metrics["degraded"]["accuracy"]
    assert ours == pytest.approx(finished.metrics["degraded"]["accuracy"], abs=0.05)


def test_a_checkpoint_of_another_training_is_refused(finished: Result, tmp_path: Path) -> None:
    last = finished.folder / "checkpoints" / "last.ckpt"
    for override, sentence in (
        ("k=3", "with code sum k=2 r=1, and this one has sum k=3 r=1"),
        ("trainer.max_epochs=9", "with steps 27, and this one has 81"),
        ("parity=mlp", "another architecture"),
    ):
        with pytest.raises(TrainingError, match=sentence):
            small_run(tmp_path / override, f"ckpt_path={last}", override)


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_good_state(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"the loss became nan at step \d+ \(epoch 0, batch \d+\); the last good"):
        small_run(tmp_path, "optim.lr=1e30")
    kept = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert all(value.isfinite().all() for value in kept.values())
    assert not (tmp_path / "metrics.json").exists()


def test_validating_every_second_epoch(tmp_path: Path) -> None:
    metrics = small_run(tmp_path, "+trainer.check_val_every_n_epoch=2", "trainer.max_epochs=4").metrics
    assert metrics["training"]["epochs"] == 4
    assert metrics["validation"]["epoch"] in (1, 3)


def test_a_training_without_validation_says_so(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no epoch ended with a validation"):
        small_run(tmp_path, "+trainer.limit_val_batches=0")


@pytest.mark.parametrize("suffix", [".pt", ".ts", ".pt2"])
def test_a_deployed_model_from_a_file_gives_the_same_run(suffix: str, finished: Result, tmp_path: Path) -> None:
    network = finished.module.deployed.network
    assert isinstance(network, nn.Module)
    path = tmp_path / f"f{suffix}"
    {".pt": save_state_dict, ".ts": save_torchscript, ".pt2": save_exported}[suffix](network, path)
    metrics = small_run(tmp_path / "run", f"deployed.path={path}").metrics
    assert metrics["degraded"]["accuracy"] == pytest.approx(finished.metrics["degraded"]["accuracy"], abs=0.02)
    assert metrics["available"] == finished.metrics["available"]
    assert metrics["deployed"] == finished.metrics["deployed"]


def test_fewer_queries_than_one_group(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"the val split has 270 queries, fewer than the 300 of one group \(k=300\)"):
        small_run(tmp_path, "k=300")


def test_a_deployed_model_given_from_python(tmp_path: Path) -> None:
    network = MLP([1, 8, 8], 10)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    result = small_run(tmp_path / "module", deployed=network)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert result.module.deployed.network is network
    called = small_run(tmp_path / "callable", "parity=mlp", deployed=network.forward)
    assert called.metrics["available"] == result.metrics["available"]


def test_a_parity_model_starts_from_the_deployed_models_weights(finished: Result) -> None:
    cfg, deployed = compose(), finished.module.deployed
    same = assemble.fresh_model(cfg, assemble.build(cfg.task), deployed, (1, 8, 8))
    assert all(torch.equal(value, deployed.network.state_dict()[name]) for name, value in same.state_dict().items())
    cfg = compose("parity.start=random")
    random = assemble.fresh_model(cfg, assemble.build(cfg.task), deployed, (1, 8, 8))
    assert not torch.equal(next(random.parameters()), next(deployed.network.parameters()))


@pytest.mark.parametrize("task", ["cifar10", "cifar100", "cats_vs_dogs", "mnist", "arrays"])
def test_every_task_runs_on_its_own_format(task: str, data_root: Path, tmp_path: Path) -> None:
    validation = [] if task in ("cats_vs_dogs", "arrays") else ["task.source.validation=20"]
    overrides = [f"task={task}", f"data.root={data_root}", *validation, "trainer.max_epochs=1", "groups=20"]
    network = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.LazyLinear(100 if task == "cifar100" else 10))
    if task == "cats_vs_dogs":
        network[2] = nn.LazyLinear(2)
    network(torch.zeros(1, 1 if task in ("mnist", "arrays") else 3, 32, 32))
    metrics = small_run(tmp_path, *overrides, "parity=lenet", deployed=network).metrics
    assert metrics["task"] == task
    assert ("top5" in metrics["degraded"]) == (task != "cats_vs_dogs")


def test_the_teacher_sees_what_the_encoder_saw_or_the_unaugmented_image(
    data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from parmtrain.training import losses

    true_loss, taught, asked, ran = losses.kl, [], [0], []

    def noted(groups: Any) -> torch.Tensor:
        taught.append(groups.predictions)
        ran.append((asked[0], groups.labels.numel() if torch.is_grad_enabled() else 0))
        asked[0] = 0
        return true_loss(groups)

    def count(network: nn.Module, queries: tuple[torch.Tensor]) -> None:
        asked[0] += len(queries[0])

    monkeypatch.setattr(losses, "kl", noted)
    network = nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.Linear(48, 10))
    network.register_forward_pre_hook(count)
    cifar = ("task=cifar10", f"data.root={data_root}", "task.source.validation=20", "groups=50", "parity=lenet")
    for teacher in ("query", "unaugmented"):
        small_run(tmp_path / teacher, *cifar, "trainer.max_epochs=2", f"teacher={teacher}", deployed=network)
    assert [calls for calls, _ in ran[2:5]] == [new for _, new in ran[2:5]]  # F runs once on what is augmented
    assert [calls for calls, _ in ran[7:]] == [0] * 3  # and, once it ran on all of it, never on what is not
    seen = {name: [values.flatten(0, 1) for values in taught[i : i + 4 : 2]] for name, i in (("query", 1), ("un", 6))}
    for name, (first, second) in seen.items():
        same = torch.cdist(first, second, compute_mode="donot_use_mm_for_euclid_dist").min(dim=1).values < 1e-4
        assert same.float().mean() > 0.9 if name == "un" else same.float().mean() < 0.5


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


@pytest.mark.parametrize(
    ("code", "trained", "archives"),
    [
        ("linear", True, ["parity_model.ts", "parity_model_2.ts"]),
        ("stack", True, ["parity_model.ts"]),
        ("backup", True, ["parity_model.ts"]),
        ("learned_mlp", True, []),
        ("learned_convolution", True, []),
        ("mean_parity", False, []),
        ("berrut_byzantine", False, []),
        ("nercc", False, []),
        ("replication", False, []),
        ("default", False, []),
    ],
)
def test_every_kind_of_code_runs_is_exported_and_scores_as_its_run_did(
    code: str, trained: bool, archives: list[str], tmp_path: Path
) -> None:
    epochs = "trainer.max_epochs=1"
    result = small_run(tmp_path, f"code={code}", "k=3", epochs)
    metrics = result.metrics
    assert metrics["training"]["epochs"] == (1 if trained else 0)
    assert (metrics["validation"] is not None) == trained
    assert (tmp_path / "training.png").exists() == trained
    assert sorted(path.name for path in (tmp_path / "export").glob("parity*")) == archives
    again = evaluate(tmp_path)
    for key in ("available", "nobody_late", "degraded", "all_k", "stragglers", "overall", "default"):
        assert again[key] == metrics[key], key
    bundle = load(tmp_path)
    if bundle.about["coded"] and not archives:
        with pytest.raises(ExportError, match=rf"code={code} runs coded queries on the deployed model, which is in no"):
            bundle.predict(torch.zeros(1, bundle.about["coded"], 1, 8, 8))
        with_it = load(tmp_path, deployed=result.module.deployed.network)
        assert with_it.predict(torch.zeros(1, bundle.about["coded"], 1, 8, 8)).shape == (1, bundle.about["coded"], 10)


def test_a_bundle_that_was_changed_is_refused(finished: Result, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(finished.folder / "export", tmp_path / "export")
    assert load(tmp_path).k == 2
    decoder = tmp_path / "export" / "decoder.ts"
    decoder.write_bytes(decoder.read_bytes() + b"\0")
    with pytest.raises(ExportError, match=r"decoder\.ts is not the file that was exported"):
        load(tmp_path)
    decoder.unlink()
    with pytest.raises(ExportError, match=r"decoder\.ts is missing"):
        load(tmp_path)
    (tmp_path / "export" / "bundle.json").write_text("{")
    with pytest.raises(ExportError, match=r"bundle\.json is damaged"):
        load(tmp_path)
    with pytest.raises(ExportError, match="holds no bundle"):
        load(tmp_path / "nowhere")


@pytest.mark.parametrize("logger", ["tensorboard", "wandb"])
def test_other_loggers_with_their_real_clients(logger: str, tmp_path: Path) -> None:
    offline = ["logger.offline=true"] if logger == "wandb" else []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the clients' own
        small_run(tmp_path, f"logger={logger}", *offline, "trainer.max_epochs=1")
    pattern = "*.wandb" if logger == "wandb" else "events.out.tfevents.*"
    deadline, written = time.monotonic() + 30, b""
    while b"test/degraded_accuracy" not in written and time.monotonic() < deadline:  # wandb's writer is its own process
        written = b"".join(log.read_bytes() for log in (tmp_path / "logs").rglob(pattern))
        time.sleep(0.1)
    assert b"val/degraded_accuracy" in written
    assert b"test/degraded_accuracy" in written
