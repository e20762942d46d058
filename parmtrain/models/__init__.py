"""The architectures that tasks name for deployed and parity models.

Each takes the shape of a query and the number of outputs first, so that a configuration can fill both in.
"""

from parmtrain.models.convolutional import ConvNet, LeNet, resnet18, vgg11
from parmtrain.models.mlp import MLP

__all__ = ["MLP", "ConvNet", "LeNet", "resnet18", "vgg11"]
