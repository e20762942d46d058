"""Encode and decode the groups of a frontend."""

import torch
from torch import Tensor

from parmtrain.codes import Coder
from parmtrain.serving.events import Group


def coded_queries(coder: Coder, group: Group) -> Tensor:
    """Return the coded queries of a group, encoded once; zeros stand for queries that it does not have."""
    if group.coded_queries is None:
        given = [query.payload[0] for query in group.queries]
        blank = [torch.zeros_like(given[0])] * (coder.k - len(given))
        with torch.inference_mode():
            group.coded_queries = coder.encode(torch.stack([*given, *blank]).unsqueeze(0))[0]
    coded: Tensor = group.coded_queries
    return coded


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
