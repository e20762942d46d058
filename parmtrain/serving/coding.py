"""Encode and decode the groups of a frontend, and check what is decoded."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from parmtrain.codes import Coder
from parmtrain.serving.events import Group


def coded_queries(coder: Coder, group: Group) -> Tensor:
    """Return the coded queries of a group ``[r, *query]``; zeros stand for queries that it does not have."""
    given = [query.payload[0] for query in group.queries]
    blank = [torch.zeros_like(given[0])] * (coder.k - len(given))
    with torch.inference_mode():
        return coder.encode(torch.stack([*given, *blank]).unsqueeze(0))[0]


def decoded(coder: Coder, outputs: tuple[Tensor | None, ...], width: int) -> Tensor:
    """Decode a group: worker outputs of at most ``width`` numbers, None where missing, to predictions ``[k, c]``."""
    together = torch.zeros(1, len(outputs), width)
    arrived = torch.zeros(1, len(outputs), dtype=torch.bool)
    for worker, output in enumerate(outputs):
        if output is not None:
            together[0, worker, : len(output)] = output
            arrived[0, worker] = True
    with torch.inference_mode():
        return coder.decode(together, arrived)[0]


def well_formed(output: Any, count: int, length: int) -> list[Tensor | None]:
    """Return the rows of an output ``[count, length]``, None for those that are not finite numbers.

    Args:
        output: What an instance returned; all rows are None if it is no such tensor.
        count: Number of rows.
        length: Length of a row.

    Example:
        >>> import torch
        >>> well_formed(torch.tensor([[0.0, 1.0], [torch.nan, 0.0]]), 2, 2), well_formed("?", 1, 2)
        ([tensor([0., 1.]), None], [None])
    """
    if not (isinstance(output, Tensor) and output.shape == (count, length) and output.is_floating_point()):
        return [None] * count
    finite = np.isfinite(output.numpy()).all(axis=1)  # quicker than PyTorch for so few numbers
    return [row if fine else None for row, fine in zip(output, finite, strict=True)]
