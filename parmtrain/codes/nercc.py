"""NeRCC: coded inference by smoothing splines, without gradient-based training."""

import numpy as np
import torch
from torch import Tensor, nn

from parmtrain.bounds import Bounds, NotNegative, Some, require
from parmtrain.codes.base import Code, FreshModel, require_extra, require_k
from parmtrain.codes.berrut import query_nodes, worker_nodes
from parmtrain.codes.erasures import arrivals, decode_each
from parmtrain.codes.linear import LinearEncoder
from parmtrain.codes.splines import smoothing_matrix
from parmtrain.deployed import DeployedModel
from parmtrain.errors import UnsupportedError
from parmtrain.metrics.measures import Measures

SMOOTHNESS = (0.0, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
MOST_CASES = 20_000


class TableDecoder(nn.Module):
    """Decode with one matrix per arrival pattern.

    Args:
        cases: Arrival patterns ``[p, n]`` (bool).
        matrices: Matrices from outputs to predictions ``[p, k, n]``, zero for outputs that did not arrive.
    """

    cases: Tensor
    matrices: Tensor

    def __init__(self, cases: Tensor, matrices: Tensor) -> None:
        super().__init__()
        self.register_buffer("cases", cases, persistent=False)
        self.register_buffer("matrices", matrices)

    def forward(self, outputs: Tensor, arrived: Tensor) -> Tensor:
        """Map worker outputs ``[g, n, c]`` and ``arrived`` ``[g, n]`` to predictions ``[g, k, c]``.

        In arrival patterns without a matrix, predictions are NaN.
        """
        same = (arrived.unsqueeze(1) == self.cases).all(dim=-1)
        matrices = self.matrices[same.long().argmax(dim=1)].to(outputs.dtype)
        predictions = matrices @ outputs.masked_fill(~arrived.unsqueeze(-1), 0.0)
        return predictions.masked_fill(~same.any(dim=1).view(-1, 1, 1), float("nan"))


class NeRCC(Code):
    """Nested-regression coded computing: smoothing splines encode and decode, and every worker runs the deployed model.

    ``fit`` chooses the two smoothing parameters that maximise the task's agreement of decoded predictions with the
    deployed model's own, on training queries with one straggler at every position.

    Args:
        k: Queries in a coding group, 2 or more, of any shape.
        r: Extra workers per group and largest number of stragglers, 1 or more; 1 by default.
        nodes: Nodes of the workers, A or B, as for Berrut's code.
        smoothness: Candidates for λ of the encoder and of the decoder.

    Raises:
        UnsupportedError: If there are too many arrival patterns to store a matrix for each, or ``smoothness`` is empty
            or has a negative value.

    Source: arXiv 2402.04377 (NeRCC) and 2406.00300 (LeTCC).

    Example:
        >>> NeRCC(k=2).encode(torch.ones(5, 2, 1, 28, 28)).shape
        torch.Size([5, 3, 1, 28, 28])
    """

    systematic = False

    def __init__(
        self,
        k: int,
        r: int | None = None,
        nodes: str = "A",
        smoothness: Some[NotNegative] = SMOOTHNESS,
    ) -> None:
        require_k(k)
        if not smoothness:
            raise UnsupportedError("code.smoothness must have 1 or more values, got none")
        for value in smoothness:
            require("code.smoothness", value, Bounds(least=0), UnsupportedError)
        extra = require_extra(1 if r is None else r)
        self.query_nodes, self.worker_nodes = query_nodes(k), worker_nodes(k + extra, nodes)
        self.smoothness = tuple(smoothness)
        n = k + extra
        cases = torch.cat([arrivals(n, late, most=MOST_CASES + 1) for late in range(extra + 1)])
        if len(cases) > MOST_CASES:
            raise UnsupportedError(
                f"code=nercc must have {MOST_CASES} arrival patterns or fewer, got more for up to r={extra} late "
                f"workers among {n}; use a smaller r or k, or code=berrut_b"
            )
        first = min(self.smoothness)
        super().__init__(
            k,
            extra,
            LinearEncoder(self._encoding(first).float()),
            TableDecoder(cases, self._decoding(cases, first).float()),
        )
        self.chosen = (first, first)

    @property
    def name(self) -> str:
        """Name of the code on the command line."""
        return "nercc"

    def parity_models(
        self, query_shape: tuple[int, ...], deployed: DeployedModel, fresh: FreshModel
    ) -> list[nn.Module]:
        """Return the deployed model, which runs all coded queries."""
        return [deployed]

    @torch.no_grad()
    def fit(self, deployed: DeployedModel, queries: Tensor, labels: Tensor, measures: Measures) -> None:
        """Choose both smoothing parameters and compute the matrices for them."""
        device = queries.device
        own = deployed(queries.flatten(0, 1)).unflatten(0, queries.shape[:2]).unsqueeze(1)
        late = arrivals(self.n, 1)
        decoders = {
            value: TableDecoder(late, self._decoding(late, value).float()).to(device) for value in self.smoothness
        }
        faults: dict[tuple[float, float], float] = {}
        for encoding in self.smoothness:
            coded = LinearEncoder(self._encoding(encoding).float()).to(device)(queries)
            outputs = deployed(coded.flatten(0, 1)).unflatten(0, coded.shape[:2])
            for decoding, decoder in decoders.items():
                decoded = decode_each(decoder, outputs, late)
                agreement = measures.agreement(decoded, own.expand_as(decoded))
                faults[encoding, decoding] = (1 - agreement).mean().item()
        self.chosen = min(faults, key=lambda pair: faults[pair])
        self.encoder.coefficients.copy_(self._encoding(self.chosen[0]))  # type: ignore[operator]
        self.decoder.matrices.copy_(self._decoding(self.decoder.cases, self.chosen[1]))  # type: ignore[operator, arg-type]

    def _encoding(self, smoothness: float) -> Tensor:
        knots, at = self.query_nodes.numpy(), self.worker_nodes.numpy()
        return torch.from_numpy(smoothing_matrix(knots, at, smoothness))

    def _decoding(self, cases: Tensor, smoothness: float) -> Tensor:
        at, workers = self.query_nodes.numpy(), self.worker_nodes.numpy()
        matrices = np.zeros((len(cases), len(at), len(workers)))
        for matrix, here in zip(matrices, cases.cpu().numpy(), strict=True):
            matrix[:, here] = smoothing_matrix(workers[here], at, smoothness)
        return torch.from_numpy(matrices)
