"""Students: cheap networks for queries of any shape, with one dial for their size."""

from collections.abc import Sequence
from itertools import count

from torch import Tensor, nn

from parmtrain.bounds import Count, Positive
from parmtrain.models.mlp import MLP

CHANNELS = 16
HIDDEN = (128, 64)
LARGE = 48  # pixels; larger images are halved by the first convolution
GRID = 5


def student(query_shape: Sequence[Count], outputs: Count, width: Positive = 1.0) -> nn.Module:
    """Build a student with random weights: convolutions for ``[c, h, w]``, a perceptron for any other shape.

    Args:
        query_shape: Shape of one query.
        outputs: Length of one prediction.
        width: Factor of all widths.

    Example:
        >>> type(student([3, 32, 32], 10)).__name__, type(student([256], 10, width=0.5)).__name__
        ('ConvStudent', 'MLP')
    """
    make = ConvStudent if len(query_shape) == 3 else perceptron_student
    return make(query_shape, outputs, width)


def perceptron_student(query_shape: Sequence[Count], outputs: Count, width: Positive = 1.0) -> nn.Module:
    """Build a perceptron with two hidden layers and random weights, for queries of any shape.

    Args:
        query_shape: Shape of one query.
        outputs: Length of one prediction.
        width: Factor of all widths.

    Example:
        >>> perceptron_student([1, 14, 14], 10, width=0.5).nn[0]
        Linear(in_features=196, out_features=64, bias=True)
    """
    return MLP(query_shape, outputs, [max(1, round(width * hidden)) for hidden in HIDDEN])


class ConvStudent(nn.Module):
    """Convolutions with batch normalisation, each with twice the channels, and pooling that halves larger images.

    There are two or more, until the image is no larger than 5×5; one linear layer reads the last one. The first one
    halves large images, too.

    Args:
        query_shape: ``[c, h, w]``.
        outputs: Length of one prediction.
        width: Factor of all numbers of channels.

    Example:
        >>> import torch
        >>> ConvStudent([1, 14, 14], 10)(torch.rand(5, 1, 14, 14)).shape
        torch.Size([5, 10])
    """

    def __init__(self, query_shape: Sequence[Count], outputs: Count, width: Positive = 1.0) -> None:
        super().__init__()
        before, *sides = query_shape
        stride, layers = 2 if min(sides) >= LARGE else 1, list[nn.Module]()
        for depth in count():
            after = max(1, round(2**depth * CHANNELS * width))
            layers += [nn.Conv2d(before, after, 3, stride, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
            sides, before, stride = [-(-side // stride) for side in sides], after, 1
            if max(sides) > GRID:
                layers.append(nn.MaxPool2d(2, ceil_mode=True))
                sides = [-(-side // 2) for side in sides]
            if depth and max(sides) <= GRID:
                break
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(before * sides[0] * sides[1], outputs)

    def forward(self, queries: Tensor) -> Tensor:
        """Map images ``[b, c, h, w]`` to predictions ``[b, outputs]``."""
        predictions: Tensor = self.classifier(self.features(queries).flatten(1))
        return predictions
