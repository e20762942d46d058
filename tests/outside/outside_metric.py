"""A metric of embeddings."""

from torch import Tensor


def same_orthant(predictions: Tensor, labels: Tensor) -> Tensor:
    """Return 1 for each embedding ``[..., c]`` all of whose coordinates have the right sign, otherwise 0."""
    return (predictions.sign() == labels.sign()).all(dim=-1).float()
