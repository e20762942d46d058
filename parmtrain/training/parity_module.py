"""The Lightning module that trains codes and parity models beside a frozen deployed model."""

from collections.abc import Callable, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import MeanMetric, MetricCollection

from parmtrain.codes import Code, run_coded
from parmtrain.deployed import DeployedModel
from parmtrain.errors import TrainingError
from parmtrain.metrics.streaming import DegradedAccuracy, ReconstructionAgreement
from parmtrain.training import losses, schedules
from parmtrain.training.coded_groups import CodedGroups
from parmtrain.training.groups import GroupBatch


class ParityModule(pl.LightningModule):
    """Train parity models, or a code, so that the decoder rebuilds what the deployed model would have said.

    Args:
        deployed: The frozen deployed model; it is never trained, saved or put into training mode here.
        code: Encoder, target and decoder.
        parity_models: One network for each coded query, or one for all; each maps ``[b, *parity]`` to ``[b, c]``. The
            deployed model may be one.
        loss: Scalar function of ``CodedGroups``.
        optim: Makes an optimizer of the parameters.
        schedule: Makes a learning-rate scheduler, stepped each batch, of the optimizer and ``total_steps``.
        metrics: Updated in validation with ``reconstructed``, ``predictions`` and ``labels``, logged under their names.

    Example:
        >>> from parmtrain.codes import Sum
        >>> deployed = nn.Linear(4, 3)
        >>> module = ParityModule(DeployedModel(deployed), Sum(k=2), [nn.Linear(4, 3)])
        >>> queries = torch.rand(5, 2, 4)
        >>> module.predict(module.encode(queries)).shape
        torch.Size([5, 1, 3])
    """

    def __init__(
        self,
        deployed: DeployedModel,
        code: Code,
        parity_models: Sequence[nn.Module],
        loss: Callable[[CodedGroups], Tensor] = losses.kl,
        optim: Callable[..., Optimizer] = torch.optim.Adam,
        schedule: Callable[..., LRScheduler] = schedules.constant,
        metrics: MetricCollection | None = None,
    ) -> None:
        super().__init__()
        self.deployed, self.code = deployed, code
        self.parity_models = nn.ModuleList(parity_models)
        self.loss, self.optim, self.schedule = loss, optim, schedule
        metrics = metrics or MetricCollection(
            {"degraded_accuracy": DegradedAccuracy(), "agreement": ReconstructionAgreement()}
        )
        self.val_metrics, self.val_loss = metrics.clone(prefix="val/"), MeanMetric()
        self._losses: list[Tensor] = []

    @property
    def k(self) -> int:
        """Queries in a coding group."""
        return self.code.k

    @property
    def n(self) -> int:
        """Workers that answer one group."""
        return self.code.n

    @property
    def systematic(self) -> bool:
        """Whether the deployed model runs the queries themselves."""
        return self.code.systematic

    @property
    def stragglers(self) -> int:
        """Workers of a group, whichever they are, that may all be late."""
        return self.code.stragglers

    def gather(self, predictions: Tensor, coded_outputs: Tensor) -> Tensor:
        """Put worker outputs ``[g, n, c]`` together, of predictions ``[g, k, c]`` and outputs ``[g, coded, c]``."""
        return self.code.gather(predictions, coded_outputs)

    @property
    def trains(self) -> bool:
        """Whether there is anything to train by gradients."""
        return any(parameter.requires_grad for parameter in self.parameters())

    def encode(self, queries: Tensor) -> Tensor:
        """Encode queries ``[g, k, *query]`` into coded queries ``[g, coded, *parity]``."""
        return self.code.encode(queries)

    def predict(self, parity_queries: Tensor) -> Tensor:
        """Run the coded queries through their models: ``[g, coded, *parity]`` to ``[g, coded, c]``."""
        return run_coded(list(self.parity_models), parity_queries)

    def decode(self, outputs: Tensor, arrived: Tensor) -> Tensor:
        """Return predictions ``[g, k, c]`` from the worker outputs ``[g, n, c]`` that ``arrived`` ``[g, n]``."""
        return self.code.decode(outputs, arrived)

    def forward(self, queries: Tensor) -> Tensor:
        """Map queries ``[g, k, *query]`` to outputs for their coded queries ``[g, coded, c]``."""
        return self.predict(self.encode(queries))

    def coded(self, batch: GroupBatch) -> CodedGroups:
        """Run a batch of groups through the deployed model, unless its predictions are known, and the parity models."""
        predictions = batch.predictions
        if predictions is None:
            predictions = self.deployed(batch.queries.flatten(0, 1)).unflatten(0, batch.queries.shape[:2])
        return CodedGroups(self.code, predictions, self(batch.queries), batch.labels)

    def on_train_epoch_start(self) -> None:
        """Forget the losses of the epoch before."""
        self._losses.clear()

    def training_step(self, batch: GroupBatch, batch_idx: int) -> Tensor:
        """Return the loss of one batch of groups; the mean over an epoch is logged with its last batch."""
        loss = self.loss(self.coded(batch))
        self._losses.append(loss.detach())
        if self.trainer.is_last_batch:
            mean = torch.stack(self._losses).mean()
            self.log("train/loss", mean, on_step=False, on_epoch=True, batch_size=1, sync_dist=True)
        return loss

    def validation_step(self, batch: GroupBatch, batch_idx: int) -> None:
        """Log the loss and the metrics of reconstructed predictions."""
        groups = self.coded(batch)
        self.val_loss.update(self.loss(groups), weight=len(batch.labels))
        self.log("val/loss", self.val_loss)
        self.val_metrics.update(reconstructed=groups.reconstructed, predictions=groups.own, labels=groups.own_labels)
        self.log_dict(self.val_metrics, prog_bar=True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Note what the checkpoint is of."""
        checkpoint["training"] = self._identity

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Raise a ``TrainingError`` if the checkpoint is of another code, deployed model, length or architecture."""
        theirs, ours = checkpoint.get("training") or {}, self._identity
        for what, value in ours.items():
            if theirs.get(what) != value:
                raise TrainingError(
                    f"ckpt_path is of a training with {what} {theirs.get(what)}, and this one has {value}; "
                    "a training goes on with the configuration that it began with"
                )
        shapes = {name: list(value.shape) for name, value in self.state_dict().items()}
        if {name: list(value.shape) for name, value in checkpoint["state_dict"].items()} != shapes:
            raise TrainingError("the checkpoint is of parity models of another architecture")

    @property
    def _identity(self) -> dict[str, Any]:
        return {
            "code": f"{self.code.name} k={self.code.k} r={self.code.r}",
            "deployed model": self.deployed.fingerprint[:16],
            "steps": int(self.trainer.estimated_stepping_batches),
        }

    def configure_optimizers(self) -> Any:
        """Give Lightning the optimizer, and the scheduler that it steps after each batch."""
        optimizer = self.optim(self.parameters())
        scheduler = self.schedule(optimizer, total_steps=int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
