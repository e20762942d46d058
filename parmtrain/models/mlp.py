"""The multi-layer perceptron."""

from collections.abc import Sequence
from itertools import pairwise
from math import prod

from torch import Tensor, nn

from parmtrain.bounds import Count


class MLP(nn.Module):
    """Linear layers with ReLU between them, applied to flattened queries.

    With the default widths, this is the perceptron of Kosaian et al., ParM (SOSP'19), section 4.1, and it loads the
    state dicts of that paper's published models.

    Args:
        query_shape: Shape of one query.
        outputs: Length of one prediction.
        hidden: Widths of the hidden layers.

    Example:
        >>> import torch
        >>> MLP([1, 28, 28], 10)(torch.rand(5, 1, 28, 28)).shape
        torch.Size([5, 10])
    """

    def __init__(self, query_shape: Sequence[Count], outputs: Count, hidden: Sequence[Count] = (200, 100)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in pairwise((prod(query_shape), *hidden, outputs)):
            layers += [nn.Linear(before, after), nn.ReLU()]
        self.nn = nn.Sequential(*layers[:-1])

    def forward(self, queries: Tensor) -> Tensor:
        """Map queries ``[b, *query]`` to predictions ``[b, outputs]``."""
        predictions: Tensor = self.nn(queries.flatten(1))
        return predictions
