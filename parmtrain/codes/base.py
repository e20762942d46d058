"""What a code is: an encoder, a target for the parity models and a decoder."""

from collections.abc import Callable
from math import prod

import torch
from torch import Tensor, nn

from parmtrain.errors import UnsupportedError


class Code(nn.Module):
    """One way of coding k queries into r parity queries and of rebuilding predictions that are missing.

    A coding group of k queries is answered by n = k + r workers, always named in this order: the k that run the
    deployed model on the queries themselves, then the r that run a parity model on one parity query each. Whatever
    they return is one tensor of worker outputs ``[g, n, c]``, and who returned in time is a mask ``[g, n]``.

    A code is a module, so an encoder or a decoder that has parameters is moved, trained and saved with the parity
    models; those of the classical codes have none. A new code is a subclass that names its two halves and its target.

    Args:
        k: Queries in a coding group, 2 or more.
        r: Parity queries made of them, 1 or more.
        encoder: Module that maps queries ``[g, k, *query]`` to parity queries ``[g, r, *parity]``.
        decoder: Module that maps worker outputs ``[g, n, c]`` and the mask of those that arrived ``[g, n]`` (bool) to
            predictions ``[g, k, c]``: a prediction that arrived passes unchanged, a missing one is rebuilt, and one
            that cannot be rebuilt is NaN, never a number. Outputs that did not arrive are never read: they may be NaN.

    Raises:
        UnsupportedError: If k or r cannot be taken.

    Source: Kosaian et al., ParM (SOSP'19), sections 3.1 and 3.2.
    """

    def __init__(self, k: int, r: int, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        if k < 2:
            raise UnsupportedError(f"k={k}: a coding group has 2 queries or more")
        if r < 1:
            raise UnsupportedError(f"r={r}: a coding group has 1 parity query or more")
        self.k, self.r = k, r
        self.encoder, self.decoder = encoder, decoder

    @property
    def name(self) -> str:
        """What the field calls this code."""
        return type(self).__name__.lower()

    @property
    def n(self) -> int:
        """Workers that answer one coding group."""
        return self.k + self.r

    def parity_shape(self, query_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of one parity query made of queries of ``query_shape``.

        Raises:
            UnsupportedError: If the code cannot take such queries.
        """
        return query_shape

    def target(self, predictions: Tensor) -> Tensor:
        """Return what the parity models ought to output ``[g, r, c]``, given the predictions ``[g, k, c]``."""
        raise NotImplementedError

    def encode(self, queries: Tensor) -> Tensor:
        """Encode queries ``[g, k, *query]`` into parity queries ``[g, r, *parity]``."""
        parity: Tensor = self.encoder(queries)
        return parity

    def decode(self, outputs: Tensor, arrived: Tensor) -> Tensor:
        """Return predictions ``[g, k, c]`` from the worker outputs ``[g, n, c]`` that ``arrived`` ``[g, n]``."""
        predictions: Tensor = self.decoder(outputs, arrived)
        return predictions

    def cost(self, query_shape: tuple[int, ...]) -> dict[str, float]:
        """Return what the code costs beside the k predictions that it protects.

        ``parity_bytes`` is the size of a parity query ÷ the size of a query; ``extra_workers`` is r/k.
        """
        return {
            "parity_bytes": prod(self.parity_shape(query_shape)) / prod(query_shape),
            "extra_workers": self.r / self.k,
        }


def reconstruct_each(decode: Callable[[Tensor, Tensor], Tensor], outputs: Tensor, k: int) -> Tensor:
    """Reconstruct every prediction of a group as if it alone had not arrived.

    Args:
        decode: Maps worker outputs ``[g, n, c]`` and who arrived ``[g, n]`` to predictions ``[g, k, c]``. It is given
            NaN in the place of the output that is missing.
        outputs: Worker outputs ``[g, n, c]``, all of them.
        k: Queries in a group.

    Returns:
        Reconstructed predictions ``[g, k, c]``; entry i was decoded without output i.

    Example:
        >>> from parmtrain.codes import Sum
        >>> a, b = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 2.0])
        >>> reconstruct_each(Sum(k=2).decode, torch.stack([a, b, a + b])[None], k=2)
        tensor([[[1., 0.],
                 [0., 2.]]])
    """
    groups, workers, outputs_each = outputs.shape
    arrived = ~torch.eye(k, workers, dtype=torch.bool, device=outputs.device)
    erased = outputs[:, None].masked_fill(~arrived[None, :, :, None], torch.nan)
    decoded = decode(erased.flatten(0, 1), arrived.repeat(groups, 1))
    return decoded.view(groups, k, k, outputs_each).diagonal(dim1=1, dim2=2).transpose(1, 2)
