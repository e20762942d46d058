"""Convolutional networks for images."""

from collections.abc import Sequence
from itertools import pairwise
from math import prod

from torch import Tensor, nn

from parmtrain.bounds import Count

SMALL_IMAGE = 64
VGG11_LAYERS = (
    (64, True),
    (128, True),
    (256, False),
    (256, True),
    (512, False),
    (512, True),
    (512, False),
    (512, True),
)


class LeNet(nn.Module):
    """Two convolutions with pooling and two linear layers: a small network for images of 8×8 pixels or more.

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

    def __init__(self, query_shape: Sequence[Count], outputs: Count, width: Count = 32) -> None:
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


class ConvNet(nn.Module):
    """Convolutions with batch normalisation, each halving the image, then pooling to a small grid and a linear layer.

    Args:
        query_shape: ``[c, h, w]``.
        outputs: Length of one prediction.
        widths: Channels of the convolutions.
        grid: Rows and columns of the grid that the last convolution is pooled to.

    Example:
        >>> import torch
        >>> ConvNet([1, 40, 101], 10)(torch.rand(5, 1, 40, 101)).shape
        torch.Size([5, 10])
    """

    def __init__(
        self, query_shape: Sequence[Count], outputs: Count, widths: Sequence[Count] = (16, 32, 64), grid: Count = 4
    ) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        for before, after in pairwise((query_shape[0], *widths)):
            convolution = nn.Conv2d(before, after, 3, padding=1, bias=False)
            blocks += [convolution, nn.BatchNorm2d(after), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True)]
        self.features = nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(grid))
        self.classifier = nn.Linear(widths[-1] * grid * grid, outputs)

    def forward(self, queries: Tensor) -> Tensor:
        """Map images ``[b, c, h, w]`` to predictions ``[b, outputs]``."""
        predictions: Tensor = self.classifier(self.features(queries).flatten(1))
        return predictions


def resnet18(query_shape: Sequence[Count], outputs: Count, grid: Count = 1) -> nn.Module:
    """Build torchvision's ResNet-18 with random weights.

    Images smaller than 64 pixels get the first layer common for CIFAR: 3×3, stride 1, no pooling after it.

    Args:
        query_shape: ``[c, h, w]``.
        outputs: Length of one prediction.
        grid: Rows and columns of the grid that the last layer is pooled to. A parity model with one head per image cell
            needs 2 or more, or it cannot tell where in the image something is.

    Source: He et al., Deep Residual Learning (arXiv 1512.03385), sections 3.3 and 4.2.

    Example:
        >>> resnet18([1, 28, 28], 10).conv1
        Conv2d(1, 64, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), bias=False)
    """
    from torchvision.models import resnet18 as plain  # slow to import

    network: nn.Module = plain(num_classes=outputs)
    if grid > 1:
        network.avgpool = nn.AdaptiveAvgPool2d(grid)
        network.fc = nn.Linear(512 * grid * grid, outputs)
    if min(query_shape[1:]) < SMALL_IMAGE:
        network.conv1 = nn.Conv2d(query_shape[0], 64, 3, padding=1, bias=False)
        network.maxpool = nn.Identity()
    elif query_shape[0] != 3:
        network.conv1 = nn.Conv2d(query_shape[0], 64, 7, stride=2, padding=3, bias=False)
    return network


class VGG11(nn.Module):
    """VGG-11 with batch normalisation and a small head, as ParM uses it for speech.

    The image is halved after layers 1, 2, 4, 6 and 8 while both its sides are 2 or more.

    Args:
        query_shape: ``[c, h, w]``.
        outputs: Length of one prediction.

    Source: Simonyan and Zisserman (arXiv 1409.1556), configuration A; Kosaian et al., ParM (SOSP'19), section 4.1.

    Example:
        >>> VGG11([1, 161, 101], 30).classifier[0]
        Linear(in_features=7680, out_features=512, bias=True)
    """

    def __init__(self, query_shape: Sequence[Count], outputs: Count) -> None:
        super().__init__()
        before, *sides = query_shape
        layers: list[nn.Module] = []
        for after, halves in VGG11_LAYERS:
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
            if halves and min(sides) > 1:
                layers.append(nn.MaxPool2d(2))
                sides = [side // 2 for side in sides]
            before = after
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Linear(before * prod(sides), 512), nn.ReLU(), nn.Linear(512, outputs))

    def forward(self, queries: Tensor) -> Tensor:
        """Map images ``[b, c, h, w]`` to predictions ``[b, outputs]``."""
        predictions: Tensor = self.classifier(self.features(queries).flatten(1))
        return predictions
