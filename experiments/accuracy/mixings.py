"""Ways of showing k pictures in one, tried beside those of ``code=concat``. Each keeps every pixel to one query.

In a configuration: ``code.code._target_=experiments.accuracy.mixings.Interleaved`` with ``code=concat_heads``.
"""

import torch
from torch import Tensor, nn

from parmtrain.codes import Concat
from parmtrain.codes.layout import downsampled


class InterleavedEncoder(nn.Module):
    """Downsample the k images, and deal their pixels out to small rectangles of rows × columns: a pixel shuffle.

    Args:
        rows: Rows of a rectangle.
        columns: Its columns; rows · columns is k.

    Example:
        >>> pair = torch.stack([torch.zeros(1, 2, 4), torch.ones(1, 2, 4)])[None]
        >>> InterleavedEncoder(rows=1, columns=2)(pair)[0, 0, 0]
        tensor([[0., 1., 0., 1.],
                [0., 1., 0., 1.]])
    """

    def __init__(self, rows: int, columns: int) -> None:
        super().__init__()
        self.rows, self.columns = rows, columns

    def forward(self, queries: Tensor) -> Tensor:
        """Map images ``[g, k, c, h, w]``, sides multiples of the rectangle's, to parity images ``[g, 1, c, h, w]``."""
        cells = downsampled(queries, queries.size(-2) // self.rows, queries.size(-1) // self.columns)
        dealt: Tensor = cells.unflatten(1, (self.rows, self.columns)).permute(0, 3, 4, 1, 5, 2)
        return dealt.flatten(4, 5).flatten(2, 3).unsqueeze(1)


class Interleaved(Concat):
    """``concat`` with the pixels of the cells dealt out."""

    def __init__(self, k: int, r: int | None = None, layout: str = "grid") -> None:
        super().__init__(k, r, layout)
        self.encoder = InterleavedEncoder(*self.grid)


class PatchesEncoder(nn.Module):
    """Give square patches to the k images in turn, each at its own place: a checkerboard of more than one pixel.

    Args:
        k: Images in a group.
        side: Pixels on a side of a patch.

    Example:
        >>> pair = torch.stack([torch.zeros(1, 2, 4), torch.ones(1, 2, 4)])[None]
        >>> PatchesEncoder(k=2, side=2)(pair)[0, 0, 0]
        tensor([[0., 0., 1., 1.],
                [0., 0., 1., 1.]])
    """

    def __init__(self, k: int, side: int) -> None:
        super().__init__()
        self.k, self.side = k, side

    def forward(self, queries: Tensor) -> Tensor:
        """Map images ``[g, k, c, h, w]`` to parity images ``[g, 1, c, h, w]``."""
        down = torch.arange(queries.size(-2)) // self.side
        across = torch.arange(queries.size(-1)) // self.side
        owner = (down[:, None] + across) % self.k
        shown = owner == torch.arange(self.k).view(-1, 1, 1, 1)
        return (queries * shown).sum(dim=1, keepdim=True)


class Patches(Concat):
    """The patches."""

    def __init__(self, k: int, r: int | None = None, layout: str = "grid", side: int = 4) -> None:
        super().__init__(k, r, layout)
        self.encoder = PatchesEncoder(k, side)
