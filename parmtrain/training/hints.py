"""Distillation of hidden features: parity models learn what the deployed model sees, beside what it answers."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch.utils.hooks import RemovableHandle

from parmtrain.bounds import Positive
from parmtrain.deployed import DeployedModel
from parmtrain.errors import UnsupportedError
from parmtrain.training.coded_groups import CodedGroups
from parmtrain.training.groups import GroupBatch

if TYPE_CHECKING:
    from parmtrain.training.parity_module import ParityModule

Loss = Callable[[CodedGroups], Tensor]


class Hints(nn.Module):
    """A loss, and how far hidden features of the parity models, mapped linearly, are from those of the deployed model.

    Hidden features are what a network's last linear layer is given. Their distance is the squared error ÷ the mean
    square of the deployed model's features. Only training needs them; in validation, this is the loss alone.

    Args:
        loss: The loss to which it adds.
        weight: Weight of the distance.

    Source: Romero et al., FitNets (arXiv 1412.6550), section 2.2, here on the last hidden layer.

    Example:
        >>> from parmtrain.codes import Sum
        >>> from parmtrain.training.losses import kl
        >>> groups = CodedGroups(Sum(2), torch.rand(5, 2, 3), torch.rand(5, 1, 3), torch.zeros(5, 2, dtype=torch.long))
        >>> Hints(kl)(groups) == kl(groups)  # in validation
        tensor(True)
    """

    bridge: nn.Module

    def __init__(self, loss: Loss, weight: Positive = 1.0) -> None:
        super().__init__()
        self.loss, self.weight, self.bridge = loss, weight, nn.Identity()

    def begin(self, module: "ParityModule", query_shape: tuple[int, ...], labels: Tensor) -> None:
        """Make the linear map that the models of a module need.

        Args:
            module: The module that is to be trained.
            query_shape: Shape of one query.
            labels: Labels of one group ``[1, k]`` or ``[1, k, l]``, of any value.

        Raises:
            UnsupportedError: If a model has no linear layer, or is a program.
        """
        with torch.no_grad():
            tried = self.run_groups(module.eval(), GroupBatch(torch.zeros(1, module.k, *query_shape), labels, None))
        module.train()
        assert tried.hidden is not None
        assert tried.parity_hidden is not None
        ours, per_row = tried.parity_hidden.size(-1), tried.parity_hidden.numel() // tried.parity_hidden.size(-1)
        self.bridge = nn.Linear(ours, tried.hidden.numel() // per_row)

    def run_groups(self, module: "ParityModule", batch: GroupBatch, present: int | None = None) -> CodedGroups:
        """Run a batch of groups, and keep the hidden features of the deployed model and of the parity models.

        Args:
            module: The deployed model, the code and the parity models.
            batch: The groups.
            present: As for ``ParityModule.coded_groups``.

        Raises:
            UnsupportedError: If one of the models has no linear layer, or is a program.
        """
        ours = [model for model in module.parity_models if not isinstance(model, DeployedModel)]
        if not ours:
            raise UnsupportedError(
                f"loss=hints needs a parity model, and code={module.code.name} trains none; use loss=kl"
            )
        with hidden_features([module.deployed.network], "the deployed model") as theirs:
            own = module.deployed(batch.queries.flatten(0, 1)).unflatten(0, batch.queries.shape[:2])
        with hidden_features(ours, "the parity model") as seen:
            known = own if batch.predictions is None else batch.predictions
            groups = module.coded_groups(batch._replace(predictions=known), present)
        count = len(batch.labels)
        hidden, parity_hidden = (torch.cat([one.reshape(count, -1) for one in every], 1) for every in (theirs, seen))
        if module.code.independent:
            parity_hidden = parity_hidden.unflatten(1, (module.k, -1))
        return replace(groups, hidden=hidden.unflatten(1, (module.k, -1)), parity_hidden=parity_hidden)

    def forward(self, groups: CodedGroups) -> Tensor:
        """Return the loss of a batch."""
        loss = self.loss(groups)
        if groups.hidden is None or groups.parity_hidden is None:
            return loss
        mapped = self.bridge(groups.parity_hidden).reshape(groups.hidden.shape)
        wanted, given = groups.hidden[:, : groups.present], mapped[:, : groups.present]
        return loss + self.weight * mse_loss(given, wanted) / wanted.square().mean().clamp_min(1e-6)


@contextmanager
def hidden_features(networks: Sequence[object], name: str) -> Iterator[list[Tensor]]:
    """Collect what the last linear layer of each network is given, call by call, while the context lasts.

    Args:
        networks: Networks, of which each is a module with a linear layer.
        name: What they are, for the error message.

    Raises:
        UnsupportedError: If one has no such layer, or hides it in a program.

    Example:
        >>> network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
        >>> with hidden_features([network], "F") as seen:
        ...     _ = network(torch.zeros(5, 2, 2))
        >>> [features.shape for features in seen]
        [torch.Size([5, 4])]
    """
    seen: list[Tensor] = []
    handles = list[RemovableHandle]()
    for network in networks:
        layers = network.modules() if isinstance(network, nn.Module) else []
        linear = [layer for layer in layers if isinstance(layer, nn.Linear)]
        if not isinstance(network, nn.Module) or not linear:
            raise UnsupportedError(
                f"loss=hints needs a linear layer in {name}, whose input it reads, got {type(network).__name__}; use "
                "loss=kl_and_labels or loss=kl, or give the model as a state dict or a module"
            )
        handles += _recording(network, linear, seen)
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _recording(network: nn.Module, layers: Sequence[nn.Module], seen: list[Tensor]) -> Iterator[RemovableHandle]:
    """Have each call of a network add to ``seen`` what the last of its layers that ran was given."""
    given: list[Tensor] = []

    def note(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        given.append(inputs[0])

    def keep(*_: object) -> None:
        seen.append(given[-1])
        given.clear()

    yield from (layer.register_forward_pre_hook(note) for layer in layers)
    yield network.register_forward_hook(keep)
