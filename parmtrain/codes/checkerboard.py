"""The code that deals the pixels of one picture out to k."""

import torch
from torch import Tensor, nn

from parmtrain.codes.base import only
from parmtrain.codes.linear import LinearCode
from parmtrain.errors import UnsupportedError


class CheckerboardEncoder(nn.Module):
    """Show each of the k images on the pixels whose row and column add up to its position, modulo k.

    Args:
        k: Images in a group.

    Example:
        >>> pair = torch.stack([torch.zeros(1, 2, 4), torch.ones(1, 2, 4)])[None]
        >>> CheckerboardEncoder(k=2)(pair)[0, 0, 0]
        tensor([[0., 1., 0., 1.],
                [1., 0., 1., 0.]])
    """

    def __init__(self, k: int) -> None:
        super().__init__()
        self.k = k

    def forward(self, queries: Tensor) -> Tensor:
        """Map images ``[g, k, c, h, w]`` to one parity image a group ``[g, 1, c, h, w]``."""
        rows = torch.arange(queries.size(-2), device=queries.device).unsqueeze(1)
        columns = torch.arange(queries.size(-1), device=queries.device)
        owner = (rows + columns) % self.k
        image = queries[:, 0]
        for i in range(1, self.k):
            image = torch.where(owner == i, queries[:, i], image)
        return image.unsqueeze(1)


class Checkerboard(LinearCode):
    """A code for images: every pixel of the parity query is one query's, at its own place and not averaged.

    Where ``Concat`` makes k small pictures of the queries, this keeps them large and full of holes. A perceptron makes
    more of that at k = 2; a convolution finds no edges in it.

    Args:
        k: Queries in a coding group, 2 or more.
        r: Parity queries, 1.

    Raises:
        UnsupportedError: If r is not 1.

    Example:
        >>> Checkerboard(k=4).encode(torch.ones(5, 4, 3, 33, 31)).shape
        torch.Size([5, 1, 3, 33, 31])
    """

    def __init__(self, k: int, r: int | None = None) -> None:
        only("checkerboard", r, 1, "makes one parity query a group")
        super().__init__(k, torch.ones(1, max(k, 1)), CheckerboardEncoder(k))

    def parity_shape(self, query_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return ``query_shape``, which must be an image ``[c, h, w]`` with a pixel for each query."""
        if len(query_shape) != 3:
            raise UnsupportedError(
                f"code=checkerboard_heads takes images or spectrograms [c, h, w] and cannot take a query of shape "
                f"{list(query_shape)}; code=sum takes any shape"
            )
        if sum(query_shape[1:]) <= self.k:
            raise UnsupportedError(
                f"code=checkerboard_heads with k={self.k} needs images whose height and width add up to more than "
                f"{self.k}; these have {query_shape[1]}×{query_shape[2]}"
            )
        return query_shape
