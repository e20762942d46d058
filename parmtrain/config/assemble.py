"""Build the objects that a configuration names, without side effects: no seed is set, no file is read."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import ModelSummary
from torch import nn
from torch.optim.lr_scheduler import LRScheduler

from parmtrain.codes import Code
from parmtrain.confidence import Confidence
from parmtrain.config.own_code import own_sources
from parmtrain.config.schema import Start
from parmtrain.config.targets import not_built
from parmtrain.deployed import DeployedModel
from parmtrain.errors import ConfigError, ParmtrainError
from parmtrain.metrics import Measures
from parmtrain.probes import probes
from parmtrain.tasks.base import Task
from parmtrain.tasks.source import Source
from parmtrain.training.checkpoints import AtomicCheckpoints
from parmtrain.training.deployed import Recipe
from parmtrain.training.initial_weights import start_from
from parmtrain.training.own_network import is_of, own_network
from parmtrain.training.parity_module import LossOfModels, ParityModule
from parmtrain.training.schedules import constant
from parmtrain.training.stand_in import is_trainable, stand_in

SET_HERE = {
    "trainer": {
        "callbacks": "add yours with callbacks=[…]",
        "logger": "choose it with logger=…",
        "enable_checkpointing": "the best and the last epoch are always saved",
        "enable_progress_bar": "a progress bar is built in",
        "enable_model_summary": "print one with callbacks=[model_summary]",
        "num_sanity_val_steps": "the first epoch ends with a validation",
        "use_distributed_sampler": "coding groups have their own sampler",
        "plugins": "checkpoints are written by a plugin of its own",
        "overfit_batches": "give it fewer queries",
        "fast_dev_run": "shorten a run with trainer.max_epochs=1",
        "default_root_dir": "set the folder of the run with hydra.run.dir=…",
    },
    "logger": {"save_dir": "set the folder of the run with hydra.run.dir=…"},
    "optim": {"params": "it gets the parameters of the parity models and the code"},
    "scheduler": {"optimizer": "choose it with optim=…", "total_steps": "set it with trainer.max_epochs=…"},
    "deployed.fit.optim": {"params": "it gets the parameters of the deployed model"},
    "deployed.fit.scheduler": {
        "optimizer": "configure it with deployed.fit.optim",
        "total_steps": "set it with deployed.fit.epochs=…",
    },
    "loss": {"groups": "it gets the groups of a batch"},
    "confidence": dict.fromkeys(("kind", "numbers", "outputs"), "it gets that of the task and the code"),
}
"""Arguments that parmtrain sets itself, so a configuration must not, and what to set instead."""


def build(node: Any, **more: Any) -> Any:
    """Instantiate the object that a node of the configuration names.

    Raises:
        ParmtrainError: As the object raised it.
        ConfigError: If it cannot be imported or built for another reason.
    """
    try:
        return instantiate(node, _convert_="all", **more)
    except InstantiationException as fault:
        bottom: BaseException = fault
        while isinstance(bottom, InstantiationException) and bottom.__cause__ is not None:
            bottom = bottom.__cause__
        if isinstance(bottom, ParmtrainError):
            raise bottom from fault
        where = re.search(r"full_key: (\S+)", str(fault))  # as Hydra states it
        key = where[1] if where else node.get("_target_")
        raise ConfigError([not_built(key, fault, bottom)]) from fault


def schedule(node: DictConfig | None) -> Callable[..., LRScheduler]:
    """Return what makes a learning-rate scheduler; without one, the learning rate is constant."""
    made: Callable[..., LRScheduler] = build(node) if node else constant
    return made


def architecture(node: DictConfig, task: Task, shape: tuple[int, ...], heads: int = 1) -> nn.Module:
    """Build a network with random weights that maps queries or parity queries of ``shape`` to ``heads`` predictions."""
    own = {"query_shape": list(task.input.model_shape(shape)), "outputs": heads * task.outputs}
    model: nn.Module = build(node, **{name: value for name, value in own.items() if name in node})
    return model


def parity_model(
    cfg: DictConfig,
    task: Task,
    deployed: DeployedModel,
    shape: tuple[int, ...],
    heads: int = 1,
    model: Callable[..., nn.Module] | None = None,
    **more: Any,
) -> nn.Module:
    """Build one parity model for parity queries of ``shape``, starting from F's weights if configured.

    With the architecture of a code (``model``), which is not F's, it starts from random weights. Where F is a module or
    a program of another architecture than ``deployed.model``, its own network is taken; where it has no parameters, a
    student of as many FLOPs.
    """
    if model is None and not cfg.parity.model and not is_trainable(deployed.network):
        model = partial(stand_in, deployed, task.query_shape)
    if model is not None:
        built = model(query_shape=list(task.input.model_shape(shape)), outputs=heads * task.outputs, **more)
    elif not cfg.parity.model and (_is_other(cfg, task, deployed) or _takes_no_heads(cfg.deployed.model, heads)):
        if cfg.parity.start is Start.random:
            raise ConfigError(
                [
                    "parity.start=random needs an architecture, got a deployed model that is a program or a module; "
                    "name one: parity.model={_target_: …}, or parity=lenet"
                ]
            )
        built = own_network(deployed, heads, task.input.preprocess(probes(task.query_shape)))
    else:
        built = architecture(cfg.parity.model or cfg.deployed.model, task, shape, heads)
        if cfg.parity.start is Start.deployed:
            start_from(built, deployed)
    if cfg.parity.channels_last:
        built.to(memory_format=torch.channels_last)
    if cfg.parity.compile:
        built.compile()
    takes_vectors = task.input.flatten and model is None and not cfg.parity.model  # as F does
    return nn.Sequential(task.input.preprocess, built) if takes_vectors else task.input.after_features(built)


def _takes_no_heads(node: DictConfig, heads: int) -> bool:
    """Return whether an architecture is asked for several heads, and has no argument that says how many outputs."""
    return heads > 1 and "outputs" not in node


def _is_other(cfg: DictConfig, task: Task, deployed: DeployedModel) -> bool:
    """Return whether F is not of the configured architecture, which answers otherwise with its weights."""
    with torch.random.fork_rng(devices=[]):
        configured = architecture(cfg.deployed.model, task, task.query_shape)
    return not is_of(deployed, configured, task.query_shape)


def task(cfg: DictConfig, data: Source | None = None) -> Task:
    """Build the task; data that was given from Python takes the place of its source."""
    built: Task = build(cfg.task)
    if data is not None:
        built.source = data
    return built


def measures(cfg: DictConfig, task: Task) -> Measures:
    """Return the measures that score predictions: the task's own and those that the configuration adds."""
    return task.measures.extended({name: build(node) for name, node in cfg.metrics.items()})


def parity_module(
    cfg: DictConfig, task: Task, deployed: DeployedModel, scored_by: Measures | None = None
) -> ParityModule:
    """Build the module that trains parity models.

    Args:
        cfg: The configuration.
        task: Its task.
        deployed: The deployed model.
        scored_by: Kind of its predictions, and what scores them in validation, if not the task's measures.
    """
    code: Code = build(cfg.code)
    module = ParityModule(
        deployed,
        code,
        code.parity_models(task.query_shape, deployed, partial(parity_model, cfg, task, deployed)),
        loss=build(cfg.loss),
        optim=build(cfg.optim),
        schedule=schedule(cfg.scheduler),
        measures=scored_by or measures(cfg, task),
        partial=cfg.partial,
    )
    if isinstance(module.loss, LossOfModels) and module.trains:
        module.loss.begin(module, task.query_shape, task.trial_labels(1, code.k))
    return module


def confidence(cfg: DictConfig, kind: str, numbers: int, outputs: int) -> Confidence:
    """Build the confidence that is fitted to reconstructed predictions; the arguments are those of ``Confidence``."""
    built: Confidence = build(cfg.confidence, kind=kind, numbers=numbers, outputs=outputs)
    return built


def recipe(cfg: DictConfig, task: Task) -> Recipe:
    """Return the recipe for training a deployed model if none is given."""
    fit = cfg.deployed.fit
    machine = {name: cfg.trainer[name] for name in ("accelerator", "precision") if name in cfg.trainer}
    identity = {
        **cast("dict[str, Any]", OmegaConf.to_container(fit, resolve=True)),
        "model": OmegaConf.to_container(cfg.deployed.model, resolve=True),
        **{name: OmegaConf.to_object(cfg.task[name]) for name in ("augment", "augment_query") if cfg.task.get(name)},
        "precision": machine.get("precision"),
    }
    if sources := own_sources(identity["model"]):
        identity["sources"] = sources
    return Recipe(
        partial(architecture, cfg.deployed.model, task, task.query_shape),
        optim=build(fit.optim),
        schedule=schedule(fit.scheduler),
        trainer=partial(_trainer, pl.Trainer, logger=False, devices=1, **machine),
        epochs=fit.epochs,
        batch=fit.batch,
        seed=fit.seed,
        identity=identity,
    )


def callbacks(cfg: DictConfig) -> list[pl.Callback]:
    """Return the callbacks that the configuration adds, weight averaging first."""
    nodes = {**({"averaging": cfg.averaging} if cfg.averaging else {})}
    nodes |= {f"callbacks.{name}": node for name, node in cfg.callbacks.items()}
    built = {key: build(node) for key, node in nodes.items()}
    for key, callback in built.items():
        if not isinstance(callback, pl.Callback):
            raise ConfigError([f"{key} must be a Lightning callback, got {nodes[key]._target_}"])
    return list(built.values())


def trainer(cfg: DictConfig, built_in: list[pl.Callback], logger: Any) -> pl.Trainer:
    """Build the Lightning trainer, with the configuration's callbacks and the built-in ones."""
    return _trainer(partial(build, cfg.trainer), callbacks=[*callbacks(cfg), *built_in], logger=logger)


def _trainer(make: Callable[..., pl.Trainer], callbacks: list[pl.Callback], **settings: Any) -> pl.Trainer:
    return make(
        callbacks=callbacks,
        plugins=[AtomicCheckpoints()],
        enable_model_summary=any(isinstance(one, ModelSummary) for one in callbacks),
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        **settings,
    )


def cache_folder(cfg: DictConfig) -> Path:
    """Return the cache folder of trained deployed models and predictions."""
    return Path(cfg.cache).expanduser()
