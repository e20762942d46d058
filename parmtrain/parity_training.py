"""Train a code and its parity models as configured, and load the best epoch."""

import logging
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from torch import Tensor

from parmtrain.cache import key_of
from parmtrain.config import assemble
from parmtrain.config.identity import identity
from parmtrain.config.schema import Teacher
from parmtrain.deployed import DeployedModel
from parmtrain.errors import DataError, TrainingError, reason_of
from parmtrain.files import replacing
from parmtrain.metrics.measures import AGREEMENT, PROBABILITIES, kind_of
from parmtrain.once import ONCE
from parmtrain.prepared import Prepared
from parmtrain.run_folder import BEST, RunFolder
from parmtrain.tasks.queries import QuerySet, Splits
from parmtrain.training.callbacks import Checkpoints, FiniteLoss, History, ReproducibleEpochs, SameTraining
from parmtrain.training.fit import QuietProcesses, fit
from parmtrain.training.groups import GroupsDataModule, require_a_group, some_groups
from parmtrain.training.initial_weights import init_output_biases, shared_tensors
from parmtrain.training.parity_module import ParityModule
from parmtrain.training.progress_callbacks import telling

log = logging.getLogger(__name__)
FITTING_GROUPS = 1024
MOST_ALIKE = 0.95


@dataclass(frozen=True)
class Trained:
    """The result of a training.

    Args:
        module: Module with the best epoch's weights, on ``device`` and in evaluation mode.
        history: Recorded epochs.
        known: The deployed model's predictions that were computed in advance.
        device: Device of the trainer.
    """

    module: ParityModule
    history: History
    known: "Splits[Tensor | None]"
    device: torch.device


def train(work: Prepared, folder: RunFolder, logger: Any) -> Trained:
    """Train a code, if it has anything to train, and load the best epoch by validation.

    Args:
        work: Task, data and deployed model.
        folder: Folder of the run.
        logger: Lightning's, or False.

    Raises:
        DataError: If a split has too few queries for one group.
        TrainingError: If training has to stop.
        Interrupted: If the user stops it.
    """
    cfg, task, splits = work.cfg, work.task, work.splits
    require_a_group(splits, cfg.k)
    frozen = work.deployed
    history = History()
    checkpoints = Checkpoints(folder.checkpoints, monitor=f"val/degraded_{work.measures.name}")
    built_in = [
        history,
        SameTraining(identity(cfg, trained_here=work.trains_deployed), key_of([part.digest for part in splits[:2]])),
        ReproducibleEpochs(cfg.seed),
        FiniteLoss(checkpoints.last),
        checkpoints,
        *telling("training"),
        QuietProcesses(),
    ]
    trainer = assemble.trainer(cfg, built_in, logger)
    device = trainer.strategy.root_device
    known = _known_predictions(work, device)
    assert known.val is not None
    if splits.val.labelled:
        _say_available(work, known.val, device)
    else:
        log.info("no labels: reconstructed predictions are compared with the deployed model's own", extra=ONCE)
        _warn_of_one_answer(work, device)

    module = _untrained(work, known.val, device)
    _say_what_is_trained(work, module)
    if module.trains:
        answered = work.answered(splits.train, "predicting training", device)
        scored = splits._replace(val=work.answered(splits.val, "predicting validation", device))
        frozen.cpu()
        prior = task.prior(answered.labels)
        if prior is not None:
            init_output_biases(module.parity_models, module.code, prior, frozen)
        data = GroupsDataModule(
            scored, cfg.k, cfg.groups, cfg.seed, task.input, task.augmented, known, cfg.data.workers, task.augment_query
        )
        started, of = shared_tensors(module.parity_models, frozen)
        if started:
            log.info("parity models: %d of %d tensors start from the deployed model's weights", started, of)
        elif of:
            log.info("parity models: they start from random weights")
        fit(trainer, module.train(), data, _checkpoint_to_resume(cfg, checkpoints))
        if not checkpoints.best.is_file():
            raise TrainingError(
                "at least one epoch must end with a validation, got none; check the trainer.… settings that shorten it"
            )
        _load_best(module, folder)
    module.to(device).eval()
    return Trained(module, history, known, device)


def restored(work: Prepared, folder: RunFolder) -> ParityModule:
    """Return the module of a finished run with the best epoch's weights, on the CPU and in evaluation mode.

    Args:
        work: Task, data and deployed model of the run.
        folder: Its folder.

    Raises:
        DataError: If its checkpoint is missing or damaged.
    """
    module = _untrained(work, work.predict(work.splits.val, "predicting validation"), torch.device("cpu"))
    if module.trains:
        if not folder.best.is_file():
            raise DataError(f"{folder.best} must exist to export the run in another format; run its training again")
        try:
            _load_best(module, folder)
        except Exception as fault:  # damaged files raise all kinds of errors
            raise DataError(
                f"{folder.best} must be the checkpoint of the run, got a damaged one or another's ({reason_of(fault)})"
            ) from fault
    return module.cpu().eval()


def _untrained(work: Prepared, predictions: Tensor, device: torch.device) -> ParityModule:
    """Return the module before training, on the CPU unless its code was fitted.

    Args:
        work: Task, data and deployed model.
        predictions: The deployed model's on the validation split.
        device: Device to fit on.
    """
    cfg, frozen = work.cfg, work.deployed
    pl.seed_everything(cfg.seed, verbose=False)
    frozen.cpu()  # parity models are built beside it, and then moved together
    measures = replace(work.measures, kind=_kind(predictions, work.measures.kind))
    module = assemble.parity_module(cfg, work.task, frozen, measures)
    if module.code.fits:
        answered = work.answered(work.splits.train, "predicting training", device)
        frozen.cpu()
        module.to(device)
        some = some_groups(answered, cfg.k, FITTING_GROUPS, cfg.seed, work.task.input, device)
        module.code.fit(frozen, some.queries, some.labels, work.measures_of(work.splits.train))
    return module


def _load_best(module: ParityModule, folder: RunFolder) -> None:
    best = torch.load(folder.best, map_location="cpu", weights_only=True)
    module.load_state_dict(best["state_dict"])


def _say_what_is_trained(work: Prepared, module: ParityModule) -> None:
    """Say what a budget is a share of, what the code chose, and what it left unused."""
    if work.deployed.timed_flops:
        log.warning(
            "the deployed model's FLOPs cannot be counted; in the time of one query a student takes about %s, of which "
            "code.flops is a share (deployed.flops=… states another number)",
            f"{work.deployed.timed_flops:,.0f}",
            extra=ONCE,
        )
    if module.code.remark:
        log.info("code=%s: %s", module.code.name, module.code.remark)
    own = all(isinstance(model, DeployedModel) for model in module.parity_models)
    if work.cfg.parity.model and (work.cfg.code.get("model") or own):
        whose = "runs a student, code.model" if work.cfg.code.get("model") else "trains no parity model"
        log.warning("parity: not used, since code=%s %s", module.code.name, whose)


def _say_available(work: Prepared, predictions: Tensor, device: torch.device) -> None:
    """Log A_a on the validation split, and warn of a deployed model that is no better than one answer to all."""
    name = work.measures.name
    available = work.measures.main(predictions, work.splits.val.labels).mean().item()
    log.info("deployed model: available %s A_a %.4f on the validation split", name, available, extra=ONCE)
    guessed = work.default(work.splits.val, device)[name]
    if available <= guessed:
        log.warning(
            "deployed model: no better than one answer to all queries, %.4f; it may expect another task.input.scale, "
            "mean, std or task.query_shape, or other classes",
            guessed,
            extra=ONCE,
        )


def _warn_of_one_answer(work: Prepared, device: torch.device) -> None:
    """Warn of a deployed model that one answer to all queries agrees with, which may expect other queries."""
    same = work.default(work.splits.val, device)[AGREEMENT]
    if same >= MOST_ALIKE:
        log.warning(
            "deployed model: one answer to all queries agrees with it by %.4f; it may expect another task.input.scale, "
            "mean, std, task.query_shape or deployed.takes, and agreement says little",
            same,
            extra=ONCE,
        )


def _kind(predictions: Tensor, kind: str) -> str:
    """Return the kind of the deployed model's predictions on the validation split, and say if it is not the task's."""
    found = kind_of(predictions, kind)
    if found == PROBABILITIES:
        log.warning(
            "deployed model: it returns probabilities, each prediction sums to 1; loss=kl and loss=cross_entropy apply "
            "no softmax to them. Without its last softmax, a model's outputs are reconstructed better",
            extra=ONCE,
        )
    return found


def _known_predictions(work: Prepared, device: torch.device) -> "Splits[Tensor | None]":
    """Predict training and validation queries in advance; augmented ones are predicted during training."""
    train, val, _ = work.splits
    augmented = work.task.augments and work.cfg.teacher is Teacher.query

    def predict(queries: QuerySet, title: str) -> Tensor:
        return work.predict(queries, f"predicting {title}", device)

    return Splits(None if augmented else predict(train, "training"), predict(val, "validation"), None)


def _checkpoint_to_resume(cfg: DictConfig, checkpoints: Checkpoints) -> Path | None:
    """Return the checkpoint to resume from, and have the best one so far, and no other, in this run's folder."""
    if cfg.ckpt_path is None:
        checkpoints.best.unlink(missing_ok=True)
        return None
    path = Path(cfg.ckpt_path).expanduser()
    best = path.parent / BEST
    if best.is_file() and best.absolute() != checkpoints.best.absolute():
        with replacing(checkpoints.best) as temporary:
            shutil.copyfile(best, temporary)
    return path
