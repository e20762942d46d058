"""What a task draws: one coding group, and what was rebuilt of it."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class DecodedGroup:
    """One coding group, and what is rebuilt of it.

    Args:
        queries: ``[k, *query]``.
        coded_queries: ``[coded, *parity]``.
        labels: True labels ``[k]`` or ``[k, l]``.
        predictions: The deployed model's own ``[k, c]``.
        reconstructed: Entry i decoded without what worker i returns ``[k, c]``.
    """

    queries: Tensor
    coded_queries: Tensor
    labels: Tensor
    predictions: Tensor
    reconstructed: Tensor
