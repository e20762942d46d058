"""Codes that encode weighted sums of queries: sum, linear, and the untrained mean query."""

from math import pi

import torch
from torch import Tensor, nn

from parmtrain.codes.base import Code, FreshModel, require_extra, require_k, require_r
from parmtrain.deployed import DeployedModel

SHIFTS = 64


def coefficients(k: int, r: int) -> Tensor:
    """Return coefficients ``[r, k]`` of r parity queries: the first row all ones, every square submatrix invertible.

    They form a Cauchy matrix in trigonometric form, 1 / sin(θ_j − φ_i), whose minors are all non-zero. Its columns are
    scaled to make the first row all ones, and the other rows to a mean square of 1, so all parity queries have the same
    scale. The angles are chosen to keep the linear systems well conditioned: for k=4 and r=2, decoding amplifies an
    error at most 2.3 times.

    Example:
        >>> coefficients(k=4, r=2)
        tensor([[ 1.0000,  1.0000,  1.0000,  1.0000],
                [-0.4472, -1.3416,  1.3416,  0.4472]])
    """
    steps = torch.arange(k, dtype=torch.float64) - (k - 1) / 2
    spread = steps.square().mean().sqrt()
    theta = pi / 2 + pi * torch.arange(r, dtype=torch.float64) / r

    def distances(shift: float) -> Tensor:
        return torch.sin(theta[:, None] - torch.atan((steps + shift) / spread)[None])

    shifts = [number / SHIFTS for number in range(SHIFTS)]
    cauchy = 1 / distances(max(shifts, key=lambda shift: distances(shift).abs().min().item()))
    scaled = cauchy / cauchy[:1]
    return (scaled / scaled.square().mean(dim=1, keepdim=True).sqrt()).float()


class LinearEncoder(nn.Module):
    """Add up the k queries of a group with weights: ``P_j = Σ_i α_ji X_i``.

    Args:
        coefficients: α ``[m, k]``.

    Example:
        >>> LinearEncoder(torch.tensor([[1.0, 1.0]]))(torch.tensor([[[1.0, 2.0], [10.0, 20.0]]]))
        tensor([[[11., 22.]]])
    """

    coefficients: Tensor

    def __init__(self, coefficients: Tensor) -> None:
        super().__init__()
        self.register_buffer("coefficients", coefficients, persistent=False)

    def forward(self, queries: Tensor) -> Tensor:
        """Map queries ``[g, k, *query]`` to coded queries ``[g, m, *query]``."""
        weighted = self.coefficients.to(queries.dtype) @ queries.flatten(2)
        coded: Tensor = weighted.unflatten(2, queries.shape[2:])
        return coded


class SubtractionDecoder(nn.Module):
    """Subtract available predictions from the parity output: ``F̂(X_j) = (F_P(P) − Σ_{i≠j} α_i F(X_i)) ÷ α_j``.

    Args:
        coefficients: α ``[1, k]``.

    Source: Kosaian et al., ParM (SOSP'19), section 3.2.

    Example:
        >>> outputs = torch.tensor([[[torch.nan], [2.0], [7.0]]])  # F(X_1) is late, F(X_2) = 2, F_P(P) = 7
        >>> SubtractionDecoder(torch.ones(1, 2))(outputs, torch.tensor([[False, True, True]]))
        tensor([[[5.],
                 [2.]]])
    """

    solutions: Tensor

    def __init__(self, coefficients: Tensor) -> None:
        super().__init__()
        self.k = coefficients.size(1)
        equation = torch.cat([coefficients, torch.tensor([[-1.0]])], dim=1)[0]  # Σ_i α_i F(X_i) − F_P(P) = 0
        solutions = -equation.unsqueeze(0) / equation.unsqueeze(1)  # [i, j]: weight of output j in output i
        self.register_buffer("solutions", solutions.fill_diagonal_(0.0), persistent=False)

    def forward(self, outputs: Tensor, arrived: Tensor) -> Tensor:
        """Map worker outputs ``[g, k+1, c]`` and ``arrived`` ``[g, k+1]`` to predictions ``[g, k, c]``.

        If more than one of the k + 1 outputs is missing, missing predictions are NaN.
        """
        here = arrived.unsqueeze(2)
        blank = torch.where(here.sum(dim=1, keepdim=True) < self.k, float("nan"), 0.0)
        known = torch.where(here, outputs, blank.to(outputs.dtype))
        solutions = self.solutions.to(outputs.dtype).expand(outputs.size(0), -1, -1)
        return torch.where(here, outputs, torch.bmm(solutions, known))[:, : self.k]  # @ would spend time on its shapes


class LinearDecoder(nn.Module):
    """Solve ``F_Pj(P_j) = Σ_i α_ji F(X_i)`` for the missing predictions.

    Any u missing predictions are reconstructed from any u parity outputs; if more than u arrived, all of them are used,
    by least squares.

    Args:
        coefficients: α ``[r, k]``.

    Example:
        >>> outputs = torch.tensor([[[torch.nan], [torch.nan], [3.0], [-1.0]]])  # both are late, F = 1 and 2
        >>> LinearDecoder(torch.tensor([[1.0, 1.0], [1.0, -1.0]]))(outputs, torch.tensor([[False, False, True, True]]))
        tensor([[[1.],
                 [2.]]])
    """

    coefficients: Tensor

    def __init__(self, coefficients: Tensor) -> None:
        super().__init__()
        self.r, self.k = coefficients.shape
        self.register_buffer("coefficients", coefficients, persistent=False)

    def forward(self, outputs: Tensor, arrived: Tensor) -> Tensor:
        """Map worker outputs ``[g, k+r, c]`` and ``arrived`` ``[g, k+r]`` to predictions ``[g, k, c]``.

        If more predictions are missing than parity outputs arrived, missing predictions are NaN.
        """
        predictions, parity = outputs[:, : self.k], outputs[:, self.k :]
        late, late_parity = ~arrived[:, : self.k], ~arrived[:, self.k :]
        coefficients = self.coefficients.to(outputs.dtype)
        rest = parity.masked_fill(late_parity.unsqueeze(2), 0.0)
        rest = rest - coefficients @ predictions.masked_fill(late.unsqueeze(2), 0.0)
        solvable = late.sum(dim=1, keepdim=True) + late_parity.sum(dim=1, keepdim=True) <= self.r
        rebuilt = self.solution(late & solvable, late_parity).to(outputs.dtype) @ rest
        rebuilt = rebuilt.masked_fill(~solvable.unsqueeze(2), float("nan"))
        return torch.where(late.unsqueeze(2), rebuilt, predictions)

    def solution(self, late: Tensor, late_parity: Tensor) -> Tensor:
        """Return the matrices ``[g, k, r]`` from parity outputs, less available predictions, to late predictions."""
        asked = late.unsqueeze(1) & ~late_parity.unsqueeze(2)
        system = (self.coefficients * asked).double()  # [g, r, k]
        known = torch.diag_embed((~late).to(system.dtype))  # keeps the system regular for available predictions
        inverse: Tensor = torch.linalg.solve(system.transpose(1, 2) @ system + known, system.transpose(1, 2))
        return inverse


class LinearCode(Code):
    """A code whose parity models learn weighted sums of predictions, so a linear system reconstructs missing ones.

    Args:
        k: Queries in a coding group, 2 or more.
        coefficients: α ``[r, k]`` of the target, Σ_i α_ji F(X_i) for parity model j.
        encoder: Module that maps queries ``[g, k, *query]`` to parity queries ``[g, r, *parity]``; by default, it adds
            up the queries with the same weights.

    Raises:
        UnsupportedError: If k is less than 2.
    """

    coefficients: Tensor

    def __init__(self, k: int, coefficients: Tensor, encoder: nn.Module | None = None) -> None:
        decoder = SubtractionDecoder if len(coefficients) == 1 else LinearDecoder
        super().__init__(k, len(coefficients), encoder or LinearEncoder(coefficients), decoder(coefficients))
        self.register_buffer("coefficients", coefficients, persistent=False)

    def target(self, predictions: Tensor) -> Tensor:
        """Return the weighted sums of the predictions: ``[g, k, c]`` to ``[g, r, c]``."""
        return self.coefficients.to(predictions.dtype) @ predictions


class Linear(LinearCode):
    """The linear code with r parity models, which reconstructs any u ≤ r missing predictions.

    Args:
        k: Queries in a coding group, 2 or more, of any shape.
        r: Parity queries per group, 1 or more; 2 by default.

    Source: Kosaian et al., ParM (SOSP'19), section 3.5 (several parity models).

    Example:
        >>> Linear(k=4, r=2).encode(torch.ones(5, 4, 1, 28, 28)).shape
        torch.Size([5, 2, 1, 28, 28])
    """

    def __init__(self, k: int, r: int | None = None) -> None:
        require_k(k)
        super().__init__(k, coefficients(k, require_extra(2 if r is None else r)))


class Sum(LinearCode):
    """The sum code: the parity query is the sum of the queries, of any shape; ``Linear`` with r = 1.

    Args:
        k: Queries in a coding group, 2 or more.
        r: Parity queries, 1.

    Source: Kosaian et al., ParM (SOSP'19), section 3.2.

    Example:
        >>> Sum(k=3).encode(torch.ones(5, 3, 1, 28, 28)).shape
        torch.Size([5, 1, 1, 28, 28])
    """

    def __init__(self, k: int, r: int | None = None) -> None:
        require_k(k)
        super().__init__(k, coefficients(k, require_r("sum", r, 1, "makes one parity query per group")))


class MeanParity(LinearCode):
    """The untrained baseline: the deployed model runs the mean query, F̂(X_j) = k·F(mean X) − Σ_{i≠j} F(X_i).

    It is exact if the deployed model is linear; otherwise its error shows how far from linear the model is.

    Args:
        k: Queries in a coding group, 2 or more, of any shape.
        r: Parity queries, 1.

    Example:
        >>> MeanParity(k=2).encode(torch.tensor([[[1.0, 2.0], [3.0, 6.0]]]))
        tensor([[[2., 4.]]])
    """

    def __init__(self, k: int, r: int | None = None) -> None:
        require_k(k)
        require_r("mean_parity", r, 1, "makes one parity query per group")
        super().__init__(k, torch.full((1, k), 1 / k))

    def parity_models(
        self, query_shape: tuple[int, ...], deployed: DeployedModel, fresh: FreshModel
    ) -> list[nn.Module]:
        """Return the deployed model."""
        return [deployed]
