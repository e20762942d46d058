"""The architectures that tasks name for deployed and parity models.

Each takes the shape of a query and the number of outputs first, so that a configuration can fill both in.
"""

from parmtrain.models.convolutional import VGG11, ConvNet, LeNet, resnet18
from parmtrain.models.mlp import MLP

__all__ = ["MLP", "VGG11", "ConvNet", "LeNet", "resnet18"]
