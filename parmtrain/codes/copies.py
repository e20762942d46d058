"""Baselines that send every query twice: again to the deployed model, or to a cheaper one."""

from torch import nn

from parmtrain.bounds import Positive
from parmtrain.codes.base import Code, FreshModel, require_k
from parmtrain.codes.batches import BatchCode, BatchEncoder, EachQuery, StudentModel, require_divisor
from parmtrain.codes.heads import HeadsDecoder
from parmtrain.deployed import DeployedModel


class Replication(Code):
    """The deployed model runs every query twice.

    Args:
        k: Queries in a coding group, 2 or more.
        r: Extra workers per group, which share its queries evenly; k by default.

    Raises:
        UnsupportedError: If r does not divide k.

    Example:
        >>> Replication(k=3).cost((1, 28, 28)), Replication(k=3, r=1).cost((1, 28, 28))
        ({'extra_workers': 1.0, 'parity_bytes': 3.0}, {'extra_workers': 0.3333333333333333, 'parity_bytes': 3.0})
    """

    independent = True

    def __init__(self, k: int, r: int | None = None) -> None:
        right = require_divisor("replication", require_k(k) if r is None else r, k)
        super().__init__(k, right, BatchEncoder(right), HeadsDecoder(k, right))
        self.heads = k // right

    @property
    def stragglers(self) -> int:
        """1, since a second straggler may be the copy of the first."""
        return 1

    def parity_shape(self, query_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the queries that one extra worker runs."""
        return query_shape if self.heads == 1 else (self.heads, *query_shape)

    def parity_models(
        self, query_shape: tuple[int, ...], deployed: DeployedModel, fresh: FreshModel
    ) -> list[nn.Module]:
        """Return the deployed model."""
        return [deployed if self.heads == 1 else EachQuery(deployed)]


class Backup(BatchCode):
    """A cheaper model also runs every query, as large as it is.

    Args:
        k: Queries in a coding group, 2 or more.
        model: As for ``BatchCode``.
        flops: As for ``BatchCode``.
        r: Extra workers per group, which share its queries evenly; 1 by default, which runs a batch of k.

    Source: the approximate backup of Kosaian et al., ParM (SOSP'19), section 5, here distilled from F.

    Example:
        >>> Backup(k=2).cost((1, 28, 28)), Backup(k=2, r=2).cost((1, 28, 28))
        ({'extra_workers': 0.5, 'parity_bytes': 2.0}, {'extra_workers': 1.0, 'parity_bytes': 2.0})
    """

    def __init__(
        self, k: int, model: StudentModel | None = None, flops: Positive | None = None, r: int | None = None
    ) -> None:
        right = require_divisor("backup", r, require_k(k))
        super().__init__(k, BatchEncoder(right), model, flops, right)
