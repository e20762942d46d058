"""One run: data, deployed model, parity training, evaluation, export, results."""

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf

from parmtrain.bundle import Bundle
from parmtrain.config import assemble
from parmtrain.config.check import FINISHED, check
from parmtrain.config.schema import Teacher, resolved_yaml
from parmtrain.deployed import DeployedModel, Network
from parmtrain.drawing import save
from parmtrain.errors import ConfigError, TrainingError
from parmtrain.evaluation.costs import timings
from parmtrain.evaluation.predictions import predict_all
from parmtrain.evaluation.score import score
from parmtrain.export import export
from parmtrain.files import write_json, write_text
from parmtrain.report import metrics_json, pictures, plots
from parmtrain.tasks.base import Task
from parmtrain.tasks.queries import QuerySet, Splits
from parmtrain.training.callbacks import BEST, Bar, Checkpoints, FiniteLoss, History, ReproducibleEpochs
from parmtrain.training.fit import QuietProcesses, fit, quiet
from parmtrain.training.groups import GroupBatch, GroupSampler, GroupsDataModule, prepared, require_a_group
from parmtrain.training.parity_module import ParityModule

log = logging.getLogger(__name__)
CHECKPOINTS, LOGS, EXPORT = "checkpoints", "logs", "export"
FITTING_GROUPS, SHOWN_GROUPS = 1024, 4


@dataclass(frozen=True)
class Result:
    """What a run gives back.

    Args:
        metrics: What ``metrics.json`` holds.
        module: The module with the best epoch's weights.
        folder: Where everything was written.
    """

    metrics: dict[str, Any]
    module: ParityModule
    folder: Path


def run(cfg: DictConfig, folder: str | Path, deployed: Network | None = None) -> Result:
    """Train a parity model as a configuration says, evaluate it, export it and write the results.

    Args:
        cfg: A configuration that ``parmtrain.compose`` or the command line composed.
        folder: Folder to write.
        deployed: The deployed model, any module or callable on tensors, in place of ``deployed.path``.

    Raises:
        ConfigError: With every fault of the configuration.
        DataError: If the data is damaged or too little.
        DeployedModelError: If the deployed model cannot be read or does not fit the task.
        TrainingError: If training has to stop.
        Interrupted: If the user stops it.

    Source: Kosaian et al., ParM (SOSP'19), sections 3 and 4.1.
    """
    folder = Path(folder)
    quiet()
    check(cfg, folder, deployed)
    _clear(cfg, folder)
    write_text(folder / "config.yaml", resolved_yaml(_with_absolute_paths(cfg)))
    with _logger(cfg, folder) as logger:
        return _run(cfg, folder, deployed, logger)


def _run(cfg: DictConfig, folder: Path, deployed: Network | None, logger: Any) -> Result:
    task: Task = assemble.build(cfg.task)
    splits = task.splits()
    require_a_group(splits, cfg.k)
    frozen = assemble.deployed_model(cfg, task, splits, deployed)

    history = History()
    checkpoints = Checkpoints(folder / CHECKPOINTS, monitor=f"val/degraded_{task.measures.name}")
    callbacks = [
        history,
        ReproducibleEpochs(cfg.seed),
        FiniteLoss(checkpoints.last),
        checkpoints,
        Bar(),
        QuietProcesses(),
    ]
    trainer = assemble.trainer(cfg, callbacks, logger)
    device = assemble.device_of(trainer)

    known = _known_predictions(cfg, task, splits, frozen, device)
    assert known.val is not None
    available = task.measures.main(known.val, splits.val.labels).mean().item()
    log.info("deployed model: available %s A_a %.4f on the validation split", task.measures.name, available)

    module = assemble.module(cfg, task, frozen, task.prior(splits.train.labels))
    if module.code.fits:
        fitting = _groups(cfg, task, splits.train, FITTING_GROUPS, device)
        module.code.fit(frozen, fitting.queries, fitting.labels)
    if module.trains:
        data = GroupsDataModule(
            splits, cfg.k, cfg.groups, cfg.seed, task.input, task.augment, known, cfg.data.workers, task.augment_query
        )
        _train(cfg, module, trainer, data, checkpoints)
        plots.training_curves(history.epochs, task.measures.name, folder / "training.png")
    module.to(device).eval()

    predictions = predict_all(
        frozen, splits.test, task.input, assemble.cache_folder(cfg), "predicting test", device, cfg.data.workers
    )
    scores = score(
        module,
        task,
        splits.test,
        predictions,
        cfg.seed,
        list(cfg.unavailable),
        task.default(splits.train.labels, splits.test.labels),
        device,
        workers=cfg.data.workers,
    )
    frozen.check_unchanged()
    metrics = metrics_json.collect(module, task, scores, history, len(splits.train), cfg.seed)
    plots.overall_accuracy(metrics, folder / "overall_accuracy.png")
    examples = pictures.decoded_groups(module, _groups(cfg, task, splits.val, SHOWN_GROUPS, device, known.val))
    save(pictures.coding_groups(examples, task), folder / "examples.png")
    about = {"task": task.name, "classes": task.classes, "preprocessing": task.input.settings}
    about |= {"metrics": scores, "deployed": metrics["deployed"]}
    export(module, task.query_shape, task.outputs, about, folder / EXPORT)
    metrics["timing"] = timings(Bundle(folder / EXPORT))
    measure = task.measures.name
    logger.log_metrics({f"test/{part}_{measure}": metrics[part][measure] for part in ("available", "degraded")})
    write_json(folder / FINISHED, metrics)
    return Result(metrics, module, folder)


def _train(
    cfg: DictConfig, module: ParityModule, trainer: pl.Trainer, data: GroupsDataModule, checkpoints: Checkpoints
) -> None:
    """Train, and load the epoch that validation found best."""
    started, of = assemble.shared(module)
    if of:
        log.info("parity models: %d of %d tensors start as the deployed model's", started, of)
    fit(trainer, module, data, _resumed(cfg, checkpoints))
    if not checkpoints.best.is_file():
        raise TrainingError("no epoch ended with a validation, so none can be kept: trainer.… settings cut it short")
    module.load_state_dict(torch.load(checkpoints.best, map_location="cpu", weights_only=True)["state_dict"])


def _groups(
    cfg: DictConfig,
    task: Task,
    queries: QuerySet,
    count: int,
    device: torch.device,
    predictions: torch.Tensor | None = None,
) -> GroupBatch:
    """Return some random groups, prepared: to choose by what is chosen without gradients, or to show."""
    chosen = next(iter(GroupSampler(len(queries), cfg.k, count, cfg.seed)))
    stored, labels = queries[chosen]
    known = None if predictions is None else predictions[chosen].to(device)
    return prepared(GroupBatch(stored.to(device), labels.to(device), known), task.input.to(device))


def _clear(cfg: DictConfig, folder: Path) -> None:
    """Remove an earlier run that is to be replaced: what says that it is finished first."""
    if cfg.overwrite and cfg.ckpt_path is None:
        (folder / FINISHED).unlink(missing_ok=True)
        (folder / "training.png").unlink(missing_ok=True)
        for name in (CHECKPOINTS, LOGS, EXPORT):
            shutil.rmtree(folder / name, ignore_errors=True)


def _with_absolute_paths(cfg: DictConfig) -> DictConfig:
    """Return the configuration so that it can be read again from any folder."""
    absolute = cfg.copy()
    absolute.data.root = str(Path(cfg.data.root).expanduser().absolute())
    if cfg.deployed.path is not None:
        absolute.deployed.path = str(Path(cfg.deployed.path).expanduser().absolute())
    return absolute


@contextmanager
def _logger(cfg: DictConfig, folder: Path) -> Iterator[Any]:
    """Build the logger and start it, since some first ask an account for leave; close it at the end."""
    (folder / LOGS).mkdir(exist_ok=True)
    logger = assemble.build(cfg.logger, save_dir=str(folder / LOGS))
    try:
        experiment = logger.experiment
    except Exception as fault:  # each service has errors of its own
        raise ConfigError([f"logger={cfg.logger._target_} cannot start: {str(fault).splitlines()[0]}"]) from fault
    logger.log_hyperparams(OmegaConf.to_container(cfg, resolve=True))
    try:
        yield logger
    finally:
        logger.finalize("")
        if hasattr(experiment, "finish"):  # a run at Weights & Biases stays open until it is told
            experiment.finish()


def _known_predictions(
    cfg: DictConfig, task: Task, splits: "Splits[QuerySet]", deployed: DeployedModel, device: torch.device
) -> "Splits[torch.Tensor | None]":
    """Predict what training and validation look up; augmented queries are predicted when they are seen."""

    def predict(queries: QuerySet, title: str) -> torch.Tensor:
        cache = assemble.cache_folder(cfg)
        return predict_all(deployed, queries, task.input, cache, f"predicting {title}", device, cfg.data.workers)

    seen = task.augments and cfg.teacher is Teacher.query
    return Splits(None if seen else predict(splits.train, "training"), predict(splits.val, "validation"), None)


def _resumed(cfg: DictConfig, checkpoints: Checkpoints) -> Path | None:
    """Return the checkpoint to go on from, with the best one so far beside those of this run."""
    if cfg.ckpt_path is None:
        return None
    path = Path(cfg.ckpt_path).expanduser()
    best = path.parent / BEST
    if best.is_file() and best.absolute() != checkpoints.best.absolute():
        checkpoints.best.parent.mkdir(exist_ok=True)
        shutil.copyfile(best, checkpoints.best)
    return path
