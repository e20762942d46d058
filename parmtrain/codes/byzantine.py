"""Berrut's code with workers that answer wrongly: they are located and their answers dropped."""

import torch
from torch import Tensor, nn

from parmtrain.codes.base import only
from parmtrain.codes.berrut import Berrut, BerrutDecoder, query_nodes, worker_nodes
from parmtrain.errors import UnsupportedError


class ErrorLocator(nn.Module):
    """Find the workers whose answers no rational function of low degree agrees with.

    For each output coordinate, polynomials P and Q of degree k + E − 1 with P(z_i) = y_i·Q(z_i) are fitted by least
    squares, Q's constant being 1; Q is small where y_i is wrong. The E workers with the smallest |Q| get a vote from
    each coordinate, and the E with the most votes are said to be wrong. An answer that is no number is one of the E.

    Args:
        k: Queries in a coding group.
        workers: Nodes of the workers ``[n]``.
        errors: E, how many may be wrong.

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
        """Map worker outputs ``[g, n, c]`` and ``arrived`` ``[g, n]`` to those that are right ``[g, n]`` (bool)."""
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
        left = self.errors - (arrived & ~finite).sum(dim=1, keepdim=True)  # NaN and infinity are errors found already
        dropped = torch.arange(self.errors, device=outputs.device) < left
        wrong = torch.zeros_like(arrived).scatter(1, votes.topk(self.errors, dim=1).indices, dropped)
        return numbers & ~wrong


class LocatingDecoder(nn.Module):
    """Interpolate what is left once the wrong answers are dropped.

    Args:
        locator: Says whose answers are right.
        decoder: Decodes them.
    """

    def __init__(self, locator: ErrorLocator, decoder: BerrutDecoder) -> None:
        super().__init__()
        self.locator, self.decoder = locator, decoder

    def forward(self, outputs: Tensor, arrived: Tensor) -> Tensor:
        """Map worker outputs ``[g, n, c]`` and ``arrived`` ``[g, n]`` to predictions ``[g, k, c]``."""
        predictions: Tensor = self.decoder(outputs, self.locator(outputs, arrived))
        return predictions


class BerrutByzantine(Berrut):
    """Berrut's code with N = 2k + 2E + s − 1 workers, E of which may answer wrongly while s are late.

    Args:
        k: Queries in a coding group, 2 or more, of any shape.
        r: Workers beyond k: k + 2E + s − 1, where one is given.
        nodes: Where the workers lie, A or B.
        errors: E, workers that may answer wrongly, 1 or more.
        late: s, workers that may be late besides, 0 or more.

    Raises:
        UnsupportedError: If r does not belong to k, E and s.

    Source: arXiv 2109.09868 (ApproxIFER, AAAI'22), section 3.

    Example:
        >>> BerrutByzantine(k=2, errors=1).n
        6
    """

    def __init__(self, k: int, r: int | None = None, nodes: str = "B", errors: int = 1, late: int = 1) -> None:
        if errors < 1 or late < 0:
            raise UnsupportedError(
                f"code.errors={errors} code.late={late}: code=berrut_byzantine takes 1 error or more and 0 late "
                "workers or more"
            )
        needed = k + 2 * errors + late - 1
        super().__init__(
            k, only(self.name, r, needed, f"has 2k+2·errors+late−1 = {k + needed} workers for k={k}"), nodes
        )
        self.errors, self.late = errors, late
        workers = worker_nodes(self.n, nodes)
        locator = ErrorLocator(k, workers, errors)
        self.decoder = LocatingDecoder(locator, BerrutDecoder(query_nodes(k), workers))

    @property
    def name(self) -> str:
        """Its name on the command line."""
        return "berrut_byzantine"

    @property
    def stragglers(self) -> int:
        """s: the others are needed to locate what is wrong."""
        return self.late
