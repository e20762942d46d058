"""The stack code, which stacks queries along their channels."""

import torch
from torch import Tensor, nn

from parmtrain.codes.base import FreshModel, require_k, require_r
from parmtrain.codes.linear import LinearCode
from parmtrain.deployed import DeployedModel
from parmtrain.probes import probes
from parmtrain.widening import widen_inputs


class StackEncoder(nn.Module):
    """Stack the k queries of a group along their first axis, the channels of an image.

    Example:
        >>> StackEncoder()(torch.rand(5, 2, 3, 32, 32)).shape
        torch.Size([5, 1, 6, 32, 32])
    """

    def forward(self, queries: Tensor) -> Tensor:
        """Map queries ``[g, k, c, *rest]`` to one parity query per group ``[g, 1, k·c, *rest]``."""
        return queries.flatten(1, 2).unsqueeze(1)


class Stack(LinearCode):
    """The stack code: the parity query keeps all information, at k times the bytes of a query.

    The parity model's first layer is widened k times, with k copies of its weights. With the deployed model's weights,
    the parity model thus starts from the same function as that of the sum code.

    Args:
        k: Queries in a coding group, 2 or more. The first layer must read their first axis as channels, or read them
            flattened.
        r: Parity queries, 1.

    Example:
        >>> Stack(k=2).parity_shape((3, 32, 32))
        (6, 32, 32)
    """

    def __init__(self, k: int, r: int | None = None) -> None:
        require_k(k)
        require_r("stack", r, 1, "makes one parity query per group")
        super().__init__(k, torch.ones(1, k), StackEncoder())

    def parity_shape(self, query_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return ``query_shape`` with k times the channels."""
        return (self.k * query_shape[0], *query_shape[1:])

    def parity_models(
        self, query_shape: tuple[int, ...], deployed: DeployedModel, fresh: FreshModel
    ) -> list[nn.Module]:
        """Return one parity model with a widened first layer."""
        return [widen_inputs(fresh(query_shape), self.k, probes(query_shape))]
