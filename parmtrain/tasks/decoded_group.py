"""One coding group and its reconstructed predictions, for tasks to draw."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class DecodedGroup:
    """One coding group and its reconstructed predictions.

    Args:
        queries: ``[k, *query]``.
        coded_queries: ``[coded, *parity]``.
        labels: True labels ``[k]`` or ``[k, l]``.
        predictions: The deployed model's own predictions ``[k, c]``.
        reconstructed: Predictions ``[k, c]``; entry i is decoded without the output of worker i.
    """

    queries: Tensor
    coded_queries: Tensor
    labels: Tensor
    predictions: Tensor
    reconstructed: Tensor
