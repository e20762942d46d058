"""The outputs of the workers of a group."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad


def worker_outputs(predictions: Tensor, coded_outputs: Tensor, systematic: bool) -> Tensor:
    """Combine predictions ``[g, k, c]`` and coded outputs ``[g, coded, w]`` into worker outputs ``[g, n, w]``.

    If coded outputs are longer than predictions, predictions are padded with zeros.

    Example:
        >>> worker_outputs(torch.ones(1, 2, 1), torch.ones(1, 1, 2), systematic=True)
        tensor([[[1., 0.],
                 [1., 0.],
                 [1., 1.]]])
    """
    if not systematic:
        return coded_outputs
    if not coded_outputs.size(1):
        return predictions
    longer = coded_outputs.size(2) - predictions.size(2)
    return torch.cat([pad(predictions, (0, longer)) if longer else predictions, coded_outputs], dim=1)


def run_coded(models: Sequence[Callable[[Tensor], Tensor]], coded_queries: Tensor) -> Tensor:
    """Run coded queries ``[g, coded, *parity]`` through their models to outputs ``[g, coded, c]``.

    Args:
        models: One model per coded query, or one for all of them; each maps ``[b, *parity]`` to ``[b, c]``.
        coded_queries: Coded queries in the order of the models.

    Example:
        >>> run_coded([torch.nn.Linear(4, 3)], torch.rand(5, 2, 4)).shape
        torch.Size([5, 2, 3])
    """
    groups, coded = coded_queries.shape[:2]
    if coded == 0:
        return coded_queries.new_empty(groups, 0, 0)
    if len(models) == 1:
        outputs: Tensor = models[0](coded_queries.flatten(0, 1)).unflatten(0, (groups, coded))
        return outputs
    return torch.stack([model(coded_queries[:, j]) for j, model in enumerate(models)], dim=1)
