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
MOST_CHANNELS = 8  # of a waveform
FEWEST_SAMPLES = 256
FIRST = (80, 16)  # samples that the first convolution of a waveform spans and steps


def student(query_shape: Sequence[Count], outputs: Count, width: Positive = 1.0) -> nn.Module:
    """Build a student with random weights.

    Pictures ``[c, h, w]`` and spectrograms, with or without a channel, get convolutions in two dimensions; waveforms
    ``[c, n]``, of few channels and many samples, convolutions in one; queries of other shapes a perceptron.

    Args:
        query_shape: Shape of one query.
        outputs: Length of one prediction.
        width: Factor of all widths.

    Example:
        >>> type(student([3, 32, 32], 10)).__name__, type(student([256], 10, width=0.5)).__name__
        ('ConvStudent', 'MLP')
        >>> type(student([1, 8000], 10)).__name__, student([100, 40], 10)[0]
        ('WaveStudent', Unflatten(dim=1, unflattened_size=(1, 100)))
    """
    if len(query_shape) == 3:
        return ConvStudent(query_shape, outputs, width)
    if len(query_shape) == 2 and query_shape[0] <= MOST_CHANNELS and query_shape[1] >= FEWEST_SAMPLES:
        return WaveStudent(query_shape, outputs, width)
    if len(query_shape) == 2 and min(query_shape) > MOST_CHANNELS:
        one_channel = nn.Unflatten(1, (1, query_shape[0]))
        return nn.Sequential(one_channel, ConvStudent([1, *query_shape], outputs, width))
    return perceptron_student(query_shape, outputs, width)


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


class WaveStudent(nn.Module):
    """Convolutions along time with batch normalisation, the first over 80 samples, each followed by pooling by four.

    Each has twice the channels of the one before; one linear layer reads the last one.

    Args:
        query_shape: ``[c, n]``, a waveform of n samples.
        outputs: Length of one prediction.
        width: Factor of all numbers of channels.

    Source: Dai et al., Very Deep Convolutional Neural Networks for Raw Waveforms (ICASSP 2017), table 1, M5.

    Example:
        >>> import torch
        >>> WaveStudent([1, 8000], 10)(torch.rand(5, 1, 8000)).shape
        torch.Size([5, 10])
    """

    def __init__(self, query_shape: Sequence[Count], outputs: Count, width: Positive = 1.0) -> None:
        super().__init__()
        before, length = query_shape
        span, step = FIRST
        layers = list[nn.Module]()
        for depth in count():
            after = max(1, round(2**depth * CHANNELS * width))
            layers += [nn.Conv1d(before, after, span, step, padding=span // 2, bias=False), nn.BatchNorm1d(after)]
            layers += [nn.ReLU(), nn.MaxPool1d(4, ceil_mode=True)]
            length = (length + 2 * (span // 2) - span) // step + 1
            length, before, span, step = -(-length // 4), after, 3, 1
            if length <= GRID:
                break
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(before * length, outputs)

    def forward(self, queries: Tensor) -> Tensor:
        """Map waveforms ``[b, c, n]`` to predictions ``[b, outputs]``."""
        predictions: Tensor = self.classifier(self.features(queries).flatten(1))
        return predictions
