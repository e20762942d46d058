"""Berrut's rational interpolation as a code: BACC and ApproxIFER, without any training."""

from math import cos, pi

import torch
from torch import Tensor, nn

from parmtrain.codes.base import Code, FreshModel, require_extra, require_k
from parmtrain.codes.linear import LinearEncoder
from parmtrain.deployed import DeployedModel
from parmtrain.errors import UnsupportedError

SAME = 1e-9


def query_nodes(k: int) -> Tensor:
    """Return the nodes of the k queries: Chebyshev points of the first kind, a_j = cos((2j + 1)π / 2k).

    Example:
        >>> query_nodes(2)
        tensor([ 0.7071, -0.7071], dtype=torch.float64)
    """
    return torch.tensor([cos((2 * j + 1) * pi / (2 * k)) for j in range(k)], dtype=torch.float64)


def worker_nodes(n: int, nodes: str) -> Tensor:
    """Return the nodes of the n workers: A, z_i = cos(iπ / (n − 1)), or B, z_i = cos(iπ / n).

    Raises:
        UnsupportedError: If ``nodes`` is neither A nor B.

    Example:
        >>> worker_nodes(3, "B")
        tensor([ 1.0000,  0.5000, -0.5000], dtype=torch.float64)
    """
    if nodes not in ("A", "B"):
        raise UnsupportedError(f"code.nodes must be A or B, got {nodes}")
    last = n - 1 if nodes == "A" else n
    return torch.tensor([cos(i * pi / last) for i in range(n)], dtype=torch.float64)


def berrut_weights(at: Tensor, samples: Tensor) -> Tensor:
    """Return the weights ``[m, n]`` of n samples in Berrut's interpolant at m points.

    At the node of a sample, the interpolant is that sample.

    Args:
        at: Points ``[m]``.
        samples: Nodes of the samples ``[n]``, in order.

    Source: Berrut, Rational functions for guaranteed and experimentally well-conditioned global interpolation (1988).

    Example:
        >>> berrut_weights(torch.tensor([0.0, 0.5]), torch.tensor([1.0, 0.5, -1.0]))
        tensor([[-0.5000,  1.0000,  0.5000],
                [ 0.0000,  1.0000,  0.0000]])
    """
    differences = at.unsqueeze(1) - samples
    clash = differences.abs() < SAME
    signs = (-1.0) ** torch.arange(len(samples), device=samples.device)
    terms = signs / differences.masked_fill(clash, 1.0)
    weights = terms / terms.sum(dim=1, keepdim=True)
    return torch.where(clash.any(dim=1, keepdim=True), clash.to(weights.dtype), weights)


class BerrutDecoder(nn.Module):
    """Interpolate the outputs that arrived, however many, at the nodes of the queries.

    Args:
        queries: Nodes of the queries ``[k]``.
        workers: Nodes of the workers ``[n]``, in order.

    Source: arXiv 2109.09868, section 3 (decoding).
    """

    differences: Tensor
    clash: Tensor

    def __init__(self, queries: Tensor, workers: Tensor) -> None:
        super().__init__()
        differences = queries.unsqueeze(1) - workers
        clash = differences.abs() < SAME
        self.register_buffer("clash", clash, persistent=False)
        self.register_buffer("differences", differences.masked_fill(clash, 1.0), persistent=False)

    def forward(self, outputs: Tensor, arrived: Tensor) -> Tensor:
        """Map worker outputs ``[g, n, c]`` and ``arrived`` ``[g, n]`` to predictions ``[g, k, c]``.

        In groups without any output, predictions are NaN.
        """
        rank = torch.cumsum(arrived.long(), dim=1)  # signs alternate among those that arrived
        signs = torch.where(arrived, 1.0 - 2.0 * (rank % 2).to(self.differences.dtype), 0.0)
        terms = signs.unsqueeze(1) / self.differences
        weights = terms / terms.sum(dim=2, keepdim=True)
        there = self.clash & arrived.unsqueeze(1)
        weights = torch.where(there.any(dim=2, keepdim=True), there.to(weights.dtype), weights)
        known = outputs.masked_fill(~arrived.unsqueeze(-1), 0.0)
        return weights.to(outputs.dtype) @ known


class Berrut(Code):
    """Coded inference by Berrut's interpolant (BACC, ApproxIFER): every worker runs the deployed model.

    Queries are samples of a curve; each of the n = k + r workers gets a point of the interpolating curve, and the
    outputs that arrive are interpolated back. Nothing is trained, and any number of workers may be late, but every
    prediction is an approximation, even without stragglers.

    Args:
        k: Queries in a coding group, 2 or more, of any shape.
        r: Extra workers per group, 1 or more; 1 by default.
        nodes: Nodes of the workers, A or B; the literature uses both.

    Source: arXiv 2109.09868 (ApproxIFER, AAAI'22), section 3.

    Example:
        >>> code = Berrut(k=2, r=1, nodes="B")
        >>> code.encode(torch.ones(5, 2, 1, 28, 28)).shape
        torch.Size([5, 3, 1, 28, 28])
    """

    systematic = False

    def __init__(self, k: int, r: int | None = None, nodes: str = "B") -> None:
        require_k(k)
        extra = require_extra(1 if r is None else r)
        self.nodes = nodes
        queries, workers = query_nodes(k), worker_nodes(k + extra, nodes)
        encoder = LinearEncoder(berrut_weights(workers, queries).float())
        super().__init__(k, extra, encoder, BerrutDecoder(queries, workers))

    @property
    def name(self) -> str:
        """``berrut_a`` or ``berrut_b``, depending on the nodes."""
        return f"berrut_{self.nodes.lower()}"

    def parity_models(
        self, query_shape: tuple[int, ...], deployed: DeployedModel, fresh: FreshModel
    ) -> list[nn.Module]:
        """Return the deployed model, which runs all coded queries."""
        return [deployed]
