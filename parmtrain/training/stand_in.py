"""The parity model of a deployed model that gives no network to train: a student of as much arithmetic."""

from collections.abc import Sequence

from torch import nn

from parmtrain.deployed import DeployedModel
from parmtrain.flops import widest
from parmtrain.models import student
from parmtrain.programs import Network


def is_trainable(network: Network) -> bool:
    """Return whether a network has parameters; functions, ONNX models and frozen TorchScript have none.

    Example:
        >>> is_trainable(nn.Linear(4, 3)), is_trainable(abs)
        (True, False)
    """
    return isinstance(network, nn.Module) and any(one.is_floating_point() for one in network.parameters())


def stand_in(
    deployed: DeployedModel, deployed_shape: tuple[int, ...], *, query_shape: Sequence[int], outputs: int
) -> nn.Module:
    """Return a student for parity queries that takes at most the FLOPs of one run of the deployed model.

    Args:
        deployed: The deployed model.
        deployed_shape: Shape of its queries.
        query_shape: Shape of a parity query, after features.
        outputs: Length of one output.

    Returns:
        The student. Where the deployed model's FLOPs are neither known nor estimated, it has the library's own width.

    Raises:
        UnsupportedError: If the narrowest student takes more.

    Example:
        >>> import torch
        >>> from parmtrain.flops import flops
        >>> network = nn.Sequential(nn.Conv2d(1, 16, 3), nn.Flatten(), nn.Linear(576, 10))
        >>> built = stand_in(DeployedModel(network.forward), (1, 8, 8), query_shape=[1, 8, 8], outputs=20)
        >>> flops(built, torch.zeros(1, 1, 8, 8)) <= flops(network, torch.zeros(1, 1, 8, 8))
        True
    """
    most = deployed.flops(deployed_shape)
    if not most:
        return student(query_shape, outputs)
    name = "a parity model of the deployed model's FLOPs"
    return widest(lambda width: student(query_shape, outputs, width), tuple(query_shape), most, name)
