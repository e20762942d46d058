"""A code whose decoder corrects subtraction by attention to each prediction that arrived."""

import torch
from torch import Tensor, nn

from parmtrain.codes.corrected import Corrected

ATTENTION_HEADS = 4


class AttentionDecoder(nn.Module):
    """Add to what another decoder rebuilds a correction by attention: the parity output asks, the predictions answer.

    The predictions that arrived are a set, so the decoder is of one size for any k. A small network reads what the
    attention gives beside the parity output, the sum of the predictions, and their difference, each ÷ the size of a
    prediction. Its last layer starts at zero: untrained, it corrects nothing.

    Args:
        decoder: Rebuilds one late prediction ``[g, k+1, c]`` of a group.
        k: Queries in a coding group.
        outputs: Length of one prediction.
        hidden: Width of the attention and of the network, a multiple of four.

    Example:
        >>> from parmtrain.codes import Sum
        >>> outputs = torch.tensor([[[torch.nan], [2.0], [7.0]]])
        >>> AttentionDecoder(Sum(k=2).decoder, k=2, outputs=1)(outputs, torch.tensor([[False, True, True]]))
        tensor([[[5.],
                 [2.]]], grad_fn=<WhereBackward0>)
    """

    scale: Tensor

    def __init__(self, decoder: nn.Module, k: int, outputs: int, hidden: int = 64) -> None:
        super().__init__()
        self.decoder, self.k = decoder, k
        self.asks, self.answers = nn.Linear(outputs, hidden), nn.Linear(2 * outputs, hidden)
        self.attention = nn.MultiheadAttention(hidden, ATTENTION_HEADS, batch_first=True)
        last = nn.Linear(hidden, outputs)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(nn.Linear(3 * outputs + hidden, hidden), nn.ReLU(), last)
        self.register_buffer("scale", torch.ones(()))

    def forward(self, outputs: Tensor, arrived: Tensor) -> Tensor:
        """Map worker outputs ``[g, k+1, c]`` and ``arrived`` ``[g, k+1]`` to predictions ``[g, k, c]``.

        What the other decoder cannot rebuild stays NaN.
        """
        rebuilt = self.decoder(outputs, arrived)
        late = ~arrived[:, : self.k].unsqueeze(2)
        predictions = outputs[:, : self.k].masked_fill(late, 0.0) / self.scale
        parity = outputs[:, self.k :].masked_fill(~arrived[:, self.k :].unsqueeze(2), 0.0) / self.scale
        known = predictions.sum(dim=1)
        answers = self.answers(torch.cat([predictions, parity.expand_as(predictions)], dim=2)).relu()
        answers = answers.masked_fill(late, 0.0)  # a late one answers nothing
        heard = self.attention(self.asks(parity), answers, answers, need_weights=False)[0][:, 0]
        told = torch.cat([parity[:, 0], known, parity[:, 0] - known, heard], dim=1)
        return torch.where(late, rebuilt + (self.layers(told) * self.scale).unsqueeze(1), rebuilt)


class Attention(Corrected):
    """A linear code whose decoder, trained with its parity model, attends to each prediction that arrived.

    As ``Corrected`` it runs on a miss alone; it rebuilds more where k is large, and takes longer.

    Args:
        code: The linear code, with one parity query a group.
        outputs: Length of one prediction.
        hidden: Width of the decoder.

    Raises:
        UnsupportedError: If that code makes another number of parity queries.

    Example:
        >>> from parmtrain.codes import Sum
        >>> Attention(Sum(k=4), outputs=10).name
        'sum_attention'
    """

    correction = AttentionDecoder
    suffix = "attention"
