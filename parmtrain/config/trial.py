"""Try a configuration: build every part once and run it on a small made-up input."""

import pickle
import tempfile
from pathlib import Path

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from pytorch_lightning.loggers import Logger
from torch import nn

from parmtrain.bundle import ExportFormat
from parmtrain.bundle.formats import format_named, name_of, rounds
from parmtrain.codes import Code
from parmtrain.confidence import Confidence
from parmtrain.config import assemble
from parmtrain.config.deployed_trial import try_deployed
from parmtrain.config.faults import Fault, Trial, any_about
from parmtrain.deployed import DeployedModel
from parmtrain.errors import (
    ConfigError,
    MissingDataError,
    reason_of,
)
from parmtrain.metrics.figures import RESERVED
from parmtrain.probes import check_predictions
from parmtrain.programs import Network
from parmtrain.tasks.base import Task
from parmtrain.tasks.source import Source
from parmtrain.training.callbacks import Checkpoints
from parmtrain.training.fit import starts_processes
from parmtrain.training.groups import GroupBatch
from parmtrain.training.parity_module import ParityModule
from parmtrain.training.progress_callbacks import Bar


def trial_faults(cfg: DictConfig, given: Network | None, known: list[Fault], data: Source | None = None) -> list[Fault]:
    """Build every part without a known fault, run it on a small made-up input, and look for the data.

    Args:
        cfg: A composed configuration.
        given: A deployed model in place of ``deployed.path``.
        known: Faults found before.
        data: Data in place of ``task.source``.
    """
    trial = Trial(known)
    code: Code | None = trial("code", lambda: assemble.build(cfg.code))
    task: Task | None = trial("task", lambda: _try_task(cfg, data))
    optimizer = trial("optim", lambda: assemble.build(cfg.optim)([nn.Parameter(torch.zeros(1))]))
    trial("callbacks", lambda: assemble.callbacks(cfg))
    trial("trainer", lambda: _try_trainer(cfg, given))
    trial("export", lambda: _try_export(cfg))
    with tempfile.TemporaryDirectory() as scratch:
        if cfg.logger:
            trial("logger", lambda: _try_logger(cfg, scratch))
    if optimizer is not None:
        trial("scheduler", lambda: assemble.schedule(cfg.scheduler)(optimizer, total_steps=10))
    if task is not None:
        deployed = try_deployed(trial, cfg, task, given)
        trial("metrics", lambda: _try_metrics(cfg, task))
        if cfg.confidence and code is not None:
            trial("confidence", lambda: _try_confidence(cfg, task, code))
        if code is not None and deployed is not None:
            try_code(trial, cfg, code, task, deployed)
        trial("data", lambda: _locate(cfg, task))
    return trial.found


def _locate(cfg: DictConfig, task: Task) -> None:
    """Look for the data; what is only missing may be downloaded once the configuration has no fault."""
    try:
        task.source.locate()
    except MissingDataError:
        if not cfg.data.download or not task.source.downloads:
            raise


def try_code(trial: Trial, cfg: DictConfig, code: Code, task: Task, deployed: DeployedModel) -> None:
    """Try a code with a task: the shapes of its parity queries and models, and one step of training."""
    shape = trial("code", lambda: code.parity_shape(task.query_shape))
    every = [*trial.known, *trial.found]
    if shape is None or any(any_about(every, key) for key in ("metrics", "loss", "optim", "scheduler", "parity")):
        return
    module = trial("parity.model", lambda: _try_models(assemble.parity_module(cfg, task, deployed), task))
    if module is not None:
        trial("loss", lambda: _try_step(cfg, module, task))


def _try_trainer(cfg: DictConfig, given: Network | None) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        built_in: list[pl.Callback] = [Checkpoints(Path(scratch), monitor="val/loss"), Bar()]
        trainer = assemble.trainer(cfg, built_in, logger=False)
    processes = trainer.world_size
    if processes == 1:
        return
    if cfg.averaging:
        raise ConfigError([f"averaging must be null with {processes} processes; use trainer.devices=1 with it"])
    if isinstance(cfg.groups, int) and cfg.groups % processes:
        raise ConfigError([f"groups must be a multiple of the {processes} processes that share it, got {cfg.groups}"])
    if given is not None and starts_processes(trainer):
        try:
            pickle.dumps(DeployedModel(given))
        except Exception as fault:  # pickling can raise anything
            raise ConfigError(
                [
                    f"the deployed model must be picklable with trainer.devices={processes}, got {reason_of(fault)}; "
                    "pass a file (deployed.path) or a module of an importable class"
                ]
            ) from fault


def _try_logger(cfg: DictConfig, folder: str) -> None:
    if not isinstance(assemble.build(cfg.logger, save_dir=folder), Logger):
        raise ConfigError([f"logger must be a Lightning logger, got {cfg.logger._target_}"])


def _try_task(cfg: DictConfig, data: Source | None) -> Task:
    task = assemble.task(cfg, data)
    for name in ("augment", "augment_query"):
        if cfg.task.get(name) and not isinstance(getattr(task, name), nn.Module):
            raise ConfigError([f"task.{name} must be a module, got {cfg.task[name]._target_}"])
    return task


def _try_export(cfg: DictConfig) -> None:
    """Write a small program in the export format and read it back, as a bundle does."""
    format = assemble.build(cfg.export)
    if not isinstance(format, ExportFormat):
        raise ConfigError(
            [f"export must have suffix, save and load, like parmtrain.bundle.ExportFormat, got {cfg.export._target_}"]
        )
    if rounds(format):
        raise ConfigError(
            [
                f"export must not round numbers, since a run scores what it trained, got {cfg.export._target_}; export "
                "the finished run: parmtrain export RUN"
            ]
        )
    example = torch.zeros(3, 2)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / f"trial{format.suffix}"
        format.save(nn.Linear(2, 1).eval(), (example,), path)
        format_named(name_of(format)).load(path)(example)


def _try_confidence(cfg: DictConfig, task: Task, code: Code) -> None:
    """Fit a confidence to made-up predictions, and ask for that of others."""
    confidence = assemble.confidence(cfg, task.measures.kind, code.stragglers, task.outputs)
    if not isinstance(confidence, Confidence):
        raise ConfigError(
            [f"confidence must be a parmtrain.confidence.Confidence, got {cfg.confidence._target_}; subclass it"]
        )
    made_up = torch.rand(8, task.outputs, generator=torch.Generator().manual_seed(0))
    confidence.fit(made_up, torch.ones(8, dtype=torch.long), torch.ones(8))
    with torch.no_grad():
        given = confidence(made_up.view(4, 2, -1), torch.arange(3).expand(4, 3) > 0)
    if given.shape != (4, 2) or not bool(((given >= 0) & (given <= 1)).all()):
        raise ConfigError([f"confidence must be from 0 to 1, [4, 2] of 4 groups of 2, got {list(given.shape)}"])


def _try_metrics(cfg: DictConfig, task: Task) -> None:
    taken = [name for name in cfg.metrics if name in {*task.measures.every, *RESERVED}]
    if taken:
        raise ConfigError([f"metrics must have names that results do not use yet, got {', '.join(taken)}; rename it"])
    labels = task.blank_labels(1, 2)
    predictions = torch.tensor([0.0, torch.nan]).view(1, 2, 1).expand(1, 2, task.outputs)
    for name, measure in assemble.measures(cfg, task).every.items():
        values = measure(predictions, labels)
        if not isinstance(values, torch.Tensor) or values.shape != (1, 2):
            given = list(values.shape) if isinstance(values, torch.Tensor) else type(values).__name__
            raise ConfigError([f"metrics.{name} must return one value per prediction, [1, 2] for two, got {given}"])
        if not values.isfinite().all():
            raise ConfigError([f"metrics.{name} must return 0 for a prediction that is NaN, got {values.tolist()}"])


def _try_models(module: ParityModule, task: Task) -> ParityModule:
    shape = module.code.parity_shape(task.query_shape)
    module.eval()
    for model in module.parity_models:
        check_predictions(model, shape, module.code.heads * task.outputs, "parity.model")
    return module


def _try_step(cfg: DictConfig, module: ParityModule, task: Task) -> None:
    """Take one training step on one group of zeros."""
    if module.partial:
        module.require_partial(task.outputs)
    if not module.trains:
        if cfg.ckpt_path is not None:
            raise ConfigError([f"ckpt_path must be null for code={module.code.name}, which has no training to resume"])
        return
    batch = GroupBatch(torch.zeros(1, module.k, *task.query_shape), task.trial_labels(1, module.k), None)
    loss = module.loss(module.training_groups(batch, present=module.k if module.partial else None))
    if not isinstance(loss, torch.Tensor) or loss.shape:
        given = list(loss.shape) if isinstance(loss, torch.Tensor) else type(loss).__name__
        raise ConfigError([f"loss={cfg.loss._target_} must return a scalar tensor, got {given}"])
    encoder = list(module.code.encoder.parameters())
    if encoder and any(grad is None for grad in torch.autograd.grad(loss, encoder, allow_unused=True)):
        raise ConfigError(
            [f"the deployed model must pass gradients back for code={module.code.name}, got none; choose another code"]
        )
