"""Codes whose parity model has a head for each position: it predicts each query instead of the sum of predictions."""

from functools import cached_property

import torch
from torch import Tensor, nn

from parmtrain.codes.base import Code
from parmtrain.codes.built_on import BuiltOn


class HeadsDecoder(nn.Module):
    """Answer with a prediction or, where that is late, with the parity model's head for its position.

    Args:
        k: Queries in a coding group.

    Example:
        >>> outputs = torch.tensor([[[torch.nan, 0.0], [2.0, 0.0], [1.0, 3.0]]])  # F(X_1) is late, F(X_2) = 2
        >>> HeadsDecoder(k=2)(outputs, torch.tensor([[False, True, True]]))
        tensor([[[1.],
                 [2.]]])
    """

    def __init__(self, k: int) -> None:
        super().__init__()
        self.k = k

    def forward(self, outputs: Tensor, arrived: Tensor) -> Tensor:
        """Map worker outputs ``[g, k+1, k·c]`` and ``arrived`` ``[g, k+1]`` to predictions ``[g, k, c]``.

        Without the parity output, predictions that are late are NaN.
        """
        length = outputs.size(2) // self.k
        heads = outputs[:, self.k].reshape(outputs.size(0), self.k, length)
        heads = heads.masked_fill(~arrived[:, self.k :].unsqueeze(2), float("nan"))
        return torch.where(arrived[:, : self.k].unsqueeze(2), outputs[:, : self.k, :length], heads)


class Heads(BuiltOn):
    """A code with the encoder of another, and a parity model that predicts each of the k queries by itself.

    Its output holds k predictions, in the order of the queries. A lost one is read off: no other prediction is needed,
    so one parity output makes up for any number of the k that are late, and no error of one is another's. An encoder
    that keeps queries apart (``Concat``, ``Stack``) lets the heads know which query is whose; the sum does not.

    Args:
        code: The code whose encoder and parity architecture it has, with one parity query a group.

    Raises:
        UnsupportedError: If that code makes another number of parity queries.

    Example:
        >>> from parmtrain.codes import Concat
        >>> code = Heads(Concat(k=4))
        >>> code.name, code.encode(torch.rand(5, 4, 1, 28, 28)).shape, code.heads
        ('concat_heads', torch.Size([5, 1, 1, 28, 28]), 4)
    """

    suffix = "heads"
    why = "reads one parity output"

    def __init__(self, code: Code) -> None:
        super().__init__(code, HeadsDecoder(code.k), heads=code.k)

    def target(self, predictions: Tensor) -> Tensor:
        """Return the predictions behind one another: ``[g, k, c]`` to ``[g, 1, k·c]``."""
        return predictions.flatten(1).unsqueeze(1)

    @cached_property
    def erasures(self) -> Tensor:
        """The one case in which every prediction is read off the parity output."""
        return (torch.arange(self.n) >= self.k).unsqueeze(0)
