"""Codes with a small network in the decoder that corrects subtraction."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from parmtrain.bounds import Bounds, Count, require
from parmtrain.codes.derived import DerivedCode
from parmtrain.codes.linear import LinearCode
from parmtrain.deployed import DeployedModel
from parmtrain.errors import UnsupportedError
from parmtrain.metrics.measures import Measures


class CorrectingDecoder(nn.Module):
    """Correct another decoder's reconstruction with a small network.

    The network reads the parity output, the sum of the predictions that arrived, and the difference of those two, all
    scaled to unit size. Its last layer starts at zero: untrained, the decoder corrects nothing.

    Args:
        decoder: Decoder that reconstructs one missing prediction from worker outputs ``[g, k+1, c]``.
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

        Predictions that the other decoder cannot reconstruct stay NaN.
        """
        rebuilt = self.decoder(outputs, arrived)
        late = ~arrived[:, : self.k].unsqueeze(2)
        known = outputs[:, : self.k].masked_fill(late, 0.0).sum(dim=1)
        parity = outputs[:, self.k].masked_fill(~arrived[:, self.k :], 0.0)
        correction = self.layers(torch.cat([parity, known, parity - known], dim=1) / self.scale) * self.scale
        return torch.where(late, rebuilt + correction.unsqueeze(1), rebuilt)


class Corrected(DerivedCode):
    """A linear code whose decoder is trained with its parity model.

    The network runs only if a prediction is missing, and costs the frontend a few thousand multiplications.

    Args:
        code: The linear code, with one parity query per group.
        outputs: Length of one prediction.
        hidden: Width of the network in the decoder.

    Attributes:
        correction: Class of the decoder, with the arguments of ``CorrectingDecoder``.

    Raises:
        UnsupportedError: If that code does not make exactly one parity query per group, or ``hidden`` is below 1.

    Example:
        >>> from parmtrain.codes import Sum
        >>> Corrected(Sum(k=2), outputs=10).name
        'sum_corrected'
    """

    correction: ClassVar[type[nn.Module]] = CorrectingDecoder
    suffix = "corrected"
    reason = "corrects one parity output"

    def __init__(self, code: LinearCode, outputs: Count, hidden: Count = 64) -> None:
        require("code.hidden", hidden, Bounds(least=1), UnsupportedError)
        super().__init__(code, self.correction(code.decoder, code.k, outputs, hidden))

    def target(self, predictions: Tensor) -> Tensor:
        """Return the linear code's target ``[g, 1, c]``, which ignores the correction."""
        return self.inner.target(predictions)

    def fit(self, deployed: DeployedModel, queries: Tensor, labels: Tensor, measures: Measures) -> None:
        """Set the scale to the standard deviation of predictions on training queries."""
        scale: Tensor = self.decoder.scale  # type: ignore[assignment]
        scale.copy_(deployed(queries.flatten(0, 1)).std().clamp_min(torch.finfo(scale.dtype).eps))
