"""Codes whose encoder and decoder are networks, trained through the frozen deployed model."""

from math import prod

import torch
from torch import Tensor, nn

from parmtrain.codes.base import Code, FreshModel, require_extra, require_k
from parmtrain.deployed import DeployedModel
from parmtrain.errors import UnsupportedError

DILATIONS = (1, 1, 2, 4, 8, 1)
CHANNELS_A_QUERY = 20


class MLPEncoder(nn.Module):
    """A perceptron with one hidden layer applied to all queries of a group: k·d → k·d → r·d.

    Args:
        k: Queries in a coding group.
        r: Parity queries per group.
        query_shape: Shape of one query with d elements.

    Source: arXiv 1806.01259, section 3 (MLPEncoder).

    Example:
        >>> MLPEncoder(2, 1, (1, 8, 8))(torch.rand(5, 2, 1, 8, 8)).shape
        torch.Size([5, 1, 1, 8, 8])
    """

    def __init__(self, k: int, r: int, query_shape: tuple[int, ...]) -> None:
        super().__init__()
        size = prod(query_shape)
        self.layers = nn.Sequential(nn.Linear(k * size, k * size), nn.ReLU(), nn.Linear(k * size, r * size))
        self.shape = nn.Unflatten(1, (r, *query_shape))

    def forward(self, queries: Tensor) -> Tensor:
        """Map queries ``[g, k, *query]`` to parity queries ``[g, r, *query]``."""
        parity_queries: Tensor = self.shape(self.layers(queries.flatten(1)))
        return parity_queries


class ConvolutionalEncoder(nn.Module):
    """Dilated convolutions that keep the image size and read the k images of a group as k channels.

    Six 3×3 layers with 20·k channels and dilations 1, 1, 2, 4, 8, 1, then a 1×1 layer; colour channels are encoded
    separately.

    Args:
        k: Queries in a coding group.
        r: Parity queries per group.

    Source: arXiv 1806.01259, section 3 (ConvEncoder).

    Example:
        >>> ConvolutionalEncoder(2, 1)(torch.rand(5, 2, 3, 8, 8)).shape
        torch.Size([5, 1, 3, 8, 8])
    """

    def __init__(self, k: int, r: int) -> None:
        super().__init__()
        width = CHANNELS_A_QUERY * k
        layers: list[nn.Module] = []
        for before, dilation in zip((k, *[width] * 5), DILATIONS, strict=True):
            layers += [nn.Conv2d(before, width, 3, padding=dilation, dilation=dilation), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, r, 1))

    def forward(self, queries: Tensor) -> Tensor:
        """Map images ``[g, k, c, h, w]`` to parity images ``[g, r, c, h, w]``."""
        groups, colours = queries.size(0), queries.size(2)
        one_colour = queries.transpose(1, 2).flatten(0, 1)
        parity_images: Tensor = self.layers(one_colour).unflatten(0, (groups, colours)).transpose(1, 2)
        return parity_images


class MLPDecoder(nn.Module):
    """A perceptron applied to all worker outputs, with zeros for missing ones: (k+r)·c → (k+r)·c → k·c → k·c.

    Its output replaces missing predictions only. If more than r worker outputs are missing, these predictions are NaN,
    since the decoder is not trained for that.

    Args:
        k: Queries in a coding group.
        r: Parity queries per group.
        outputs: Length c of one prediction.

    Source: arXiv 1806.01259, section 3 (decoder).
    """

    def __init__(self, k: int, r: int, outputs: int) -> None:
        super().__init__()
        self.k, self.r = k, r
        wide, narrow = (k + r) * outputs, k * outputs
        self.layers = nn.Sequential(
            nn.Linear(wide, wide), nn.ReLU(), nn.Linear(wide, narrow), nn.ReLU(), nn.Linear(narrow, narrow)
        )

    def forward(self, outputs: Tensor, arrived: Tensor) -> Tensor:
        """Map worker outputs ``[g, k+r, c]`` and ``arrived`` ``[g, k+r]`` to predictions ``[g, k, c]``."""
        known = outputs.masked_fill(~arrived.unsqueeze(-1), 0.0)
        rebuilt = self.layers(known.flatten(1)).view(-1, self.k, outputs.size(-1))
        few = (~arrived).sum(dim=1) > self.r
        rebuilt = rebuilt.masked_fill(few.view(-1, 1, 1), float("nan"))
        return torch.where(arrived[:, : self.k].unsqueeze(-1), outputs[:, : self.k], rebuilt)


class LearnedCode(Code):
    """A code with networks as encoder and decoder; its parity model is the deployed model itself, with its weights.

    Gradients reach the encoder through the frozen deployed model. Only the reconstructed predictions enter the loss.
    (The reference implementation leaves random weights in a parity model that is not trained, where F's are meant.)

    Args:
        k: Queries in a coding group, 2 or more.
        r: Parity queries per group, 1 or more.
        outputs: Length of one prediction.
        encoder: Maps queries ``[g, k, *query]`` to parity queries ``[g, r, *query]``.

    Source: Kosaian et al., Learning a Code (arXiv 1806.01259), section 3.
    """

    def __init__(self, k: int, r: int, outputs: int, encoder: nn.Module) -> None:
        super().__init__(k, r, encoder, MLPDecoder(k, r, outputs))

    def parity_models(
        self, query_shape: tuple[int, ...], deployed: DeployedModel, fresh: FreshModel
    ) -> list[nn.Module]:
        """Return the deployed model."""
        return [deployed]


class LearnedMLP(LearnedCode):
    """The learned code with the MLP encoder, for queries of any shape.

    Args:
        k: Queries in a coding group, 2 or more.
        query_shape: Shape of one query; for d elements, the encoder has (k² + k·r)·d² weights.
        outputs: Length of one prediction.
        r: Parity queries per group, 1 or more; 1 by default.

    Raises:
        UnsupportedError: If the encoder would have 1 billion weights or more.
    """

    def __init__(self, k: int, query_shape: tuple[int, ...], outputs: int, r: int | None = None) -> None:
        require_k(k)
        extra, shape = require_extra(1 if r is None else r), tuple(query_shape)
        weights = (k * k + k * extra) * prod(shape) ** 2
        if weights >= 1e9:
            raise UnsupportedError(
                f"code=learned_mlp must have fewer than 1 billion weights, got {weights / 1e9:.1f} billion for k={k} "
                f"and queries of shape {list(shape)}; use code=learned_convolution"
            )
        super().__init__(k, extra, outputs, MLPEncoder(k, extra, shape))


class LearnedConvolution(LearnedCode):
    """The learned code with the convolutional encoder, for images.

    Args:
        k: Queries in a coding group, 2 or more.
        query_shape: Shape of one query ``[c, h, w]``.
        outputs: Length of one prediction.
        r: Parity queries per group, 1 or more; 1 by default.

    Raises:
        UnsupportedError: If queries are not images ``[c, h, w]``.
    """

    def __init__(self, k: int, query_shape: tuple[int, ...], outputs: int, r: int | None = None) -> None:
        require_k(k)
        extra = require_extra(1 if r is None else r)
        if len(query_shape) != 3:
            raise UnsupportedError(
                f"code=learned_convolution needs queries of shape [c, h, w] (images), got {list(query_shape)}; "
                "code=learned_mlp takes any shape"
            )
        super().__init__(k, extra, outputs, ConvolutionalEncoder(k, extra))
