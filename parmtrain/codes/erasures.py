"""Arrival patterns of workers, and decoding under each of them."""

from collections.abc import Callable
from itertools import combinations
from math import comb

import torch
from torch import Tensor

MOST = 256


def arrivals(workers: int, late: int, most: int = MOST, seed: int = 0) -> Tensor:
    """Return all arrival patterns with a given number of late workers.

    Args:
        workers: Number of workers.
        late: Number of late workers.
        most: Largest number of patterns to return; if there are more, that many are drawn at random.
        seed: Seed of the draw.

    Returns:
        Distinct masks of the workers that arrived ``[p, workers]`` (bool).

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
    """Decode every group under each arrival pattern.

    Args:
        decode: Maps worker outputs ``[g, n, c]`` and the mask of those that arrived ``[g, n]`` to predictions
            ``[g, k, c]``. Missing outputs are NaN.
        outputs: All worker outputs ``[g, n, c]``.
        arrived: Arrival patterns ``[p, n]`` (bool).

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
