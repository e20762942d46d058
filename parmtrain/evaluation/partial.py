"""Groups with fewer than k queries: a predictor on them is a predictor for groups of that size."""

import torch
from torch import Tensor
from torch.nn.functional import pad

from parmtrain.codes import CodedPredictor


class PartialGroups:
    """A predictor on groups of fewer queries than k, where zeros stand for the others.

    Args:
        predictor: A predictor whose parity output gives each prediction without the others.
        size: Queries in a group, from 1 to k.

    Example:
        >>> from parmtrain.codes import Backup
        >>> PartialGroups(Backup(k=4), size=3).encode(torch.rand(5, 3, 1, 8, 8)).shape
        torch.Size([5, 1, 4, 1, 8, 8])
    """

    systematic, stragglers = True, 1

    def __init__(self, predictor: CodedPredictor, size: int) -> None:
        self.predictor, self.k = predictor, size
        self.n = predictor.n - predictor.k + size

    @property
    def absent(self) -> int:
        """Number of queries that a group lacks."""
        return self.predictor.k - self.k

    def encode(self, queries: Tensor) -> Tensor:
        """Map queries ``[g, size, *query]`` to coded queries ``[g, coded, *parity]``."""
        blank = torch.zeros_like(queries[:, :1]).expand(-1, self.absent, *[-1] * (queries.dim() - 2))
        return self.predictor.encode(torch.cat([queries, blank], dim=1))

    def predict(self, coded_queries: Tensor) -> Tensor:
        """Map coded queries ``[g, coded, *parity]`` to outputs ``[g, coded, w]``."""
        return self.predictor.predict(coded_queries)

    def gather(self, predictions: Tensor, coded_outputs: Tensor) -> Tensor:
        """Combine predictions ``[g, size, c]`` and coded outputs ``[g, coded, w]`` into outputs ``[g, n, w]``."""
        outputs = self.predictor.gather(pad(predictions, (0, 0, 0, self.absent)), coded_outputs)
        return torch.cat([outputs[:, : self.k], outputs[:, self.predictor.k :]], dim=1)

    def decode(self, outputs: Tensor, arrived: Tensor) -> Tensor:
        """Map worker outputs ``[g, n, w]`` and ``arrived`` ``[g, n]`` to predictions ``[g, size, c]``."""
        whole = torch.cat([_with(outputs[:, : self.k], self.absent), outputs[:, self.k :]], dim=1)
        there = torch.cat([_with(arrived[:, : self.k], self.absent), arrived[:, self.k :]], dim=1)
        return self.predictor.decode(whole, there)[:, : self.k]


def _with(values: Tensor, absent: int) -> Tensor:
    """Append zeros for the workers of absent queries to values ``[g, size, …]``."""
    return torch.cat([values, values.new_zeros(values.size(0), absent, *values.shape[2:])], dim=1)
