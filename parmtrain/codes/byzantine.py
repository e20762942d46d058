"""Berrut's code with Byzantine workers: wrong outputs are located and dropped."""

import torch
from torch import Tensor, nn

from parmtrain.bounds import Bounds, Count, Whole, require
from parmtrain.codes.base import require_k, require_r
from parmtrain.codes.berrut import Berrut, BerrutDecoder, query_nodes, worker_nodes
from parmtrain.errors import UnsupportedError


class ErrorLocator(nn.Module):
    """Locate workers whose outputs do not fit a rational function of low degree.

    For each output coordinate, polynomials P and Q of degree k + E − 1 with P(z_i) = y_i·Q(z_i) are fitted by least
    squares, where the constant term of Q is 1; Q is small where y_i is wrong. Each coordinate votes for the E workers
    with the smallest |Q|, and the E workers with the most votes are taken to be wrong. Outputs that are not finite
    count towards the E.

    Args:
        k: Queries in a coding group.
        workers: Nodes of the workers ``[n]``.
        errors: E, the number of workers that may be wrong.

    Source: arXiv 2109.09868, section 3 (error locator).
    """

    powers: Tensor

    def __init__(self, k: int, workers: Tensor, errors: int) -> None:
        super().__init__()
        self.errors = errors
        angles = torch.acos(workers.clamp(-1, 1))
        degrees = torch.arange(k + errors, dtype=torch.float64)
        self.register_buffer("powers", torch.cos(angles.unsqueeze(1) * degrees), persistent=False)  # Chebyshev's

    def forward(self, outputs: Tensor, arrived: Tensor) -> Tensor:
        """Map worker outputs ``[g, n, c]`` and ``arrived`` ``[g, n]`` to a mask of correct ones ``[g, n]`` (bool)."""
        finite = outputs.isfinite().all(dim=-1)
        numbers = arrived & finite
        powers = self.powers.double()
        known = outputs.double().masked_fill(~numbers.unsqueeze(-1), 0.0).transpose(1, 2).unsqueeze(-1)
        y = known / known.abs().amax(dim=2, keepdim=True).clamp_min(1e-12)
        basis = (powers * numbers.to(powers.dtype).unsqueeze(-1)).unsqueeze(1).expand(-1, outputs.size(2), -1, -1)
        solution = torch.linalg.pinv(torch.cat([basis, -y * basis[..., 1:]], dim=-1)) @ y
        q = 1.0 + (powers[:, 1:] @ solution[:, :, powers.size(1) :]).squeeze(-1)
        size = q.abs().masked_fill(~numbers.unsqueeze(1), float("inf"))
        suspects = size.topk(self.errors, dim=2, largest=False).indices
        votes = torch.zeros_like(size).scatter(2, suspects, 1.0).sum(dim=1).masked_fill(~numbers, -1.0)
        left = self.errors - (arrived & ~finite).sum(dim=1, keepdim=True)  # NaN and infinity count as errors found
        dropped = torch.arange(self.errors, device=outputs.device) < left
        wrong = torch.zeros_like(arrived).scatter(1, votes.topk(self.errors, dim=1).indices, dropped)
        return numbers & ~wrong


class LocatingDecoder(nn.Module):
    """Drop wrong outputs and interpolate the others.

    Args:
        locator: Locates wrong outputs.
        decoder: Decodes the others.
    """

    def __init__(self, locator: ErrorLocator, decoder: BerrutDecoder) -> None:
        super().__init__()
        self.locator, self.decoder = locator, decoder

    def forward(self, outputs: Tensor, arrived: Tensor) -> Tensor:
        """Map worker outputs ``[g, n, c]`` and ``arrived`` ``[g, n]`` to predictions ``[g, k, c]``."""
        predictions: Tensor = self.decoder(outputs, self.locator(outputs, arrived))
        return predictions


class BerrutByzantine(Berrut):
    """Berrut's code with n = 2k + 2E + s − 1 workers, of which E may be wrong and s late.

    Args:
        k: Queries in a coding group, 2 or more, of any shape.
        r: Extra workers per group, k + 2E + s − 1.
        nodes: Nodes of the workers, A or B.
        errors: E, the number of workers that may be wrong, 1 or more.
        late: s, the number of other workers that may be late, 0 or more.

    Raises:
        UnsupportedError: If r is not k + 2E + s − 1, or errors or late is out of range.

    Source: arXiv 2109.09868 (ApproxIFER, AAAI'22), section 3.

    Example:
        >>> BerrutByzantine(k=2, errors=1).n
        6
    """

    def __init__(self, k: int, r: int | None = None, nodes: str = "B", errors: Count = 1, late: Whole = 1) -> None:
        require("code.errors", errors, Bounds(least=1), UnsupportedError)
        require("code.late", late, Bounds(least=0), UnsupportedError)
        needed = require_k(k) + 2 * errors + late - 1
        extra = require_r("berrut_byzantine", r, needed, f"has 2k+2·errors+late−1 = {k + needed} workers for k={k}")
        super().__init__(k, extra, nodes)
        self.errors, self.late = errors, late
        workers = worker_nodes(self.n, nodes)
        locator = ErrorLocator(k, workers, errors)
        self.decoder = LocatingDecoder(locator, BerrutDecoder(query_nodes(k), workers))

    @property
    def name(self) -> str:
        """Name of the code on the command line."""
        return "berrut_byzantine"

    @property
    def stragglers(self) -> int:
        """s; all other outputs are needed to locate errors."""
        return self.late
