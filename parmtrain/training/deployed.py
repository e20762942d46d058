"""Train a deployed model for a task, once, if none is given."""

import copy
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import MeanMetric

from parmtrain.cache import key_of, require_damage, set_aside
from parmtrain.deployed import fingerprint
from parmtrain.files import replacing, write_json
from parmtrain.once import ONCE
from parmtrain.run_folder import LAST
from parmtrain.tasks.base import Task
from parmtrain.tasks.queries import QuerySet, Splits
from parmtrain.training.callbacks import Checkpoints, FiniteLoss, ReproducibleEpochs
from parmtrain.training.checkpoints import read_checkpoint
from parmtrain.training.fit import fit
from parmtrain.training.groups import GroupBatch, GroupsDataModule
from parmtrain.training.progress_callbacks import telling

log = logging.getLogger(__name__)


class DeployedTraining(pl.LightningModule):
    """Train a network on single queries with the task's own loss.

    Args:
        network: Maps preprocessed queries to predictions ``[b, c]``.
        task: The task.
        optim: Makes an optimizer from the parameters.
        schedule: Makes a learning-rate scheduler from the optimizer and ``total_steps``.
    """

    def __init__(
        self,
        network: nn.Module,
        task: Task,
        optim: Callable[..., Optimizer],
        schedule: Callable[..., LRScheduler],
    ) -> None:
        super().__init__()
        self.network, self.preprocess, self.task = network, task.input.preprocess, task
        self.optim, self.schedule = optim, schedule
        self.val_measure = MeanMetric()

    def training_step(self, batch: GroupBatch, batch_idx: int) -> Tensor:
        """Return the loss of one batch of single-query groups."""
        return self.task.loss(self.network(self.preprocess(batch.queries.flatten(0, 1))), batch.labels.flatten(0, 1))

    def validation_step(self, batch: GroupBatch, batch_idx: int) -> None:
        """Log the task's main measure."""
        predictions = self.network(self.preprocess(batch.queries.flatten(0, 1)))
        self.val_measure(self.task.measures.main(predictions, batch.labels.flatten(0, 1)))
        self.log(f"val/{self.task.measures.name}", self.val_measure, prog_bar=True)

    def configure_optimizers(self) -> Any:
        """Return the optimizer and a scheduler that steps after each batch."""
        optimizer = self.optim(self.parameters())
        scheduler = self.schedule(optimizer, total_steps=int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


@dataclass(frozen=True)
class Recipe:
    """How a deployed model is trained.

    Args:
        network: Builds the untrained architecture.
        optim: Makes the optimizer.
        schedule: Makes the learning-rate scheduler.
        trainer: Makes a Lightning trainer, given ``max_epochs`` and ``callbacks``.
        epochs: Number of epochs.
        batch: Queries per step.
        seed: Seed of weights, batches and augmentation.
        identity: Plain values that determine the result; the cache holds one model per identity.
    """

    network: Callable[[], nn.Module]
    optim: Callable[..., Optimizer]
    schedule: Callable[..., LRScheduler]
    trainer: Callable[..., pl.Trainer]
    epochs: int
    batch: int
    seed: int
    identity: dict[str, Any]


def deployed_file(task: Task, splits: "Splits[QuerySet]", recipe: Recipe, cache: Path) -> Path:
    """Return the file of a deployed model that is trained by a recipe; it need not exist.

    Args:
        task: The task.
        splits: Its queries.
        recipe: How to train it.
        cache: Cache folder for trained models.
    """
    return cache / "deployed" / f"{task.name}-{key_of(_identity(task, splits, recipe), 16)}" / "weights.pt"


def _identity(task: Task, splits: "Splits[QuerySet]", recipe: Recipe) -> dict[str, Any]:
    return {"recipe": recipe.identity, "data": splits.train.digest, "input": task.input.settings}


def train_deployed(task: Task, splits: "Splits[QuerySet]", recipe: Recipe, cache: Path, workers: int = 0) -> nn.Module:
    """Return the task's deployed model, trained now or earlier with the same recipe on the same data.

    An interrupted training is resumed by the next call. A damaged file in the cache is set aside, and the model is
    trained anew.

    Args:
        task: The task.
        splits: Its queries.
        recipe: How to train it.
        cache: Cache folder for trained models.
        workers: Processes that load streamed queries.

    Raises:
        Interrupted: If the user stops it.
        StorageError: If the cache's disk is full.
        TrainingError: If training has to stop.
    """
    pl.seed_everything(recipe.seed, verbose=False)
    network = recipe.network()
    trained = deployed_file(task, splits, recipe, cache)
    folder = trained.parent
    if trained.is_file() and _loaded(network, trained):
        log.info("deployed model: trained earlier, loaded from %s", trained, extra=ONCE)
        return network
    log.info("deployed model: deployed.path is not set; training one and saving it in %s", trained, extra=ONCE)
    data = GroupsDataModule(
        splits,
        1,
        recipe.batch,
        recipe.seed,
        task.input,
        task.augmented,
        Splits(None, None, None),
        workers,
        task.augment_query,
    )
    training = DeployedTraining(network, task, recipe.optim, recipe.schedule)
    last = folder / LAST
    if last.is_file() and read_checkpoint(last) is None:
        set_aside(last)
    callbacks: list[pl.Callback] = [
        Checkpoints(folder, monitor=None),
        ReproducibleEpochs(recipe.seed),
        FiniteLoss(last),
    ]
    callbacks += telling("training the deployed model")
    trainer = recipe.trainer(max_epochs=recipe.epochs, callbacks=callbacks)
    fit(trainer, training, data, resume=last if last.is_file() else None)
    network.cpu()
    write_json(folder / "recipe.json", {**_identity(task, splits, recipe), "fingerprint": fingerprint(network)})
    with replacing(trained) as temporary:
        torch.save(network.state_dict(), temporary)
    last.unlink(missing_ok=True)
    return network


def _loaded(network: nn.Module, path: Path) -> bool:
    """Load weights from the cache into a network; set a damaged file aside and return False."""
    before = copy.deepcopy(network.state_dict())
    try:
        network.load_state_dict(torch.load(path, weights_only=True))
        stated = json.loads((path.parent / "recipe.json").read_text(encoding="utf-8")).get("fingerprint")
        if stated in (None, fingerprint(network)):  # older versions stated none
            return True
    except Exception as fault:  # a damaged file can raise anything
        require_damage(fault)
    network.load_state_dict(before)
    set_aside(path)
    return False
