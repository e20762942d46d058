"""Decoders with more side information than ``code=sum_corrected`` reads, tried beside it.

In a configuration: ``code._target_=experiments.accuracy.decoders.OneByOne`` with ``code=sum_corrected``.
"""

import torch
from torch import Tensor, nn

from parmtrain.codes import Code, Concat, Corrected, Heads
from parmtrain.codes.corrected import CorrectingDecoder


class OneByOneDecoder(CorrectingDecoder):
    """A correction made of the parity output, each prediction that arrived, and which of them did.

    Args:
        decoder: Rebuilds one late prediction ``[g, k+1, c]`` of a group.
        k: Queries in a coding group.
        outputs: Length of one prediction.
        heads: Predictions that the parity output holds.
        hidden: Width of the network.
    """

    def __init__(self, decoder: nn.Module, k: int, outputs: int, heads: int, hidden: int) -> None:
        super().__init__(decoder, k, outputs, hidden)
        self.outputs = outputs
        last = nn.Linear(hidden, k * outputs)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(nn.Linear((heads + k) * outputs + k, hidden), nn.ReLU(), last)

    def forward(self, outputs: Tensor, arrived: Tensor) -> Tensor:
        """Map worker outputs ``[g, k+1, heads·c]`` and ``arrived`` ``[g, k+1]`` to predictions ``[g, k, c]``."""
        rebuilt = self.decoder(outputs, arrived)
        late = ~arrived[:, : self.k].unsqueeze(2)
        known = outputs[:, : self.k, : self.outputs].masked_fill(late, 0.0)
        parity = outputs[:, self.k].masked_fill(~arrived[:, self.k :], 0.0)
        features = torch.cat(
            [parity / self.scale, known.flatten(1) / self.scale, late.squeeze(2).to(parity.dtype)], dim=1
        )
        correction = self.layers(features).unflatten(1, (self.k, self.outputs)) * self.scale
        return torch.where(late, rebuilt + correction, rebuilt)


class OneByOne(Corrected):
    """``sum_corrected`` or, with ``code=Heads``, a correction of the heads, by ``OneByOneDecoder``."""

    def __init__(self, code: Code, outputs: int, hidden: int = 64) -> None:
        super().__init__(code, outputs, hidden)  # type: ignore[arg-type]
        self.heads = code.heads
        self.decoder = OneByOneDecoder(code.decoder, code.k, outputs, code.heads, hidden)


def concat_heads(k: int, r: int | None = None) -> Heads:
    """Return ``code=concat_heads`` for such a correction."""
    return Heads(Concat(k, r))
