"""A code whose decoder corrects subtraction by attending to each prediction that arrived."""

import torch
from torch import Tensor, nn

from parmtrain.bounds import Count
from parmtrain.codes.corrected import Corrected
from parmtrain.codes.linear import LinearCode
from parmtrain.errors import UnsupportedError

ATTENTION_HEADS = 4


class AttentionDecoder(nn.Module):
    """Correct another decoder's reconstruction by attention from the parity output to the predictions that arrived.

    The predictions that arrived form a set, so the decoder's size does not depend on k. A small network reads the
    result of attention, the parity output, the sum of the predictions that arrived, and the difference of those two,
    all scaled to unit size. Its last layer starts at zero: untrained, the decoder corrects nothing.

    Args:
        decoder: Decoder that reconstructs one missing prediction from worker outputs ``[g, k+1, c]``.
        k: Queries in a coding group.
        outputs: Length of one prediction.
        hidden: Width of the attention and of the network, a multiple of 4.

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
        self.to_query, self.to_key_value = nn.Linear(outputs, hidden), nn.Linear(2 * outputs, hidden)
        self.attention = nn.MultiheadAttention(hidden, ATTENTION_HEADS, batch_first=True)
        last = nn.Linear(hidden, outputs)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(nn.Linear(3 * outputs + hidden, hidden), nn.ReLU(), last)
        self.register_buffer("scale", torch.ones(()))

    def forward(self, outputs: Tensor, arrived: Tensor) -> Tensor:
        """Map worker outputs ``[g, k+1, c]`` and ``arrived`` ``[g, k+1]`` to predictions ``[g, k, c]``.

        Predictions that the other decoder cannot reconstruct stay NaN.
        """
        rebuilt = self.decoder(outputs, arrived)
        late = ~arrived[:, : self.k].unsqueeze(2)
        predictions = outputs[:, : self.k].masked_fill(late, 0.0) / self.scale
        parity = outputs[:, self.k :].masked_fill(~arrived[:, self.k :].unsqueeze(2), 0.0) / self.scale
        known = predictions.sum(dim=1)
        key_value = self.to_key_value(torch.cat([predictions, parity.expand_as(predictions)], dim=2)).relu()
        key_value = key_value.masked_fill(late, 0.0)  # late predictions carry no information
        attended = self.attention(self.to_query(parity), key_value, key_value, need_weights=False)[0][:, 0]
        features = torch.cat([parity[:, 0], known, parity[:, 0] - known, attended], dim=1)
        return torch.where(late, rebuilt + (self.layers(features) * self.scale).unsqueeze(1), rebuilt)


class Attention(Corrected):
    """A linear code whose decoder, trained with its parity model, attends to each prediction that arrived.

    Like ``Corrected``, the decoder runs only if a prediction is missing. It is more accurate for large k, and slower.

    Args:
        code: The linear code, with one parity query per group.
        outputs: Length of one prediction.
        hidden: Width of the decoder.

    Raises:
        UnsupportedError: If that code does not make exactly one parity query per group, or ``hidden`` is not a
            multiple of 4.

    Example:
        >>> from parmtrain.codes import Sum
        >>> Attention(Sum(k=4), outputs=10).name
        'sum_attention'
    """

    correction = AttentionDecoder
    suffix = "attention"

    def __init__(self, code: LinearCode, outputs: Count, hidden: Count = 64) -> None:
        if hidden % ATTENTION_HEADS:
            raise UnsupportedError(f"code.hidden must be a multiple of {ATTENTION_HEADS}, got {hidden}")
        super().__init__(code, outputs, hidden)
