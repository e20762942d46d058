"""Codes that place queries beside one another: the concatenation code of ParM."""

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from parmtrain.codes.base import only
from parmtrain.codes.linear import LinearCode
from parmtrain.errors import UnsupportedError

LONGEST = 3


def grid(k: int) -> tuple[int, int]:
    """Return the rows and columns of the smallest grid for k cells that is at most three times as wide as it is high.

    Example:
        >>> [grid(k) for k in (2, 3, 4, 5, 6, 7, 8, 9)]
        [(1, 2), (1, 3), (2, 2), (2, 3), (2, 3), (2, 4), (2, 4), (3, 3)]
    """
    rows = max(row for row in range(1, int(k**0.5) + 1) if k % row == 0)
    return (rows, k // rows) if k // rows <= LONGEST * rows else grid(k + 1)


def downsampled(images: Tensor, height: int, width: int) -> Tensor:
    """Return images ``[..., h, w]`` at ``height`` × ``width``, each pixel the mean of equally many.

    Neighbours are added row by row and column by column, which takes little longer than reading them. What is left over
    at the edges, where a side does not divide evenly, is cut off.

    Example:
        >>> downsampled(torch.arange(8.0).view(1, 2, 4), height=1, width=2)
        tensor([[[2.5000, 4.5000]]])
    """
    down, across = images.size(-2) // height, images.size(-1) // width
    top, left = (images.size(-2) - down * height) // 2, (images.size(-1) - across * width) // 2
    rows = images[..., top : top + down * height : down, left : left + across * width]
    for i in range(1, down):
        rows = rows + images[..., top + i : top + down * height : down, left : left + across * width]
    pixels = rows[..., ::across]
    for i in range(1, across):
        pixels = pixels + rows[..., i::across]
    return pixels / (down * across)


class ConcatEncoder(nn.Module):
    """Downsample the k images of a group and lay them out in a grid of one image's size.

    All cells are of one size. Cells that no image is left for are zero, and so is what the grid leaves over at the
    right and at the bottom, where height or width does not divide evenly.

    Args:
        rows: Rows of the grid.
        columns: Columns of the grid.

    Example:
        >>> pair = torch.stack([torch.zeros(1, 2, 4), torch.ones(1, 2, 4)])[None]
        >>> ConcatEncoder(rows=1, columns=2)(pair)[0, 0, 0]
        tensor([[0., 0., 1., 1.],
                [0., 0., 1., 1.]])
    """

    def __init__(self, rows: int, columns: int) -> None:
        super().__init__()
        self.rows, self.columns = rows, columns

    def forward(self, queries: Tensor) -> Tensor:
        """Map images ``[g, k, c, h, w]`` to one parity image a group ``[g, 1, c, h, w]``."""
        height, width = queries.size(-2), queries.size(-1)
        cells = downsampled(queries, height // self.rows, width // self.columns)
        empty = self.rows * self.columns - cells.size(1)
        if empty:
            cells = pad(cells, (0, 0, 0, 0, 0, 0, 0, empty))
        laid_out = cells.unflatten(1, (self.rows, self.columns)).permute(0, 3, 1, 4, 2, 5)
        image: Tensor = laid_out.flatten(4, 5).flatten(2, 3)
        below, beside = height - image.size(-2), width - image.size(-1)
        if below or beside:
            image = pad(image, (0, beside, 0, below))
        return image.unsqueeze(1)


class Concat(LinearCode):
    """The concatenation code, for images: the parity query shows the k queries beside one another.

    Args:
        k: Queries in a coding group, 2 or more.
        r: Parity queries, 1.
        layout: ``grid``, or ``row`` for spectrograms, which lays any k of them beside one another in time.

    Raises:
        UnsupportedError: If r is not 1, or the layout is another word.

    Source: Kosaian et al., ParM (SOSP'19), section 4.2.3 (task-specific encoders).

    Example:
        >>> Concat(k=4).encode(torch.ones(5, 4, 3, 33, 31)).shape
        torch.Size([5, 1, 3, 33, 31])
    """

    def __init__(self, k: int, r: int | None = None, layout: str = "grid") -> None:
        only("concat", r, 1, "makes one parity query a group")
        if layout not in ("grid", "row"):
            raise UnsupportedError(f"code.layout={layout}: code=concat lays queries out in a grid or in a row")
        self.grid = grid(max(k, 1)) if layout == "grid" else (1, max(k, 1))
        super().__init__(k, torch.ones(1, max(k, 1)), ConcatEncoder(*self.grid))

    def parity_shape(self, query_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return ``query_shape``, which must be an image ``[c, h, w]`` no smaller than the grid."""
        if len(query_shape) != 3:
            raise UnsupportedError(
                f"code=concat lays out images or spectrograms [c, h, w] and cannot take a query of shape "
                f"{list(query_shape)}; code=sum takes any shape"
            )
        (rows, columns), (height, width) = self.grid, query_shape[1:]
        if height < rows or width < columns:
            raise UnsupportedError(
                f"code=concat with k={self.k} needs images of {rows}×{columns} pixels or more; these have "
                f"{height}×{width}; try a smaller k or code=sum"
            )
        return query_shape
