"""Convolutional networks for images."""

from collections.abc import Sequence

import torchvision
from torch import Tensor, nn

SMALL_IMAGE = 64


class LeNet(nn.Module):
    """Two convolutions with pooling and two linear layers: the small network for images from 8 pixels up.

    Args:
        query_shape: ``[c, h, w]``.
        outputs: Length of one prediction.
        width: Channels of the first convolution; the second has twice as many.

    Source: LeCun et al., Gradient-based learning applied to document recognition (1998), with ReLU and padding.

    Example:
        >>> import torch
        >>> LeNet([1, 8, 8], 10)(torch.rand(5, 1, 8, 8)).shape
        torch.Size([5, 10])
    """

    def __init__(self, query_shape: Sequence[int], outputs: int, width: int = 32) -> None:
        super().__init__()
        channels, rows, columns = query_shape[0], query_shape[1] // 4, query_shape[2] // 4
        self.features = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(width, 2 * width, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.classifier = nn.Sequential(
            nn.Linear(2 * width * rows * columns, 4 * width), nn.ReLU(), nn.Linear(4 * width, outputs)
        )

    def forward(self, queries: Tensor) -> Tensor:
        """Map images ``[b, c, h, w]`` to predictions ``[b, outputs]``."""
        predictions: Tensor = self.classifier(self.features(queries).flatten(1))
        return predictions


def resnet18(query_shape: Sequence[int], outputs: int) -> nn.Module:
    """Build torchvision's ResNet-18 with random weights.

    Images under 64 pixels get the first layer that is usual for CIFAR: 3×3, stride 1, no pooling behind it.

    Args:
        query_shape: ``[c, h, w]``.
        outputs: Length of one prediction.

    Source: He et al., Deep Residual Learning (arXiv 1512.03385), sections 3.3 and 4.2.

    Example:
        >>> resnet18([1, 28, 28], 10).conv1
        Conv2d(1, 64, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), bias=False)
    """
    network: nn.Module = torchvision.models.resnet18(num_classes=outputs)
    if min(query_shape[1:]) < SMALL_IMAGE:
        network.conv1 = nn.Conv2d(query_shape[0], 64, 3, padding=1, bias=False)
        network.maxpool = nn.Identity()
    elif query_shape[0] != 3:
        network.conv1 = nn.Conv2d(query_shape[0], 64, 7, stride=2, padding=3, bias=False)
    return network
