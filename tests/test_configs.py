"""Every YAML file composes and passes the check, and the check leaves nothing behind."""

from functools import cache, partial
from math import prod
from pathlib import Path

import pytest
import yaml
from omegaconf import DictConfig, OmegaConf

from parmtrain.config import assemble
from parmtrain.config.comments import keys_of, options_of
from parmtrain.config.compose import compose
from parmtrain.config.faults import Trial
from parmtrain.config.folder import config_folder
from parmtrain.config.sources import options
from parmtrain.config.trial import try_code
from parmtrain.deployed import DeployedModel
from parmtrain.errors import ConfigError
from parmtrain.tasks import Task
from tests.found_faults import faults

OPTIONS = sorted(path.relative_to(config_folder()) for path in config_folder().rglob("*/*.yaml"))
HOW_TO_CHOOSE = {
    "hydra": "seed=0",
    "model": "model@deployed.model={}",
    "callbacks": "callbacks=[{}]",
    "metrics": "metrics=[{}]",
}
LARGE_MODELS = ("task", "model", "parity")
TASK_OF = {
    "loss/giou.yaml": "garment_boxes",
    "augment_query": "spoken_words",
    "features": "speech_commands",
    "model/torchvision.yaml": "cifar10",
}

ROUNDS = Path("export/onnx_int8.yaml")  # what it writes is not what a run scored
INCOMPLETE = {
    Path("code/auto.yaml"): "no code itself: see test_choice.py",
    Path("model/own.yaml"): "names no class: see test_own_models.py",
    Path("task/module.yaml"): "names no data set: see test_own_data.py",
    Path("task/embedding.yaml"): "names no deployed model: see test_own_data.py",
}
QUICK = ("digits", "vectors", "garment_boxes")  # tasks of each kind that take a few seconds with every code


def overrides_for(option: Path) -> list[str]:
    group = str(option.parent)
    task = TASK_OF.get(str(option), TASK_OF.get(group))
    chosen = HOW_TO_CHOOSE.get(group, f"{group}={{}}").format(option.stem)
    return [chosen] if task is None else [f"task={task}", chosen]


def test_a_missing_folder_of_yaml_files_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^--config-dir .*/missing: folder not found"):
        compose(config_dir=tmp_path / "missing")


def test_an_option_with_the_name_of_another_is_refused(tmp_path: Path) -> None:
    (tmp_path / "loss").mkdir()
    (tmp_path / "loss" / "kl.yaml").write_text("_target_: mine.kl")
    with pytest.raises(
        ConfigError, match=r"--config-dir .*: loss/kl.yaml has the name of an option of parmtrain; rename"
    ):
        compose("loss=kl", config_dir=tmp_path)


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (fault,) = faults(tmp_path / "file" / "run")
    assert fault.startswith(f"folder={tmp_path}/file/run cannot be written")


def test_every_group_is_found() -> None:
    folders = {path.name for path in config_folder().iterdir() if path.is_dir()}
    assert {option.parts[0] for option in OPTIONS} == folders
    assert {"task", "code", "loss", "optim", "callbacks", "metrics", "export"} <= folders


@pytest.mark.slow
@pytest.mark.parametrize(
    "option",
    [
        pytest.param(option, id=str(option), marks=[pytest.mark.slow] if option.parts[0] in LARGE_MODELS else [])
        for option in OPTIONS
        if option not in INCOMPLETE and option != ROUNDS
    ],
)
def test_every_yaml_composes_and_passes_the_check(option: Path, data_root: Path, tmp_path: Path) -> None:
    more = {Path("logger/wandb.yaml"): ["logger.offline=true"]}
    more[Path("task/folder.yaml")] = [f"data.root={data_root / 'cats_vs_dogs'}", "task.outputs=2"]
    assert faults(tmp_path, *overrides_for(option), f"data.root={data_root}", *more.get(option, [])) == []


def test_a_format_that_rounds_is_for_finished_runs(data_root: Path, tmp_path: Path) -> None:
    (sentence,) = faults(tmp_path, *overrides_for(ROUNDS), f"data.root={data_root}")
    assert "export the finished run: parmtrain export RUN" in sentence


@cache
def code_node(option: str) -> DictConfig:
    """Return the configuration of a code, whose interpolations resolve wherever it is put."""
    node: DictConfig = compose(f"code={option}").code
    return node


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        name if name in QUICK else pytest.param(name, marks=pytest.mark.thorough)
        for name in options("task")
        if Path(f"task/{name}.yaml") not in INCOMPLETE or name == "embedding"
    ],
)
def test_every_task_is_taken_by_every_code_or_refused_with_a_reason(name: str) -> None:
    task_cfg = compose(f"task={name}", "k=4")
    task: Task = assemble.build(task_cfg.task)
    task_cfg.deployed.model = compose("model@deployed.model=small").deployed.model
    deployed = DeployedModel(assemble.architecture(task_cfg.deployed.model, task, task.query_shape))
    if 2_000 < prod(task.query_shape) < 10_000:
        task_cfg.k = 2  # with more, learned_mlp would have hundreds of millions of weights, still too few to be refused
    taken = set()
    for option in set(options("code")) - {"auto"}:
        cfg = task_cfg.copy()
        cfg.code = code_node(option)
        trial = Trial(known=[])
        code = trial("code", partial(assemble.build, cfg.code))
        if code is not None:
            try_code(trial, cfg, code, task, deployed)
        assert all(
            fault.key in ("code", "parity.model")
            and (f"code={option}" in fault.sentence or "needs queries of shape" in fault.sentence)
            for fault in trial.found
        ), trial.found
        taken |= set() if trial.found else {option}
    assert {"sum", "linear", "berrut_b", "replication", "default"} <= taken


@pytest.mark.slow
@pytest.mark.parametrize("code", [option for option in options("code") if option != "auto"])
def test_every_code_is_taken_by_the_smallest_task(code: str, tmp_path: Path) -> None:
    assert faults(tmp_path, f"code={code}", "k=2") == []


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_check_neither_writes_nor_downloads(tmp_path: Path) -> None:
    places = (f"data.root={tmp_path}/data", f"cache={tmp_path}/cache")
    assert faults(tmp_path / "runs" / "one", "task=cifar10", *places) == []
    alone = ("data.download=false", "k=1")
    assert any("is missing" in fault for fault in faults(tmp_path / "runs", "task=cifar10", *alone, *places))
    assert list(tmp_path.iterdir()) == []


OF_YOUR_OWN = {"module", "embedding", "arrays", "vectors"}


@pytest.mark.parametrize("task", sorted(set(options("task")) - OF_YOUR_OWN))
def test_what_a_task_says_takes_effect(task: str) -> None:
    cfg = compose(f"task={task}")
    for one in keys_of(options_of("task")[task]):
        plain = one.value and not one.value.startswith(("[", "{", "???")) and "$" not in one.value
        if plain and OmegaConf.select(cfg, one.key, default=None) is not None and "/" not in one.key:
            assert OmegaConf.select(cfg, one.key) == yaml.safe_load(one.value), one.key
