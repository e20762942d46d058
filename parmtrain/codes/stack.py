"""The stack code, which stacks queries along their channels."""

import copy

import torch
from torch import Tensor, nn

from parmtrain.codes.base import FreshModel, require_k, require_r
from parmtrain.codes.linear import LinearCode
from parmtrain.deployed import DeployedModel
from parmtrain.errors import UnsupportedError

WIDENED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


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
        return [widened(fresh(query_shape), self.k)]


def widened(model: nn.Module, k: int) -> nn.Module:
    """Return a copy of a model whose first layer reads k times the channels, with k copies of its weights.

    Args:
        model: A model whose first layer with weights is linear or a convolution without channel groups.
        k: Factor to widen the layer by.

    Raises:
        UnsupportedError: If the first layer with weights is of another type.

    Example:
        >>> widened(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()), k=2)[0]
        Conv2d(6, 8, kernel_size=(3, 3), stride=(1, 1))
    """
    model = copy.deepcopy(model)
    layers = (layer for layer in model.modules() if next(layer.parameters(recurse=False), None) is not None)
    layer = next(layers, model)
    if not isinstance(layer, WIDENED) or getattr(layer, "groups", 1) != 1:
        raise UnsupportedError(
            f"code=stack needs a first layer that is linear or a convolution without channel groups, got "
            f"{type(layer).__name__} in {type(model).__name__}; code=sum takes any model"
        )
    layer.weight = nn.Parameter(torch.cat([layer.weight.detach()] * k, dim=1))
    if isinstance(layer, nn.Linear):
        layer.in_features *= k
    else:
        layer.in_channels *= k
    return model
