"""Measures of embeddings: the cosine with the deployed model's own, and whether they find the same neighbour."""

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from parmtrain.metrics.measures import Measure, Measures

EMBEDDINGS = "embeddings"
AT_ONCE = 4096  # embeddings to search in
TIE = 1e-6


def cosine(embeddings: Tensor, others: Tensor) -> Tensor:
    """Return the cosine of pairs of embeddings ``[..., c]``; 0 where it is negative, or one is NaN.

    Example:
        >>> cosine(torch.tensor([[1.0, 1.0], [-1.0, 0.0]]), torch.tensor([[1.0, 0.0], [1.0, 0.0]]))
        tensor([0.7071, 0.0000])
    """
    return cosine_similarity(embeddings, others, dim=-1).nan_to_num(0.0, 0.0, 0.0).clamp(0, 1)


def finds(embeddings: Tensor, own: Tensor, gallery: Tensor) -> Tensor:
    """Return 1 where the nearest embedding of a gallery is the query's own one, by cosine; 0 elsewhere.

    Args:
        embeddings: Reconstructed embeddings ``[..., c]``.
        own: The deployed model's embeddings of the same queries ``[..., c]``, which are in the gallery.
        gallery: Its embeddings of many queries ``[n, c]``.

    Example:
        >>> gallery = torch.eye(3)
        >>> finds(torch.tensor([[0.9, 0.2, 0.0], [0.9, 0.2, 0.0]]), gallery[:2], gallery)
        tensor([1., 0.])
    """
    given, wanted = normalize(embeddings, dim=-1), normalize(own, dim=-1)
    right, nearest = (given * wanted).sum(dim=-1), torch.full(given.shape[:-1], -1.0, device=given.device)
    for some in gallery.to(given.device).split(AT_ONCE):
        nearest = torch.maximum(nearest, (given @ normalize(some, dim=-1).T).nan_to_num(-1.0).amax(dim=-1))
    known = given.isfinite().all(dim=-1) & (embeddings.norm(dim=-1) > 0)
    found: Tensor = (right >= nearest - TIE) & known
    return found.to(embeddings.dtype)


def _of_gallery(predictions: Tensor) -> Mapping[str, Measure]:
    return {"recall": partial(finds, gallery=predictions)}


MEASURES = Measures(EMBEDDINGS, "cosine", cosine, cosine, partial(torch.mean, dim=0), of_gallery=_of_gallery)
"""The cosine, and ``recall``: how often the nearest of all embeddings of a split is the query's own."""
