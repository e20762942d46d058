"""Every fault of a configuration is said in one sentence, before any work."""

from pathlib import Path

import pytest
import torch
from torch import nn

from parmtrain.config.check import check
from parmtrain.config.overrides import override_faults
from parmtrain.config.schema import compose
from parmtrain.models import MLP
from parmtrain.run_folder import RunFolder
from tests.found_faults import faults


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (
            ("code=learned_mlp", "loss=mse"),
            "code=learned_mlp has no target for the output of a parity model; use loss=kl",
        ),
        (("code=stack", "r=2"), "code=stack makes one parity query per group: r must be 1, got 2"),
        (("code=linear", "r=0"), "r must be 1 or more extra workers per coding group, got 0"),
        (
            ("code=replication", "k=3", "r=1"),
            "code=replication sends every query twice, to k=3 extra workers: r must be 3, got 1",
        ),
        (("code=berrut_a", "code.nodes=C"), "code.nodes must be A or B, got C"),
        (("code=nercc", "k=40", "r=4"), "code=nercc must have 20000 arrival patterns or fewer"),
    ],
)
def test_a_code_that_cannot_be_is_refused_before_any_work(
    overrides: tuple[str, ...], sentence: str, tmp_path: Path
) -> None:
    found = faults(tmp_path, *overrides)
    assert any(fault.startswith(sentence) for fault in found), found


def test_a_learned_code_needs_a_deployed_model_that_passes_gradients(tmp_path: Path) -> None:
    network = MLP([1, 8, 8], 10)

    class Opaque(nn.Module):
        def forward(self, queries: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():
                predictions: torch.Tensor = network(queries)
            return predictions

    assert faults(tmp_path, "code=learned_mlp", given=network) == []
    (fault,) = faults(tmp_path, "code=learned_mlp", given=Opaque())
    assert fault.startswith("the deployed model must pass gradients back for code=learned_mlp, got none")


def test_a_code_that_trains_nothing_has_nothing_to_go_on_with(tmp_path: Path) -> None:
    last = tmp_path / "last.ckpt"
    torch.save({"state_dict": {}, "loops": {}}, last)
    (fault,) = faults(tmp_path / "run", "code=berrut_b", f"ckpt_path={last}")
    assert fault.endswith("ckpt_path must be null for code=berrut_b, which has no training to resume")


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("k=two", "k=two: Value 'two' of type 'str' could not be converted to Integer"),
        ("kk=3", "kk=3: unknown key kk; did you mean k?"),
        ("code=sun", "code=sun: unknown code 'sun'; choose from backup, berrut_a, berrut_b, "),
        (
            "task=cifar",
            "task=cifar: unknown task 'cifar'; choose from arrays, cats_vs_dogs, cifar10, cifar100, cub200, ",
        ),
        (
            "trainer.max_epoch=3",
            "trainer.max_epoch=3: unknown key trainer.max_epoch; did you mean trainer.max_epochs?",
        ),
        ("data.rot=x", "data.rot=x: unknown key data.rot; did you mean data.root?"),
        ("teacher=foo", "teacher=foo: Invalid value 'foo', expected one of [query, unaugmented]"),
        ("parity.start=foo", "parity.start=foo: Invalid value 'foo', expected one of [deployed, random]"),
        ("unavailable=[x]", "unavailable=[x]: Value 'x' of type 'str' could not be converted to Float"),
        ("averaging=foo", "averaging=foo: unknown averaging 'foo'; choose from ema"),
        ("callbacks=[foo]", "callbacks=[foo]: unknown callbacks 'foo'; choose from early_stopping, "),
        ("k=[2", "k=[2: must be key=value"),
        ("k", "k: must be key=value"),
        ("parity.model.hidden=[9]", "parity.model.hidden=[9]: unknown key parity.model.hidden; did you mean"),
    ],
)
def test_an_override_that_does_not_compose_is_named(override: str, sentence: str) -> None:
    (fault,) = override_faults(["seed=3", override])
    assert fault.startswith(sentence)


def test_all_overrides_that_do_not_compose_are_named_at_once() -> None:
    assert len(override_faults(["-m", "kk=3", "k=two", "code=nope", "seed=1", "groups=2,x"])) == 4


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("k=1", "k must be 2 or more queries in a coding group, got 1"),
        ("k=0", "k must be 2 or more queries in a coding group, got 0"),
        ("k=-2", "k must be 2 or more queries in a coding group, got -2"),
        ("r=2", "code=sum makes one parity query per group: r must be 1, got 2"),
        ("groups=0", "groups must be an integer ≥ 1, got 0"),
        ("seed=-1", "seed must be an integer ≥ 0 and < 2147483648, got -1"),
        ("trainer.max_epochs=-1", "trainer.max_epochs must be an integer ≥ 1, got -1"),
        ("unavailable=[0.1,2]", "unavailable must hold fractions from 0 to 1, got 2.0"),
        ("optim.lr=fast", "optim.lr must be float for torch.optim.Adam, got fast"),
        ("optim.lr=-1", "optim: Invalid learning rate: -1"),
        ("+optim.speed=1", "optim.speed must be an argument of torch.optim.Adam; choose from"),
        (
            "optim._target_=torch.optim.Adma",
            "optim._target_ must be a class or function that can be imported, got torch.optim.Adma",
        ),
        ("loss._target_=torch.relu", "loss: "),
        ("trainer.accelerator=abacus", "trainer: You selected an invalid accelerator name"),
        ("deployed.path=/nowhere/f.pt", "deployed.path=/nowhere/f.pt: file not found"),
        (
            "deployed.model._target_=torch.nn.Identity",
            "deployed.model returns shape [2, 1, 8, 8] for 2 queries; expected [2, 10]",
        ),
        ("task.input.mean=[0.1,0.2]", "task.input.mean must have 1 or 1 values (channels), got 2"),
        ("task.classes=[a,b]", "task.classes must have 10 names (task.outputs), got 2"),
        ("ckpt_path=/nowhere/last.ckpt", "ckpt_path must be an existing file, got /nowhere/last.ckpt"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(override: str, sentence: str, tmp_path: Path) -> None:
    assert any(fault.startswith(sentence) for fault in faults(tmp_path, override)), faults(tmp_path, override)


def test_all_faults_are_named_at_once(tmp_path: Path) -> None:
    found = faults(
        tmp_path, "k=1", "groups=0", "optim.lr=fast", "task=cifar10", f"data.root={tmp_path}", "ckpt_path=/nowhere"
    )
    for beginning in ("k must", "groups must", "optim.lr must", "ckpt_path must", "CIFAR-10 is missing"):
        assert sum(fault.startswith(beginning) for fault in found) == 1, found
    assert len(found) == 5


def test_concat_needs_room_for_its_grid(tmp_path: Path) -> None:
    assert faults(tmp_path, "code=concat", "k=5") == []
    assert "needs images of 10×10 pixels or more, got 8×8" in faults(tmp_path, "code=concat", "k=100")[0]


def test_missing_data_names_the_folder_and_the_key(tmp_path: Path) -> None:
    (fault,) = faults(tmp_path / "run", "task=cifar10", f"data.root={tmp_path}", "data.download=false")
    assert f"in the folder {tmp_path}/cifar-10-batches-py" in fault
    assert "set data.root=… to" in fault
    assert not (tmp_path / "cifar-10-batches-py").exists()


def test_a_deployed_model_of_another_task_is_refused(tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, given=MLP([1, 8, 8], 7))
    assert fault.startswith("the deployed model returns shape [2, 7] for 2 queries; expected [2, 10]")


def test_a_finished_run_is_kept_unless_told(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text("{}")
    (fault,) = faults(tmp_path)
    assert "holds a finished run" in fault
    assert faults(tmp_path, "overwrite=true") == []
    assert (tmp_path / "metrics.json").exists()


def test_an_unfinished_run_is_kept_unless_told(tmp_path: Path) -> None:
    last = tmp_path / "checkpoints" / "last.ckpt"
    last.parent.mkdir()
    torch.save({"state_dict": {}, "loops": {}}, last)
    (fault,) = faults(tmp_path)
    assert f"resume it with ckpt_path={last}" in fault
    assert faults(tmp_path, f"ckpt_path={last}") == []
    last.write_bytes(b"cut off")
    assert "ckpt_path must be a checkpoint of a training" in faults(tmp_path, f"ckpt_path={last}")[0]


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (
            ("+trainer.callbacks=[]",),
            "trainer.callbacks must not be set, since parmtrain sets it; add yours with callbacks",
        ),
        (("+trainer.logger=true",), "trainer.logger must not be set, since parmtrain sets it; choose it with logger=…"),
        (("+trainer.num_sanity_val_steps=2",), "trainer.num_sanity_val_steps must not be set"),
        (("+trainer.enable_model_summary=true",), "trainer.enable_model_summary must not be set, since"),
        (("+trainer.use_distributed_sampler=true",), "trainer.use_distributed_sampler must not be set"),
        (("+logger.save_dir=x",), "logger.save_dir must not be set"),
        (("+scheduler.total_steps=3",), "scheduler.total_steps must not be set"),
        (("+deployed.fit.scheduler.total_steps=3",), "deployed.fit.scheduler.total_steps must not be set"),
        (("+optim.params=[]",), "optim.params must not be set"),
        (("+trainer.enable_progress_bar=false",), "trainer.enable_progress_bar must not be set"),
        (("+trainer.enable_checkpointing=false",), "trainer.enable_checkpointing must not be set"),
    ],
)
def test_what_is_set_elsewhere_is_refused_by_name(overrides: tuple[str, ...], sentence: str, tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, *overrides)
    assert fault.startswith(sentence)


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (("deployed.model.outputs=7",), "deployed.model.outputs must be 10, as task.outputs says, got 7"),
        (
            ("parity=mlp", "parity.model.query_shape=[1,9,9]"),
            "parity.model.query_shape must be [1, 8, 8], as task.query_shape says, got [1, 9, 9]",
        ),
        (
            ("+metrics.agreement._target_=parmtrain.metrics.functional.agree", "+metrics.agreement._partial_=true"),
            "metrics must have names that results do not use yet, got agreement; rename it",
        ),
        (
            ("+metrics.accuracy._target_=parmtrain.metrics.functional.agree", "+metrics.accuracy._partial_=true"),
            "metrics must have names that results do not use yet, got accuracy; rename it",
        ),
        (
            ("+metrics.distance._target_=torch.nn.functional.cosine_similarity", "+metrics.distance._partial_=true"),
            "metrics: ",
        ),
        (
            ("+metrics.size._target_=torch.linalg.vector_norm", "+metrics.size._partial_=true", "+metrics.size.dim=-1"),
            "metrics: ",
        ),
        (("export._target_=pathlib.Path",), "export must have suffix, save and load, like parmtrain.bundle.ExportForm"),
        (("+callbacks.bar._target_=pytorch_lightning.callbacks.RichProgressBar",), "trainer: "),
    ],
)
def test_what_would_fail_after_the_training_is_refused_before(
    overrides: tuple[str, ...], sentence: str, tmp_path: Path
) -> None:
    assert any(fault.startswith(sentence) for fault in faults(tmp_path, *overrides)), faults(tmp_path, *overrides)


def test_codes_on_a_search_path_are_no_faults(tmp_path: Path) -> None:
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "mine.yaml").write_text("_target_: parmtrain.codes.Sum\nk: ${k}\n")
    search = f"hydra.searchpath=['file://{tmp_path}']"
    (fault,) = override_faults(["code=mine", search, "k=two"])
    assert fault.startswith("k=two: Value 'two'")


def test_every_fault_has_the_key_that_it_is_about(tmp_path: Path) -> None:
    cfg = compose("groups=0", "optim.lr=fast", "task.classes=[a]", "ckpt_path=/nowhere")
    found = check(cfg, RunFolder(tmp_path))
    assert {fault.key for fault in found} == {"groups", "optim.lr", "task", "ckpt_path"}
