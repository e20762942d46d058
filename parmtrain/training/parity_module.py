"""The Lightning module that trains codes and parity models for a frozen deployed model."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import MeanMetric

from parmtrain.codes import Code, Scheme, run_coded, scheme_of
from parmtrain.deployed import DeployedModel
from parmtrain.errors import InputError, TrainingError, UnsupportedError
from parmtrain.metrics import Measures, Tally, of_classes
from parmtrain.training import losses, schedules
from parmtrain.training.coded_groups import CodedGroups
from parmtrain.training.groups import GroupBatch

CLASSES = of_classes(outputs=2)


@runtime_checkable
class LossOfModels(Protocol):
    """A loss that looks into the models as they run: it runs the batches of training itself."""

    def begin(self, module: "ParityModule", query_shape: tuple[int, ...], labels: Tensor) -> None:
        """Prepare for a module that is to be trained, given labels of one group ``[1, k, …]`` of any value."""

    def run_groups(self, module: "ParityModule", batch: GroupBatch, present: int | None) -> CodedGroups:
        """Run a batch of groups as ``ParityModule.coded_groups`` does, and keep what the loss compares."""


class ParityModule(pl.LightningModule):
    """Train parity models, or a code, so that the decoder reconstructs the deployed model's predictions.

    Args:
        deployed: The frozen deployed model; it is never trained, saved or put into training mode here.
        code: Encoder, target and decoder.
        parity_models: One network for each coded query, or one for all; each maps ``[b, *parity]`` to ``[b, c]``. The
            deployed model may be one of them.
        loss: Scalar function of ``CodedGroups``, perhaps a ``LossOfModels``.
        optim: Makes an optimizer from the parameters.
        schedule: Makes a learning-rate scheduler, stepped each batch, from the optimizer and ``total_steps``.
        measures: Kind of predictions, and the measures that score them in validation; accuracy by default.
        partial: Whether groups of 1 to k queries are drawn in training, one size for each batch.

    Raises:
        InputError: If the deployed model or the code is none, or there are too few or too many parity models.

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
        measures: Measures = CLASSES,
        partial: bool = False,
    ) -> None:
        super().__init__()
        for name, part, kind in (("deployed", deployed, DeployedModel), ("code", code, Code)):
            if not isinstance(part, kind):
                raise InputError(f"{name} must be a parmtrain.{kind.__name__}, got {type(part).__name__}")
        models = list(parity_models)
        if odd := [model for model in models if not isinstance(model, nn.Module)]:
            raise InputError(f"parity_models must be modules, got {type(odd[0]).__name__}")
        if len(models) not in {0 if code.num_coded == 0 else 1, code.num_coded}:
            raise InputError(
                f"parity_models must be 1 model or {code.num_coded}, one per coded query, got {len(models)}"
            )
        self.deployed, self.code = deployed, code
        self.parity_models = nn.ModuleList(models)
        self.loss, self.optim, self.schedule = loss, optim, schedule
        self.measures, self.partial = measures, partial
        self.val_tally, self.val_loss = Tally(code.erasures, code.missing, measures), MeanMetric()
        self._losses: list[Tensor] = []
        self._takes_partial = False

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
        """Number of workers of a group, any of them, that may be late at once."""
        return self.code.stragglers

    def gather(self, predictions: Tensor, coded_outputs: Tensor) -> Tensor:
        """Combine predictions ``[g, k, c]`` and coded outputs ``[g, coded, c]`` into worker outputs ``[g, n, c]``."""
        return self.code.gather(predictions, coded_outputs)

    @property
    def trains(self) -> bool:
        """Whether there is anything to train by gradients."""
        parts = (self.code, self.parity_models)
        return any(parameter.requires_grad for part in parts for parameter in part.parameters())

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

    def scheme(self, outputs: int) -> Scheme:
        """Return which worker runs what and which outputs give which prediction, for ``outputs`` numbers each."""
        fresh = sum(not isinstance(model, DeployedModel) for model in self.parity_models)
        return scheme_of(self.code, fresh, self.code.heads * outputs)

    def _size(self, batch_idx: int) -> int | None:
        """Draw how many queries the groups of a batch have, the same in all processes; None for all k.

        Codes whose queries are independent learn nothing from groups that are not full.
        """
        if not self.partial or self.code.independent:
            return None
        random = torch.Generator().manual_seed(self.current_epoch * 1_000_003 + batch_idx)
        return int(torch.randint(1, self.k + 1, (), generator=random))

    def coded_groups(self, batch: GroupBatch, present: int | None = None) -> CodedGroups:
        """Run a batch of groups through the deployed model, unless its predictions are known, and the parity models.

        Args:
            batch: The groups.
            present: How many queries of each group to keep; the others become zeros. None keeps all.

        Raises:
            UnsupportedError: If the code needs all of them.
        """
        predictions = batch.predictions
        if predictions is None:
            predictions = self.deployed(batch.queries.flatten(0, 1)).unflatten(0, batch.queries.shape[:2])
        queries = batch.queries
        if present is not None:
            self.require_partial(predictions.size(-1))
            queries = torch.cat([queries[:, :present], torch.zeros_like(queries[:, present:])], dim=1)
        return CodedGroups(self.code, predictions, self(queries), batch.labels, self.measures.kind, present)

    def training_groups(self, batch: GroupBatch, present: int | None = None) -> CodedGroups:
        """Run a batch as ``coded_groups`` does, or as the loss asks for."""
        if isinstance(self.loss, LossOfModels):
            return self.loss.run_groups(self, batch, present)
        return self.coded_groups(batch, present)

    def require_partial(self, outputs: int) -> None:
        """Raise an ``UnsupportedError`` unless the code takes groups of fewer queries than k.

        Args:
            outputs: Length of one prediction.
        """
        self._takes_partial = self._takes_partial or self.scheme(outputs).partial  # slow, so once
        if not self._takes_partial:
            raise UnsupportedError(
                f"code={self.code.name} needs all k queries of a group, so partial must be false; lowres, backup and "
                "codes with heads do not"
            )

    def on_train_epoch_start(self) -> None:
        """Clear the losses of the previous epoch."""
        self._losses.clear()

    def training_step(self, batch: GroupBatch, batch_idx: int) -> Tensor:
        """Return the loss of one batch of groups; the mean over an epoch is logged with its last batch."""
        loss = self.loss(self.training_groups(batch, self._size(batch_idx)))
        self._losses.append(loss.detach())
        if self.trainer.is_last_batch:
            mean = torch.stack(self._losses).mean()
            self.log("train/loss", mean, on_step=False, on_epoch=True, batch_size=1, sync_dist=True)
        return loss

    def validation_step(self, batch: GroupBatch, batch_idx: int) -> None:
        """Log the loss and score reconstructed predictions."""
        groups = self.coded_groups(batch)
        self.val_loss.update(self.loss(groups), weight=len(batch.labels))
        self.log("val/loss", self.val_loss)
        self.val_tally.update(groups.decoded, groups.predictions, groups.labels)

    def on_validation_epoch_end(self) -> None:
        """Log A_d and the agreement of reconstructed predictions over all processes."""
        self.log_dict({f"val/{name}": value for name, value in self.val_tally.compute().items()}, prog_bar=True)
        self.val_tally.reset()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the identity of the training in the checkpoint."""
        checkpoint["training"] = self._identity

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Raise a ``TrainingError`` if code, deployed model, length or architecture differ from the checkpoint's."""
        theirs, ours = checkpoint.get("training") or {}, self._identity
        for what, value in ours.items():
            if theirs.get(what) != value:
                raise TrainingError(
                    f"ckpt_path must be a checkpoint of a training with {what} {value}, got {theirs.get(what)}; "
                    "resume with the configuration that the training started with"
                )
        shapes = {name: list(value.shape) for name, value in self.state_dict().items()}
        if {name: list(value.shape) for name, value in checkpoint["state_dict"].items()} != shapes:
            raise TrainingError("ckpt_path must hold parity models of the configured architecture, got another one")

    @property
    def _identity(self) -> dict[str, Any]:
        return {
            "code": f"{self.code.name} k={self.code.k} r={self.code.r}",
            "encoder": repr(self.code.encoder),
            "deployed model": self.deployed.fingerprint[:16],
            "steps": int(self.trainer.estimated_stepping_batches),
        }

    def configure_optimizers(self) -> Any:
        """Return the optimizer and a scheduler that steps after each batch."""
        optimizer = self.optim(self.parameters())
        scheduler = self.schedule(optimizer, total_steps=int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
