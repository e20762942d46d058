"""Architectures of deployed models and parity models.

Each takes the query shape and the number of outputs first, so a configuration can fill in both.
"""

from parmtrain.models.convolutional import VGG11, ConvNet, LeNet, resnet18
from parmtrain.models.mlp import MLP
from parmtrain.models.students import ConvStudent, perceptron_student, student

__all__ = ["MLP", "VGG11", "ConvNet", "ConvStudent", "LeNet", "perceptron_student", "resnet18", "student"]
