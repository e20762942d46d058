"""Students: cheap networks for queries of any shape, with one dial for their size."""

from collections.abc import Sequence

from torch import Tensor, nn

from parmtrain.bounds import Count, Positive
from parmtrain.models.mlp import MLP

CHANNELS = 16
HIDDEN = (128, 64)
LARGE = 48  # pixels; larger images are halved by the first convolution
GRID = 4


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
    """A convolution, then depthwise separable ones, each of which halves the image and doubles the channels.

    The last ones are pooled to a grid of 4×4 or fewer cells, which one linear layer reads.

    Args:
        query_shape: ``[c, h, w]``.
        outputs: Length of one prediction.
        width: Factor of all numbers of channels.

    Source: separable convolutions of Howard et al., MobileNets (arXiv 1704.04861), section 3.1.

    Example:
        >>> import torch
        >>> ConvStudent([1, 14, 14], 10)(torch.rand(5, 1, 14, 14)).shape
        torch.Size([5, 10])
    """

    def __init__(self, query_shape: Sequence[Count], outputs: Count, width: Positive = 1.0) -> None:
        super().__init__()
        before, *sides = query_shape
        after, stride = max(1, round(CHANNELS * width)), 2 if min(sides) >= LARGE else 1
        layers = [*_convolution(before, after, stride)]
        sides = [-(-side // stride) for side in sides]
        while max(sides) > GRID:
            before, after = after, max(1, 2 * after)
            layers += _separable(before, after, stride=2)
            sides = [-(-side // 2) for side in sides]
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(after * sides[0] * sides[1], outputs)

    def forward(self, queries: Tensor) -> Tensor:
        """Map images ``[b, c, h, w]`` to predictions ``[b, outputs]``."""
        predictions: Tensor = self.classifier(self.features(queries).flatten(1))
        return predictions


def _convolution(before: int, after: int, stride: int) -> list[nn.Module]:
    return [nn.Conv2d(before, after, 3, stride, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]


def _separable(before: int, after: int, stride: int) -> list[nn.Module]:
    depthwise = nn.Conv2d(before, before, 3, stride, padding=1, groups=before, bias=False)
    pointwise = nn.Conv2d(before, after, 1, bias=False)
    return [depthwise, pointwise, nn.BatchNorm2d(after), nn.ReLU()]
