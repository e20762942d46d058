"""NeRCC: coded inference by smoothing splines, without training by gradients."""

import numpy as np
import torch
from torch import Tensor, nn

from parmtrain.codes.base import Code, FreshModel, at_least_one
from parmtrain.codes.berrut import query_nodes, worker_nodes
from parmtrain.codes.erasures import arrivals, decode_each
from parmtrain.codes.linear import LinearEncoder
from parmtrain.codes.splines import smoothing_matrix
from parmtrain.deployed import DeployedModel
from parmtrain.errors import UnsupportedError
from parmtrain.metrics.functional import agree

SMOOTHNESS = (0.0, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
MOST_CASES = 20_000


class TableDecoder(nn.Module):
    """Decode by one matrix for each case of who arrived.

    Args:
        cases: Who arrived ``[p, n]`` (bool).
        matrices: From the outputs to the predictions ``[p, k, n]``, zero where an output did not arrive.
    """

    cases: Tensor
    matrices: Tensor

    def __init__(self, cases: Tensor, matrices: Tensor) -> None:
        super().__init__()
        self.register_buffer("cases", cases, persistent=False)
        self.register_buffer("matrices", matrices)

    def forward(self, outputs: Tensor, arrived: Tensor) -> Tensor:
        """Map worker outputs ``[g, n, c]`` and ``arrived`` ``[g, n]`` to predictions ``[g, k, c]``.

        In a case without a matrix they are NaN.
        """
        same = (arrived.unsqueeze(1) == self.cases).all(dim=-1)
        matrices = self.matrices[same.long().argmax(dim=1)].to(outputs.dtype)
        predictions = matrices @ outputs.masked_fill(~arrived.unsqueeze(-1), 0.0)
        return predictions.masked_fill(~same.any(dim=1).view(-1, 1, 1), float("nan"))


class NeRCC(Code):
    """Nested-regression coded computing: smoothing splines encode and decode, every worker runs the deployed model.

    The two smoothing parameters are the pair with which most decoded predictions name the class that the deployed model
    names, one straggler at every position, on training queries alone; where predictions are numbers rather than scores
    of classes, the pair with the smallest squared error.

    Args:
        k: Queries in a coding group, 2 or more, of any shape.
        r: Workers beyond k, as many as may be late, 1 or more; 1 where none is given.
        nodes: Where the workers lie, A or B, as for Berrut's code.
        smoothness: λ of encoder and decoder to choose from.

    Raises:
        UnsupportedError: If there are too many cases of who arrives for a table of them.

    Source: arXiv 2402.04377 (NeRCC) and 2406.00300 (LeTCC).

    Example:
        >>> NeRCC(k=2).encode(torch.ones(5, 2, 1, 28, 28)).shape
        torch.Size([5, 3, 1, 28, 28])
    """

    systematic = False

    def __init__(
        self, k: int, r: int | None = None, nodes: str = "A", smoothness: tuple[float, ...] = SMOOTHNESS
    ) -> None:
        extra = at_least_one(1 if r is None else r)
        self.query_nodes, self.worker_nodes = query_nodes(max(k, 1)), worker_nodes(max(k, 1) + extra, nodes)
        self.smoothness = tuple(smoothness)
        n = k + extra
        cases = torch.cat([arrivals(n, late, most=MOST_CASES + 1) for late in range(extra + 1)])
        if len(cases) > MOST_CASES:
            raise UnsupportedError(
                f"r={extra}: code=nercc keeps a matrix for each case of up to r late workers among {n}, more than "
                f"{MOST_CASES} of them; a smaller r or k has fewer, and code=berrut_b keeps none"
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
        """Its name on the command line."""
        return "nercc"

    def parity_models(
        self, query_shape: tuple[int, ...], deployed: DeployedModel, fresh: FreshModel
    ) -> list[nn.Module]:
        """Return the deployed model, which runs all coded queries."""
        return [deployed]

    @torch.no_grad()
    def fit(self, deployed: DeployedModel, queries: Tensor, labels: Tensor) -> None:
        """Choose both smoothing parameters, and make the matrices for them."""
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
                wrong = (decoded - own).square() if labels.is_floating_point() else 1 - agree(decoded, own)
                faults[encoding, decoding] = wrong.mean().item()
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
