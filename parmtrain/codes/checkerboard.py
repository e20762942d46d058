"""The checkerboard code, which interleaves the pixels of k images."""

import torch
from torch import Tensor, nn

from parmtrain.codes.base import require_k, require_r
from parmtrain.codes.linear import LinearCode
from parmtrain.errors import UnsupportedError


class CheckerboardEncoder(nn.Module):
    """Interleave k images: image i fills the pixels whose row and column add up to i, modulo k.

    Args:
        k: Images in a coding group.

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
        """Map images ``[g, k, c, h, w]`` to one parity image per group ``[g, 1, c, h, w]``."""
        rows = torch.arange(queries.size(-2), device=queries.device).unsqueeze(1)
        columns = torch.arange(queries.size(-1), device=queries.device)
        owner = (rows + columns) % self.k
        image = queries[:, 0]
        for i in range(1, self.k):
            image = torch.where(owner == i, queries[:, i], image)
        return image.unsqueeze(1)


class Checkerboard(LinearCode):
    """A code for images: every pixel of the parity query is a pixel of one query, at the same position.

    ``Concat`` downsamples the queries; this code keeps their size and drops pixels instead. Perceptrons score higher
    with it at k = 2; convolutions score lower, since it breaks up edges.

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
        require_k(k)
        require_r("checkerboard", r, 1, "makes one parity query per group")
        super().__init__(k, torch.ones(1, k), CheckerboardEncoder(k))

    def parity_shape(self, query_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return ``query_shape``, which must be an image ``[c, h, w]`` with a pixel for each query."""
        if len(query_shape) != 3:
            raise UnsupportedError(
                f"a checkerboard code needs queries of shape [c, h, w] (images or spectrograms), got "
                f"{list(query_shape)}; code=sum takes any shape"
            )
        if sum(query_shape[1:]) <= self.k:
            raise UnsupportedError(
                f"a checkerboard code with k={self.k} needs images whose height and width add up to more than "
                f"{self.k}, got {query_shape[1]}×{query_shape[2]}"
            )
        return query_shape
