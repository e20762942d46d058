"""Every fault of a configuration, found before anything is downloaded, trained or written."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf
from torch import nn

from parmtrain.codes import Code
from parmtrain.config import assemble
from parmtrain.config.signatures import misnamed
from parmtrain.deployed import DeployedModel, Network, check_predictions
from parmtrain.errors import ConfigError, DataError, ParmtrainError
from parmtrain.tasks.base import Task
from parmtrain.training.groups import GroupBatch
from parmtrain.training.parity_module import ParityModule

FINISHED = "metrics.json"
UNFINISHED = Path("checkpoints/last.ckpt")
LIMITS: dict[str, tuple[float, float | None]] = {
    "seed": (0, 2**31),
    "groups": (1, None),
    "data.workers": (0, None),
    "deployed.fit.seed": (0, 2**31),
    "deployed.fit.epochs": (1, None),
    "deployed.fit.batch": (1, None),
    "trainer.max_epochs": (1, None),
}


def check(cfg: DictConfig, folder: Path, given: Network | None = None) -> None:
    """Raise a ``ConfigError`` with every fault of a configuration; if there is none, see to it that the data is there.

    Args:
        cfg: A composed configuration.
        folder: Folder that the run is to write.
        given: A deployed model that stands in for ``deployed.path``.
    """
    found = [*_outside_limits(cfg), *misnamed(cfg), *_folder_faults(cfg, folder), *_checkpoint_faults(cfg)]
    found += _trial_faults(cfg, given, known=found)
    found += _data_faults(cfg, fetch=cfg.data.download and not found)
    if found:
        raise ConfigError(list(dict.fromkeys(found)))


def _outside_limits(cfg: DictConfig) -> Iterator[str]:
    for key, (low, high) in LIMITS.items():
        value = OmegaConf.select(cfg, key)
        if not isinstance(value, int) or value < low or (high is not None and value >= high):
            yield f"{key}={value}: a whole number of {low} or more is right" + (f", under {high}" if high else "")
    for share in cfg.unavailable:
        if not 0 <= share <= 1:
            yield f"unavailable: {share} is no fraction; numbers from 0 to 1 are right"


def _folder_faults(cfg: DictConfig, folder: Path) -> Iterator[str]:
    for key, path in (("cache", assemble.cache_folder(cfg)), ("hydra.run.dir", folder)):
        try:
            path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=path):
                pass
        except OSError as fault:
            yield f"{key}={path} cannot be written: {fault.strerror}"
    if cfg.overwrite:
        return
    if (folder / FINISHED).exists():
        yield (
            f"hydra.run.dir={folder} holds a finished run ({FINISHED}); another folder keeps both, overwrite=true "
            "replaces it"
        )
    elif (folder / UNFINISHED).exists() and cfg.ckpt_path is None:
        yield (
            f"hydra.run.dir={folder} holds an unfinished run; ckpt_path={folder / UNFINISHED} goes on with it, "
            "overwrite=true begins anew"
        )


def _checkpoint_faults(cfg: DictConfig) -> Iterator[str]:
    if cfg.ckpt_path is None:
        return
    path = Path(cfg.ckpt_path).expanduser()
    if not path.is_file():
        yield f"ckpt_path={path}: there is no such file"
        return
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        if "state_dict" not in content or "loops" not in content:
            yield f"ckpt_path={path}: it is no checkpoint of a training"
    except Exception as fault:  # damaged files fail in whatever way the reader of the moment fails
        yield f"ckpt_path={path}: it is damaged, or no checkpoint of a training ({_sentence(fault)})"


def _trial_faults(cfg: DictConfig, given: Network | None, known: list[str]) -> list[str]:
    """Build every part of which no fault is known once, and run it on a little made-up input."""
    found: list[str] = []

    def trial(what: str, build: Callable[[], Any]) -> Any:
        if any(fault.startswith(what) for fault in known):
            return None
        try:
            return build()
        except ConfigError as fault:
            found.extend(fault.faults)
        except ParmtrainError as fault:
            found.append(str(fault))
        except Exception as fault:  # whatever the part itself raises
            found.append(f"{what}: {_sentence(fault)}")
        return None

    code: Code | None = trial("code", lambda: assemble.build(cfg.code))
    deployed: DeployedModel | None = None
    task: Task | None = trial("task", lambda: assemble.build(cfg.task))
    optimizer = trial("optim", lambda: assemble.build(cfg.optim)([nn.Parameter(torch.zeros(1))]))
    trial("trainer", lambda: _try_trainer(cfg))
    with tempfile.TemporaryDirectory() as scratch:
        trial("logger", lambda: assemble.build(cfg.logger, save_dir=scratch))
    if optimizer is not None:
        trial("scheduler", lambda: assemble.build(cfg.scheduler)(optimizer, total_steps=10))
    if task is not None:
        if given is not None or cfg.deployed.path is not None:
            deployed = trial("deployed", lambda: assemble.deployed_model(cfg, task, None, given))  # type: ignore[arg-type]
        else:
            trial("deployed.fit", lambda: _try_fit(cfg))
            deployed = trial("deployed.model", lambda: _untrained(cfg, task))
    if code is not None and task is not None:
        shape = trial("code", lambda: code.parity_shape(task.query_shape))
        if deployed is not None and shape is not None:
            module = trial("parity.model", lambda: _try_models(assemble.module(cfg, task, deployed), task))
            if module is not None:
                trial("loss", lambda: _try_step(cfg, module, task))
    return found


def _try_trainer(cfg: DictConfig) -> None:
    processes = assemble.trainer(cfg, [], logger=False).world_size
    if processes > 1 and cfg.averaging:
        raise ConfigError([f"averaging: it stays in one process, and trainer.devices gives {processes}; null is right"])
    if isinstance(cfg.groups, int) and cfg.groups % processes:
        raise ConfigError([f"groups={cfg.groups}: {processes} processes share each batch; a multiple of it is right"])


def _untrained(cfg: DictConfig, task: Task) -> DeployedModel:
    deployed = DeployedModel(assemble.architecture(cfg.deployed.model, task, task.query_shape), task.input.door)
    check_predictions(deployed, task.query_shape, task.outputs, "deployed.model")
    return deployed


def _try_models(module: ParityModule, task: Task) -> ParityModule:
    shape = module.code.parity_shape(task.query_shape)
    module.eval()
    for model in module.parity_models:
        check_predictions(model, shape, module.code.heads * task.outputs, "parity.model")
    return module


def _try_step(cfg: DictConfig, module: ParityModule, task: Task) -> None:
    """Take one training step on one group of zeros."""
    if not module.trains:
        if cfg.ckpt_path is not None:
            raise ConfigError([f"ckpt_path={cfg.ckpt_path}: code={module.code.name} trains nothing to go on with"])
        return
    batch = GroupBatch(torch.zeros(1, module.k, *task.query_shape), task.blank_labels(1, module.k), None)
    loss = module.loss(module.coded(batch))
    if not isinstance(loss, torch.Tensor) or loss.shape:
        raise ConfigError([f"loss={cfg.loss._target_}: it returns no scalar tensor"])
    encoder = list(module.code.encoder.parameters())
    if encoder and any(grad is None for grad in torch.autograd.grad(loss, encoder, allow_unused=True)):
        raise ConfigError(
            [f"code={module.code.name} trains through the deployed model, and this one passes no gradient back"]
        )


def _try_fit(cfg: DictConfig) -> None:
    optimizer = assemble.build(cfg.deployed.fit.optim)([nn.Parameter(torch.zeros(1))])
    assemble.build(cfg.deployed.fit.scheduler)(optimizer, total_steps=10)


def _data_faults(cfg: DictConfig, fetch: bool) -> Iterator[str]:
    try:
        task: Task = assemble.build(cfg.task)
    except (ParmtrainError, InstantiationException):
        return  # already said
    try:
        task.source.locate()
    except DataError as fault:
        if not fetch:
            yield str(fault)
            return
        try:
            task.source.download()
        except DataError as failure:
            yield str(failure)


def _sentence(fault: Exception) -> str:
    """Return the first line of what lies at the bottom of an error."""
    bottom: BaseException = fault
    while isinstance(bottom, InstantiationException) and bottom.__cause__ is not None:
        bottom = bottom.__cause__
    lines = [line.strip() for line in str(bottom).splitlines() if line.strip()]
    return lines[0][:200] if lines else type(bottom).__name__
