"""Codes whose parity model has one head per position and predicts each query instead of a sum of predictions."""

from functools import cached_property

import torch
from torch import Tensor, nn

from parmtrain.codes.base import Code
from parmtrain.codes.derived import DerivedCode


class HeadsDecoder(nn.Module):
    """Return each prediction or, if it is late, the parity output's own prediction for its position.

    Each of the r parity outputs holds k ÷ r predictions, in the order of the queries.

    Args:
        k: Queries in a coding group.
        r: Parity outputs per group.

    Example:
        >>> outputs = torch.tensor([[[torch.nan, 0.0], [2.0, 0.0], [1.0, 3.0]]])  # F(X_1) is late, F(X_2) = 2
        >>> HeadsDecoder(k=2)(outputs, torch.tensor([[False, True, True]]))
        tensor([[[1.],
                 [2.]]])
    """

    def __init__(self, k: int, r: int = 1) -> None:
        super().__init__()
        self.k, self.r = k, r

    def forward(self, outputs: Tensor, arrived: Tensor) -> Tensor:
        """Map worker outputs ``[g, k+r, k/r·c]`` and ``arrived`` ``[g, k+r]`` to predictions ``[g, k, c]``.

        Late predictions whose parity output is missing too are NaN.
        """
        share = self.k // self.r
        length = outputs.size(2) // share
        parity = outputs[:, self.k :].masked_fill(~arrived[:, self.k :].unsqueeze(2), float("nan"))
        heads = parity.reshape(outputs.size(0), self.k, length)
        return torch.where(arrived[:, : self.k].unsqueeze(2), outputs[:, : self.k, :length], heads)


class SeparatePredictions(Code):
    """Base class of codes whose r parity outputs predict k ÷ r queries each, in the order of the queries."""

    def target(self, predictions: Tensor) -> Tensor:
        """Return the predictions of each output's queries, one after the other: ``[g, k, c]`` to ``[g, r, k/r·c]``."""
        return predictions.reshape(len(predictions), self.r, -1)

    @cached_property
    def erasures(self) -> Tensor:
        """The one arrival pattern in which every prediction comes from a parity output."""
        return (torch.arange(self.n) >= self.k).unsqueeze(0)


class Heads(SeparatePredictions, DerivedCode):
    """A code with the encoder of another code, and a parity model that predicts each of the k queries separately.

    The parity output holds k predictions, in the order of the queries. A missing prediction is read from it without the
    other predictions, so one parity output replaces any number of them, and their errors do not add up. An encoder that
    keeps queries apart (``Concat``, ``Stack``) lets each head identify its query; the sum does not.

    Args:
        code: The code that provides the encoder and the parity architecture, with one parity query per group.

    Raises:
        UnsupportedError: If that code does not make exactly one parity query per group.

    Source: heads are data multiplexing, as in Murahari et al., DataMUX (arXiv 2202.09318), Han et al., ConcatPlexer
    (arXiv 2308.11199), and Havasi et al., MIMO (arXiv 2010.06610).

    Example:
        >>> from parmtrain.codes import Concat
        >>> code = Heads(Concat(k=4))
        >>> code.name, code.encode(torch.rand(5, 4, 1, 28, 28)).shape, code.heads
        ('concat_heads', torch.Size([5, 1, 1, 28, 28]), 4)
    """

    suffix = "heads"
    reason = "reads one parity output"

    def __init__(self, code: Code) -> None:
        super().__init__(code, HeadsDecoder(code.k), heads=code.k)
