"""Training a deployed model for a task, once, where none is given."""

import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import MeanMetric

from parmtrain.files import replacing, write_json
from parmtrain.tasks.base import Task
from parmtrain.tasks.queries import QuerySet, Splits
from parmtrain.training.callbacks import LAST, Bar, Checkpoints, FiniteLoss, ReproducibleEpochs
from parmtrain.training.fit import fit
from parmtrain.training.groups import GroupBatch, GroupsDataModule

log = logging.getLogger(__name__)


class DeployedTraining(pl.LightningModule):
    """Train a network on single queries with the task's own loss.

    Args:
        network: Maps what has passed the door to predictions ``[b, c]``.
        task: Its task.
        optim: Makes an optimizer of the parameters.
        schedule: Makes a learning-rate scheduler of the optimizer and ``total_steps``.
    """

    def __init__(
        self,
        network: nn.Module,
        task: Task,
        optim: Callable[..., Optimizer],
        schedule: Callable[..., LRScheduler],
    ) -> None:
        super().__init__()
        self.network, self.door, self.task = network, task.input.door, task
        self.optim, self.schedule = optim, schedule
        self.worth = MeanMetric()

    def training_step(self, batch: GroupBatch, batch_idx: int) -> Tensor:
        """Return the loss of one batch of groups of one query."""
        return self.task.loss(self.network(self.door(batch.queries.flatten(0, 1))), batch.labels.flatten(0, 1))

    def validation_step(self, batch: GroupBatch, batch_idx: int) -> None:
        """Log the task's main measure."""
        predictions = self.network(self.door(batch.queries.flatten(0, 1)))
        self.worth(self.task.measures.main(predictions, batch.labels.flatten(0, 1)))
        self.log(f"val/{self.task.measures.name}", self.worth, prog_bar=True)

    def configure_optimizers(self) -> Any:
        """Give Lightning the optimizer, and the scheduler that it steps after each batch."""
        optimizer = self.optim(self.parameters())
        scheduler = self.schedule(optimizer, total_steps=int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def train_deployed(
    task: Task,
    splits: "Splits[QuerySet]",
    network: nn.Module,
    optim: Callable[..., Optimizer],
    schedule: Callable[..., LRScheduler],
    trainer: Callable[..., pl.Trainer],
    recipe: dict[str, Any],
    cache: Path,
    workers: int = 0,
) -> nn.Module:
    """Return the task's deployed model, trained now or earlier with the same recipe on the same data.

    A training that was cut off goes on where it stopped when it is asked for again.

    Args:
        task: The task.
        splits: Its queries.
        network: Untrained architecture; it comes back with trained weights.
        optim: Makes the optimizer.
        schedule: Makes the learning-rate scheduler.
        trainer: Makes a Lightning trainer, given ``max_epochs`` and ``callbacks``.
        recipe: Plain values that the result depends on, ``seed``, ``epochs`` and ``batch`` among them.
        cache: Folder that trained models are kept in.
        workers: Processes that load queries which stream.

    Raises:
        Interrupted: If the user stops it.
    """
    key = {"recipe": recipe, "data": splits.train.digest, "input": task.input.settings}
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    folder = cache / "deployed" / f"{task.name}-{digest}"
    kept = folder / "weights.pt"
    if kept.is_file():
        log.info("deployed model: trained earlier, kept in %s", kept)
        network.load_state_dict(torch.load(kept, weights_only=True))
        return network
    log.info("deployed model: none is given (deployed.path), so one is trained once and kept in %s", kept)
    data = GroupsDataModule(
        splits,
        1,
        recipe["batch"],
        recipe["seed"],
        task.input,
        task.augment,
        Splits(None, None, None),
        workers,
        task.augment_query,
    )
    training = DeployedTraining(network, task, optim, schedule)
    last = folder / LAST
    callbacks = [Checkpoints(folder, monitor=None), ReproducibleEpochs(recipe["seed"]), FiniteLoss(last), Bar()]
    fit(
        trainer(max_epochs=recipe["epochs"], callbacks=callbacks),
        training,
        data,
        resume=last if last.is_file() else None,
    )
    network.cpu()
    with replacing(kept) as temporary:
        torch.save(network.state_dict(), temporary)
    write_json(folder / "recipe.json", key)
    last.unlink(missing_ok=True)
    return network
