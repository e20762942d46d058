"""The squared error of ParM between scores less their mean, which no arg-max and no softmax depends on.

In a configuration: ``loss=mse loss._target_=experiments.accuracy.centred.centred_mse``.
"""

from torch import Tensor
from torch.nn.functional import mse_loss

from parmtrain.training.coded_groups import CodedGroups


def centred_mse(groups: CodedGroups) -> Tensor:
    """Return the mean squared error between reconstructed and own predictions, both less their mean over classes."""
    ours, theirs = groups.reconstructed, groups.own
    return mse_loss(ours - ours.mean(dim=-1, keepdim=True), theirs - theirs.mean(dim=-1, keepdim=True))
