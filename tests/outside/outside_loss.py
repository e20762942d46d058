"""A loss for embeddings."""

from torch import Tensor
from torch.nn.functional import cosine_similarity

from parmtrain.training.coded_groups import CodedGroups


def angle(groups: CodedGroups) -> Tensor:
    """Return 1 − the cosine of reconstructed embeddings and the deployed model's own."""
    groups.require_kind("angle", "embeddings", "loss=kl for class scores")
    return 1 - cosine_similarity(groups.reconstructed, groups.own, dim=-1).mean()
