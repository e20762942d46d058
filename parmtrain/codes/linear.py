"""Codes that add queries: the sum code of ParM and its subtraction decoder."""

import torch
from torch import Tensor, nn

from parmtrain.codes.base import Code
from parmtrain.errors import UnsupportedError


class SumEncoder(nn.Module):
    """Add the k queries of a group: ``P = X_1 + … + X_k``.

    Example:
        >>> SumEncoder()(torch.tensor([[[1.0, 2.0], [10.0, 20.0]]]))
        tensor([[[11., 22.]]])
    """

    def forward(self, queries: Tensor) -> Tensor:
        """Map queries ``[g, k, *query]`` to one parity query a group ``[g, 1, *query]``."""
        return queries.sum(dim=1, keepdim=True)


class SubtractionDecoder(nn.Module):
    """Take the predictions that arrived from the parity output: ``F̂(X_j) = F_P(P) − Σ_{i≠j} F(X_i)``.

    Args:
        k: Queries in a coding group.

    Example:
        >>> outputs = torch.tensor([[[torch.nan], [2.0], [7.0]]])  # F(X_1) is late, F(X_2) = 2, F_P(P) = 7
        >>> SubtractionDecoder(k=2)(outputs, torch.tensor([[False, True, True]]))
        tensor([[[5.],
                 [2.]]])
    """

    def __init__(self, k: int) -> None:
        super().__init__()
        self.k = k

    def forward(self, outputs: Tensor, arrived: Tensor) -> Tensor:
        """Map worker outputs ``[g, k+1, c]`` and ``arrived`` ``[g, k+1]`` to predictions ``[g, k, c]``.

        Two missing predictions, or one and the parity output, cannot be rebuilt: they are NaN.
        """
        predictions, parity = outputs[:, : self.k], outputs[:, self.k :]
        here = arrived[:, : self.k]
        rebuilt = parity - predictions.masked_fill(~here.unsqueeze(-1), 0.0).sum(dim=1, keepdim=True)
        solvable = arrived[:, self.k :] & (here.sum(dim=1, keepdim=True) >= self.k - 1)
        rebuilt = rebuilt.masked_fill(~solvable.unsqueeze(-1), float("nan"))
        return torch.where(here.unsqueeze(-1), predictions, rebuilt)


class SubtractionCode(Code):
    """A code with one parity model that learns the sum of the predictions, so that subtraction rebuilds any one.

    Args:
        k: Queries in a coding group, 2 or more.
        r: Parity queries, 1.
        encoder: Module that maps queries ``[g, k, *query]`` to one parity query a group ``[g, 1, *parity]``.

    Raises:
        UnsupportedError: If k is under 2 or r is not 1.
    """

    def __init__(self, k: int, r: int, encoder: nn.Module) -> None:
        super().__init__(k, r, encoder, SubtractionDecoder(k))
        if r != 1:
            raise UnsupportedError(f"r={r}: code={self.name} makes one parity query a group; r=1 is right")

    def target(self, predictions: Tensor) -> Tensor:
        """Return the sum of the predictions: ``[g, k, c]`` to ``[g, 1, c]``."""
        return predictions.sum(dim=1, keepdim=True)


class Sum(SubtractionCode):
    """The sum code: the parity query is the sum of the queries, of any shape.

    Args:
        k: Queries in a coding group, 2 or more.
        r: Parity queries, 1.

    Source: Kosaian et al., ParM (SOSP'19), section 3.2.

    Example:
        >>> Sum(k=3).encode(torch.ones(5, 3, 1, 28, 28)).shape
        torch.Size([5, 1, 1, 28, 28])
    """

    def __init__(self, k: int, r: int = 1) -> None:
        super().__init__(k, r, SumEncoder())
