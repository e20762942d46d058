"""Queries of any shape: vectors, sequences, waveforms."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from parmtrain.bounds import Count, Finite, Positive
from parmtrain.errors import DataError
from parmtrain.tasks.base import TaskInput

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class NumbersInput(TaskInput):
    """Convert stored numbers of any shape to the deployed model's input: scale, mean and standard deviation.

    Args:
        query_shape: Shape of one query, stored and as the deployed model takes it.
        scale: Divisor of stored values.
        mean: Subtracted after scaling.
        std: Divisor after that.
        flatten: Whether the deployed model takes each query as a vector.

    Example:
        >>> NumbersInput([3], scale=2.0)(torch.tensor([[2, 4, 6]]))
        tensor([[1., 2., 3.]])
    """

    def __init__(
        self,
        query_shape: Sequence[Count],
        scale: Positive = 1.0,
        mean: Finite = 0.0,
        std: Positive = 1.0,
        flatten: bool = False,
    ) -> None:
        super().__init__()
        self.shape, self.scale, self.mean, self.std, self.flatten = tuple(query_shape), scale, mean, std, flatten

    @property
    def settings(self) -> dict[str, Any]:
        """Preprocessing of a query, as plain values for a server."""
        settings = {"scale": self.scale, "mean": self.mean, "std": self.std, "flatten": self.flatten}
        return {"shape": list(self.shape), **settings}

    def draw(self, axes: "Axes", query: Tensor) -> None:
        """Draw a vector as a line, and anything longer as a picture of its last two axes."""
        if query.dim() == 1 or query.numel() == query.size(-1):
            axes.plot(query.flatten(), "-", linewidth=0.8)
        else:
            axes.imshow(query.flatten(0, -2), aspect="auto", cmap="gray")
        axes.set(xticks=[], yticks=[])

    def forward(self, stored: Tensor) -> Tensor:
        """Map stored queries ``[b, *query]`` of any type to queries ``[b, *query]`` (float32)."""
        if stored.shape[1:] != self.shape:
            raise DataError(f"queries must have shape {list(self.shape)}, got {list(stored.shape[1:])}")
        return (stored.to(torch.float32) / self.scale - self.mean) / self.std
