"""The type of number in which a deployed model takes its queries."""

from enum import Enum

import torch
from torch import Tensor, nn


class QueryType(Enum):
    """Types of the numbers of a query, by the names of PyTorch."""

    float32 = "single precision, as encoders and parity models take them"
    float16 = "half precision"
    bfloat16 = "half precision with the range of float32"
    float64 = "double precision"
    uint8 = "bytes: pixels as they are stored, for models that scale them"


class AsType(nn.Module):
    """Convert queries to the type that a deployed model takes.

    Args:
        type: The type.
        scale: What bytes were divided by to become queries; they are rounded, and limited to 0 to 255.

    Example:
        >>> AsType(QueryType.uint8, scale=255.0)(torch.tensor([[0.0, 0.5, 1.2]]))
        tensor([[  0, 128, 255]], dtype=torch.uint8)
        >>> AsType(QueryType.float16)(torch.ones(1, 2))
        tensor([[1., 1.]], dtype=torch.float16)
    """

    def __init__(self, type: QueryType, scale: float = 1.0) -> None:
        super().__init__()
        self.scale, self.bytes = scale, type is QueryType.uint8
        self.dtype: torch.dtype = getattr(torch, type.name)

    def extra_repr(self) -> str:
        """Return the type and the scale."""
        return f"{self.dtype}, scale={self.scale}"

    def forward(self, queries: Tensor) -> Tensor:
        """Convert queries ``[b, *query]`` (float32)."""
        if self.bytes:
            queries = (queries * self.scale).round().clamp(0, 255)
        return queries.to(self.dtype)


def as_type(type: QueryType, scale: float) -> nn.Module:
    """Return what converts queries to a type; what changes nothing for float32."""
    return nn.Identity() if type is QueryType.float32 else AsType(type, scale)
