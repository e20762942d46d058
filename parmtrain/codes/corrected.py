"""Codes with a small network in the decoder, which corrects what subtraction gives."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from parmtrain.codes.built_on import BuiltOn
from parmtrain.codes.linear import LinearCode
from parmtrain.deployed import DeployedModel


class CorrectingDecoder(nn.Module):
    """Add to what another decoder rebuilds a correction that a small network makes of all that arrived.

    The network reads the parity output, the sum of the predictions that arrived, and the difference of the two, each ÷
    the size of a prediction. Its last layer starts at zero: untrained, it corrects nothing.

    Args:
        decoder: Rebuilds one late prediction ``[g, k+1, c]`` of a group.
        k: Queries in a coding group.
        outputs: Length of one prediction.
        hidden: Width of the network.

    Example:
        >>> from parmtrain.codes import Sum
        >>> outputs = torch.tensor([[[torch.nan], [2.0], [7.0]]])
        >>> CorrectingDecoder(Sum(k=2).decoder, k=2, outputs=1)(outputs, torch.tensor([[False, True, True]]))
        tensor([[[5.],
                 [2.]]], grad_fn=<WhereBackward0>)
    """

    scale: Tensor

    def __init__(self, decoder: nn.Module, k: int, outputs: int, hidden: int = 64) -> None:
        super().__init__()
        self.decoder, self.k = decoder, k
        last = nn.Linear(hidden, outputs)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(nn.Linear(3 * outputs, hidden), nn.ReLU(), last)
        self.register_buffer("scale", torch.ones(()))

    def forward(self, outputs: Tensor, arrived: Tensor) -> Tensor:
        """Map worker outputs ``[g, k+1, c]`` and ``arrived`` ``[g, k+1]`` to predictions ``[g, k, c]``.

        What the other decoder cannot rebuild stays NaN.
        """
        rebuilt = self.decoder(outputs, arrived)
        late = ~arrived[:, : self.k].unsqueeze(2)
        known = outputs[:, : self.k].masked_fill(late, 0.0).sum(dim=1)
        parity = outputs[:, self.k].masked_fill(~arrived[:, self.k :], 0.0)
        correction = self.layers(torch.cat([parity, known, parity - known], dim=1) / self.scale) * self.scale
        return torch.where(late, rebuilt + correction.unsqueeze(1), rebuilt)


class Corrected(BuiltOn):
    """A linear code whose decoder is trained with its parity model.

    The network runs on a miss alone. It costs the service some thousand multiplications in the frontend.

    Args:
        code: The linear code, with one parity query a group.
        outputs: Length of one prediction.
        hidden: Width of the network in the decoder.

    Attributes:
        correction: The decoder, which has the arguments of ``CorrectingDecoder``.

    Raises:
        UnsupportedError: If that code makes another number of parity queries.

    Example:
        >>> from parmtrain.codes import Sum
        >>> Corrected(Sum(k=2), outputs=10).name
        'sum_corrected'
    """

    correction: ClassVar[type[nn.Module]] = CorrectingDecoder
    suffix = "corrected"
    why = "corrects what one parity output gives"

    def __init__(self, code: LinearCode, outputs: int, hidden: int = 64) -> None:
        super().__init__(code, self.correction(code.decoder, code.k, outputs, hidden))

    def target(self, predictions: Tensor) -> Tensor:
        """Return the linear code's target ``[g, 1, c]``, which says nothing of the correction."""
        return self.inner.target(predictions)

    def fit(self, deployed: DeployedModel, queries: Tensor, labels: Tensor) -> None:
        """Take the size of a prediction, their standard deviation on training queries."""
        scale: Tensor = self.decoder.scale  # type: ignore[assignment]
        scale.copy_(deployed(queries.flatten(0, 1)).std().clamp_min(torch.finfo(scale.dtype).eps))
