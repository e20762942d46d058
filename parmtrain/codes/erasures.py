"""Who arrives and who does not, and decoding under every case of it."""

from collections.abc import Callable
from itertools import combinations
from math import comb

import torch
from torch import Tensor

MOST = 256


def arrivals(workers: int, late: int, most: int = MOST, seed: int = 0) -> Tensor:
    """Return every way in which ``late`` of some workers are late.

    Args:
        workers: How many there are.
        late: How many of them are late.
        most: How many ways to return at most; where there are more, that many are drawn at random.
        seed: Seed of that draw.

    Returns:
        Masks of those that arrived ``[p, workers]`` (bool), each another.

    Example:
        >>> arrivals(workers=3, late=1).int()
        tensor([[0, 1, 1],
                [1, 0, 1],
                [1, 1, 0]], dtype=torch.int32)
        >>> arrivals(workers=40, late=4).shape
        torch.Size([256, 40])
    """
    if comb(workers, late) <= most:
        chosen = list(combinations(range(workers), late))
    else:
        generator = torch.Generator().manual_seed(seed)
        drawn: dict[tuple[int, ...], None] = {}
        while len(drawn) < most:
            drawn[tuple(sorted(torch.randperm(workers, generator=generator)[:late].tolist()))] = None
        chosen = list(drawn)
    arrived = torch.ones(len(chosen), workers, dtype=torch.bool)
    for row, missing in zip(arrived, chosen, strict=True):
        row[list(missing)] = False
    return arrived


def decode_each(decode: Callable[[Tensor, Tensor], Tensor], outputs: Tensor, arrived: Tensor) -> Tensor:
    """Decode every group once for each case of who arrived.

    Args:
        decode: Maps worker outputs ``[g, n, c]`` and who arrived ``[g, n]`` to predictions ``[g, k, c]``. It is given
            NaN in the place of the outputs that are missing.
        outputs: Worker outputs ``[g, n, c]``, all of them.
        arrived: Cases ``[p, n]`` (bool).

    Returns:
        Predictions ``[g, p, k, c]``.

    Example:
        >>> from parmtrain.codes import Sum
        >>> a, b = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 2.0])
        >>> decode_each(Sum(k=2).decode, torch.stack([a, b, a + b])[None], arrivals(workers=3, late=1))[0, 0]
        tensor([[1., 0.],
                [0., 2.]])
    """
    groups, cases = len(outputs), len(arrived)
    arrived = arrived.to(outputs.device)
    erased = outputs.unsqueeze(1).masked_fill(~arrived[None, :, :, None], torch.nan)
    decoded = decode(erased.flatten(0, 1), arrived.repeat(groups, 1))
    return decoded.view(groups, cases, *decoded.shape[1:])
