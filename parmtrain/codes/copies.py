"""Baselines that send every query twice: again to the deployed model, or to a cheaper model."""

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor, nn

from parmtrain.codes.base import Code, FreshModel, require_r
from parmtrain.deployed import DeployedModel


class FirstArrived(nn.Module):
    """Return each prediction or, if it is late, the output for its copy.

    Args:
        k: Queries in a coding group.

    Example:
        >>> outputs = torch.tensor([[[torch.nan], [2.0], [1.0], [torch.nan]]])
        >>> FirstArrived(k=2)(outputs, torch.tensor([[False, True, True, False]]))
        tensor([[[1.],
                 [2.]]])
    """

    def __init__(self, k: int) -> None:
        super().__init__()
        self.k = k

    def forward(self, outputs: Tensor, arrived: Tensor) -> Tensor:
        """Map worker outputs ``[g, 2k, c]`` and ``arrived`` ``[g, 2k]`` to predictions ``[g, k, c]``."""
        copies = outputs[:, self.k :].masked_fill(~arrived[:, self.k :].unsqueeze(-1), float("nan"))
        return torch.where(arrived[:, : self.k].unsqueeze(-1), outputs[:, : self.k], copies)


class Copies(Code):
    """A code whose r = k extra workers run copies of the queries.

    Args:
        k: Queries in a coding group, 2 or more.
        r: Extra workers per group, k.
    """

    def __init__(self, k: int, r: int | None = None) -> None:
        right = require_r(self.name, r, k, f"sends every query twice, to k={k} extra workers")
        super().__init__(k, right, nn.Identity(), FirstArrived(k))

    @property
    def stragglers(self) -> int:
        """1, since a second straggler may be the copy of the first."""
        return 1


class Replication(Copies):
    """The deployed model runs every query twice.

    Args:
        k: Queries in a coding group, 2 or more.
        r: Extra workers per group, k.

    Example:
        >>> Replication(k=3).cost((1, 28, 28))
        {'extra_workers': 1.0, 'parity_bytes': 3.0}
    """

    def parity_models(
        self, query_shape: tuple[int, ...], deployed: DeployedModel, fresh: FreshModel
    ) -> list[nn.Module]:
        """Return the deployed model."""
        return [deployed]


class Backup(Copies):
    """A cheaper model also runs every query; it is trained on labels or on the deployed model's predictions.

    Args:
        k: Queries in a coding group, 2 or more.
        model: Builds the cheaper model, which maps queries ``[b, *query]`` to predictions ``[b, c]``.
        r: Extra workers per group, k.

    Source: the approximate backup of Kosaian et al., ParM (SOSP'19), section 5.

    Example:
        >>> Backup(k=2, model=lambda: nn.Linear(4, 3)).erasures
        tensor([[False, False,  True,  True]])
    """

    def __init__(self, k: int, model: Callable[[], nn.Module], r: int | None = None) -> None:
        super().__init__(k, r)
        self.model = model

    def parity_models(
        self, query_shape: tuple[int, ...], deployed: DeployedModel, fresh: FreshModel
    ) -> list[nn.Module]:
        """Return the cheaper model, which runs all copies."""
        return [self.model()]

    def target(self, predictions: Tensor) -> Tensor:
        """Return the predictions themselves ``[g, k, c]``."""
        return predictions

    @cached_property
    def erasures(self) -> Tensor:
        """The one arrival pattern in which every prediction comes from the cheaper model."""
        return (torch.arange(self.n) >= self.k).unsqueeze(0)
