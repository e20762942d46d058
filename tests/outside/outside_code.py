"""A code: the queries of a group added with signs that alternate."""

import torch

from parmtrain.codes.base import require_r
from parmtrain.codes.linear import LinearCode


class Alternating(LinearCode):
    """P = X_1 − X_2 + X_3 − …"""

    def __init__(self, k: int, r: int | None = None) -> None:
        require_r("alternating", r, 1, "makes one parity query per group")
        super().__init__(k, torch.tensor([[(-1.0) ** i for i in range(k)]]))
