"""The concatenation code of ParM, which places queries side by side."""

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from parmtrain.codes.base import require_k, require_r
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
    """Downsample images ``[..., h, w]`` to ``height`` × ``width`` by averaging blocks of equal size.

    Blocks are summed row by row and column by column, which takes little longer than reading the images. Where a side
    does not divide evenly, the remainder is cropped at the edges.

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
    """Downsample the k images of a group and arrange them in a grid of one image's size.

    All cells have the same size. Unused cells are zero, and so is the remainder at the right and at the bottom if the
    width or height does not divide evenly.

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
        """Map images ``[g, k, c, h, w]`` to one parity image per group ``[g, 1, c, h, w]``."""
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
    """The concatenation code for images: the parity query shows the k queries side by side.

    Args:
        k: Queries in a coding group, 2 or more.
        r: Parity queries, 1.
        layout: ``grid``, or ``row`` to place spectrograms side by side in time.

    Raises:
        UnsupportedError: If r is not 1 or the layout is unknown.

    Source: Kosaian et al., ParM (SOSP'19), section 4.2.3 (task-specific encoders).

    Example:
        >>> Concat(k=4).encode(torch.ones(5, 4, 3, 33, 31)).shape
        torch.Size([5, 1, 3, 33, 31])
    """

    def __init__(self, k: int, r: int | None = None, layout: str = "grid") -> None:
        require_k(k)
        require_r("concat", r, 1, "makes one parity query per group")
        if layout not in ("grid", "row"):
            raise UnsupportedError(f"code.layout must be grid or row, got {layout}")
        self.grid = grid(k) if layout == "grid" else (1, k)
        super().__init__(k, torch.ones(1, k), ConcatEncoder(*self.grid))

    def parity_shape(self, query_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return ``query_shape``, which must be ``[c, h, w]`` and no smaller than the grid."""
        if len(query_shape) != 3:
            raise UnsupportedError(
                f"code=concat needs queries of shape [c, h, w] (images or spectrograms), got "
                f"{list(query_shape)}; code=sum takes any shape"
            )
        (rows, columns), (height, width) = self.grid, query_shape[1:]
        if height < rows or width < columns:
            raise UnsupportedError(
                f"code=concat with k={self.k} needs images of {rows}×{columns} pixels or more, got "
                f"{height}×{width}; use a smaller k or code=sum"
            )
        return query_shape
