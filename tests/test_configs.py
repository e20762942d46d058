"""Every YAML composes and passes the check; every fault of a configuration is said in one sentence."""

from pathlib import Path

import pytest
import torch
from torch import nn

from parmtrain.config.check import check
from parmtrain.config.overrides import override_faults
from parmtrain.config.schema import compose, config_folder
from parmtrain.errors import ConfigError
from parmtrain.models import MLP

OPTIONS = sorted(path.relative_to(config_folder()) for path in config_folder().rglob("*/*.yaml"))


def overrides_for(option: Path) -> list[str]:
    group, name = str(option.parent), option.stem
    if group == "hydra":
        return []
    if group == "model":
        return [f"model@deployed.model={name}", "parity=as_deployed"]
    if option == Path("loss/giou.yaml"):
        return ["task=garment_boxes", "loss=giou"]
    if group == "features":
        return ["task=speech_commands", f"features={name}"]
    return [f"{group}={name}"]


def faults(folder: Path, *overrides: str, given: nn.Module | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        check(compose(*overrides), folder, given)
    return caught.value.faults


def test_every_group_is_found() -> None:
    groups = {str(option.parent) for option in OPTIONS}
    assert groups >= {
        "task",
        "model",
        "code",
        "parity",
        "loss",
        "optim",
        "scheduler",
        "trainer",
        "logger",
        "experiment",
    }


@pytest.mark.parametrize("option", OPTIONS, ids=str)
def test_every_yaml_composes_and_passes_the_check(option: Path, data_root: Path, tmp_path: Path) -> None:
    check(compose(*overrides_for(option), f"data.root={data_root}", "logger.offline=true"), tmp_path) if (
        option == Path("logger/wandb.yaml")
    ) else check(compose(*overrides_for(option), f"data.root={data_root}"), tmp_path)


CODES = [option.stem for option in OPTIONS if option.parent == Path("code")]


@pytest.mark.parametrize("task", [option.stem for option in OPTIONS if option.parent == Path("task")])
@pytest.mark.parametrize("code", CODES)
def test_every_code_takes_every_task_or_says_why_not(task: str, code: str, data_root: Path, tmp_path: Path) -> None:
    overrides = (f"task={task}", f"code={code}", f"data.root={data_root}")
    if code == "learned_mlp" and task in (
        "cats_vs_dogs",
        "cub200",
        "garment_boxes",
        "speech_commands",
        "speech_commands_v2",
    ):
        assert faults(tmp_path, *overrides, "k=4")[0].startswith("k=4: code=learned_mlp has")
    else:
        check(compose(*overrides, "k=2" if code.startswith("learned") else "k=4"), tmp_path)


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (("code=learned_mlp", "loss=mse"), "code=learned_mlp has no target for the output of a parity model; loss=kl"),
        (("code=stack", "r=2"), "r=2: code=stack makes one parity query a group; r=1 is right"),
        (("code=linear", "r=0"), "r=0: a coding group has 1 extra worker or more"),
        (("code=replication", "k=3", "r=1"), "r=1: code=replication sends every query twice, to k=3 extra workers"),
        (("code=berrut_a", "code.nodes=C"), "code.nodes=C: there are two choices of nodes, A and B"),
        (("code=nercc", "k=40", "r=4"), "r=4: code=nercc keeps a matrix for each case"),
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

    check(compose("code=learned_mlp"), tmp_path, network)
    (fault,) = faults(tmp_path, "code=learned_mlp", given=Opaque())
    assert fault.startswith("code=learned_mlp trains through the deployed model, and this one passes no gradient back")


def test_a_code_that_trains_nothing_has_nothing_to_go_on_with(tmp_path: Path) -> None:
    last = tmp_path / "last.ckpt"
    torch.save({"state_dict": {}, "loops": {}}, last)
    (fault,) = faults(tmp_path / "run", "code=berrut_b", f"ckpt_path={last}")
    assert fault.endswith("code=berrut_b trains nothing to go on with")


def test_the_command_line_wins_over_an_experiment_and_that_over_its_groups() -> None:
    cfg = compose("experiment=parm_original", "task=fashion_mnist", "trainer.max_epochs=12")
    assert (cfg.loss._target_, cfg.trainer.max_epochs) == ("parmtrain.training.losses.mse", 12)
    assert compose("experiment=parm_original", "loss=kl").loss._target_ == "parmtrain.training.losses.kl"
    assert compose("experiment=parm_original").trainer.max_epochs == 500


@pytest.mark.parametrize("task", ["digits", "fashion_mnist", "spoken_words", "garment_boxes"])
def test_the_papers_recipe_is_the_papers_on_every_task(task: str) -> None:
    cfg = compose("experiment=parm_original", f"task={task}")
    assert (cfg.code._target_, cfg.loss._target_) == ("parmtrain.codes.Sum", "parmtrain.training.losses.mse")
    assert compose("experiment=parm_original", f"task={task}", "code=stack").code._target_ == "parmtrain.codes.Stack"


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("k=two", "k=two: Value 'two' of type 'str' could not be converted to Integer"),
        ("kk=3", "kk=3: there is no key kk; did you mean k?"),
        ("code=sun", "code=sun: there is no such code; backup, berrut_a, berrut_b, "),
        ("task=cifar", "task=cifar: there is no such task; arrays, cats_vs_dogs, cifar10, cifar100, cub200, "),
        (
            "trainer.max_epoch=3",
            "trainer.max_epoch=3: there is no key trainer.max_epoch; did you mean trainer.max_epochs?",
        ),
        ("data.rot=x", "data.rot=x: there is no key data.rot; did you mean data.root?"),
        ("teacher=foo", "teacher=foo: Invalid value 'foo', expected one of [query, unaugmented]"),
        ("parity.start=foo", "parity.start=foo: Invalid value 'foo', expected one of [deployed, random]"),
        ("unavailable=[x]", "unavailable=[x]: Value 'x' of type 'str' could not be converted to Float"),
        ("k=[2", "k=[2: it is no override; key=value is right"),
        ("k", "k: it is no override; key=value is right"),
        ("parity.model.hidden=[9]", "parity.model.hidden=[9]: there is no key parity.model.hidden; did you mean"),
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
        ("k=1", "k=1: a coding group has 2 queries or more"),
        ("k=0", "k=0: a coding group has 2 queries or more"),
        ("k=-2", "k=-2: a coding group has 2 queries or more"),
        ("r=2", "r=2: code=sum makes one parity query a group; r=1 is right"),
        ("groups=0", "groups=0: a whole number of 1 or more is right"),
        ("seed=-1", "seed=-1: a whole number of 0 or more is right, under"),
        ("trainer.max_epochs=-1", "trainer.max_epochs=-1: a whole number of 1 or more is right"),
        ("unavailable=[0.1,2]", "unavailable: 2.0 is no fraction; numbers from 0 to 1 are right"),
        ("optim.lr=fast", "optim.lr=fast: torch.optim.Adam takes float there"),
        ("optim.lr=-1", "optim: Invalid learning rate: -1"),
        ("+optim.speed=1", "optim.speed: torch.optim.Adam has no such argument; it has"),
        (
            "optim._target_=torch.optim.Adma",
            "optim._target_=torch.optim.Adma: no such class or function can be imported",
        ),
        ("loss._target_=torch.relu", "loss: "),
        ("trainer.accelerator=abacus", "trainer: You selected an invalid accelerator name"),
        ("deployed.path=/nowhere/f.pt", "deployed.path=/nowhere/f.pt: there is no such file"),
        ("deployed.model._target_=torch.nn.Identity", "deployed.model answers 2 queries with [2, 1, 8, 8]; [batch"),
        ("task.input.mean=[0.1,0.2]", "task.input.mean has 2 numbers; 1 or 1 (channels) is right"),
        ("task.classes=[a,b]", "task.classes has 2 words; task.outputs=10 is right"),
        ("ckpt_path=/nowhere/last.ckpt", "ckpt_path=/nowhere/last.ckpt: there is no such file"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(override: str, sentence: str, tmp_path: Path) -> None:
    assert any(fault.startswith(sentence) for fault in faults(tmp_path, override)), faults(tmp_path, override)


def test_all_faults_are_named_at_once(tmp_path: Path) -> None:
    found = faults(
        tmp_path, "k=1", "groups=0", "optim.lr=fast", "task=cifar10", f"data.root={tmp_path}", "ckpt_path=/nowhere"
    )
    for beginning in ("k=1", "groups=0", "optim.lr=fast", "ckpt_path=/nowhere", "CIFAR-10 is missing"):
        assert sum(fault.startswith(beginning) for fault in found) == 1, found
    assert len(found) == 5


def test_concat_needs_room_for_its_grid(tmp_path: Path) -> None:
    check(compose("code=concat", "k=5"), tmp_path)
    assert "needs images of 10×10 pixels or more; these have 8×8" in faults(tmp_path, "code=concat", "k=100")[0]


def test_missing_data_names_the_folder_and_the_key(tmp_path: Path) -> None:
    (fault,) = faults(tmp_path / "run", "task=cifar10", f"data.root={tmp_path}", "data.download=false")
    assert f"in the folder {tmp_path}/cifar-10-batches-py" in fault
    assert "data.root=… names" in fault
    assert not (tmp_path / "cifar-10-batches-py").exists()


def test_a_deployed_model_of_another_task_is_refused(tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, given=MLP([1, 8, 8], 7))
    assert fault.startswith("the deployed model answers 2 queries with [2, 7]; [batch, outputs] = [2, 10] is right")


def test_a_finished_run_is_kept_unless_told(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text("{}")
    (fault,) = faults(tmp_path)
    assert "holds a finished run" in fault
    check(compose("overwrite=true"), tmp_path)
    assert (tmp_path / "metrics.json").exists()


def test_an_unfinished_run_is_kept_unless_told(tmp_path: Path) -> None:
    last = tmp_path / "checkpoints" / "last.ckpt"
    last.parent.mkdir()
    torch.save({"state_dict": {}, "loops": {}}, last)
    (fault,) = faults(tmp_path)
    assert f"ckpt_path={last} goes on with it" in fault
    check(compose(f"ckpt_path={last}"), tmp_path)
    last.write_bytes(b"cut off")
    assert "is damaged" in faults(tmp_path, f"ckpt_path={last}")[0]


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (fault,) = faults(tmp_path / "file" / "run")
    assert fault.startswith(f"hydra.run.dir={tmp_path}/file/run cannot be written")
