"""Data multiplexing: k queries, each with a key of its own, in one superposition."""

from math import prod

import torch
from torch import Tensor, nn

from parmtrain.bounds import Count
from parmtrain.codes.base import FreshModel, require_k, require_r
from parmtrain.codes.heads import HeadsDecoder, SeparatePredictions
from parmtrain.deployed import DeployedModel
from parmtrain.errors import UnsupportedError

LARGEST = 4096  # numbers in a query with orthogonal keys, which are matrices of that size


class KeyEncoder(nn.Module):
    """Return the mean of k queries, each changed by a fixed random key.

    Args:
        k: Queries in a coding group.
        query_shape: Shape of one query.
        keys: ``binary`` multiplies each number by 1 or −1; ``orthogonal`` applies a random rotation to all of them.
        seed: Seed of the keys.

    Example:
        >>> KeyEncoder(2, (1, 4, 4), "binary", seed=0)(torch.rand(5, 2, 1, 4, 4)).shape
        torch.Size([5, 1, 1, 4, 4])
    """

    keys: Tensor

    def __init__(self, k: int, query_shape: tuple[int, ...], keys: str, seed: int) -> None:
        super().__init__()
        self.rotates, size, random = keys == "orthogonal", prod(query_shape), torch.Generator().manual_seed(seed)
        if self.rotates:
            made = torch.linalg.qr(torch.randn(k, size, size, generator=random)).Q
        else:
            made = torch.randint(0, 2, (k, size), generator=random) * 2.0 - 1
        self.register_buffer("keys", made)

    def forward(self, queries: Tensor) -> Tensor:
        """Map queries ``[g, k, *query]`` to their superpositions ``[g, 1, *query]``."""
        flat = queries.flatten(2)
        keyed = torch.einsum("gks,kts->gkt", flat, self.keys) if self.rotates else flat * self.keys
        return keyed.mean(dim=1, keepdim=True).view(queries.size(0), 1, *queries.shape[2:])


class Demultiplexed(nn.Module):
    """A network for superpositions, and one small network that reads each query's prediction, told its position.

    Args:
        network: Maps superpositions ``[b, *query]`` to features ``[b, k·c]``.
        k: Queries in a coding group.
        outputs: Length of one prediction, c.
        hidden: Width of the small network.

    Example:
        >>> Demultiplexed(nn.Linear(4, 6), k=2, outputs=3, hidden=8)(torch.rand(5, 4)).shape
        torch.Size([5, 6])
    """

    positions: Tensor

    def __init__(self, network: nn.Module, k: int, outputs: int, hidden: int) -> None:
        super().__init__()
        self.network, self.k = network, k
        self.reader = nn.Sequential(nn.Linear(k * outputs + k, hidden), nn.ReLU(), nn.Linear(hidden, outputs))
        self.register_buffer("positions", torch.eye(k))

    def forward(self, superpositions: Tensor) -> Tensor:
        """Map superpositions ``[b, *query]`` to predictions ``[b, k·c]``."""
        features = self.network(superpositions).unsqueeze(1).expand(-1, self.k, -1)
        positions = self.positions.expand(features.size(0), -1, -1)
        predictions: Tensor = self.reader(torch.cat([features, positions], dim=2)).flatten(1)
        return predictions


class MuxHeads(SeparatePredictions):
    """Data multiplexing: the parity query is the mean of the queries, each changed by a key of its position.

    One small network reads every query's prediction from the parity model's features, told the position.

    Args:
        k: Queries in a coding group, 2 or more.
        query_shape: Shape of one query.
        outputs: Length of one prediction.
        keys: ``binary`` or ``orthogonal``, as for ``KeyEncoder``.
        hidden: Width of the network that reads predictions.
        seed: Seed of the keys.
        r: Parity queries, 1.

    Raises:
        UnsupportedError: If r is not 1, the kind of keys is unknown, or queries are too large for orthogonal keys.

    Source: Murahari et al., DataMUX (arXiv 2202.09318), section 3; binary keys as in Menet et al., MIMONets
    (arXiv 2312.02829), section 3.

    Example:
        >>> MuxHeads(k=2, query_shape=[1, 8, 8], outputs=10).encode(torch.rand(5, 2, 1, 8, 8)).shape
        torch.Size([5, 1, 1, 8, 8])
    """

    def __init__(
        self,
        k: int,
        query_shape: list[Count],
        outputs: Count,
        keys: str = "binary",
        hidden: Count = 128,
        seed: int = 0,
        r: int | None = None,
    ) -> None:
        right = require_r("mux_heads", r, 1, "makes one parity query per group")
        if keys not in ("binary", "orthogonal"):
            raise UnsupportedError(f"code.keys must be binary or orthogonal, got {keys}")
        if keys == "orthogonal" and prod(query_shape) > LARGEST:
            raise UnsupportedError(
                f"code=mux_heads with code.keys=orthogonal needs queries of {LARGEST} numbers or fewer, got "
                f"{prod(query_shape)}; use code.keys=binary"
            )
        super().__init__(require_k(k), right, KeyEncoder(k, tuple(query_shape), keys, seed), HeadsDecoder(k))
        self.outputs, self.hidden, self.heads = outputs, hidden, k

    def parity_models(
        self, query_shape: tuple[int, ...], deployed: DeployedModel, fresh: FreshModel
    ) -> list[nn.Module]:
        """Return the parity model and the network that reads each prediction."""
        return [Demultiplexed(fresh(query_shape, heads=self.k), self.k, self.outputs, self.hidden)]
