"""What a code is: an encoder, the models that run what it made, and a decoder."""

import re
from collections.abc import Callable, Sequence
from functools import cached_property
from math import prod
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from parmtrain.codes.erasures import arrivals
from parmtrain.deployed import DeployedModel
from parmtrain.errors import UnsupportedError

MOST_TRAINED_FOR = 128


class FreshModel(Protocol):
    """Builds a parity model, as the configuration says it starts."""

    def __call__(self, shape: tuple[int, ...], heads: int = 1) -> nn.Module:
        """Return a model that maps parity queries ``[b, *shape]`` to ``heads`` predictions behind one another."""


class Code(nn.Module):
    """One way of coding k queries so that predictions which are late or lost can be rebuilt.

    A coding group of k queries is answered by n = k + r workers. Most codes are *systematic*: the first k workers run
    the deployed model on the queries themselves, then r run a parity model on one parity query each. The others send a
    coded query to every worker, and all n run the deployed model. Whatever the workers return, in that order, is one
    tensor of worker outputs ``[g, n, c]``, and who returned in time is a mask ``[g, n]``.

    A code is a module, so an encoder or a decoder that has parameters is moved, trained and saved with the parity
    models; those of the classical codes have none. A new code is a subclass that hands its two halves to this class and
    overrides what it does otherwise.

    Args:
        k: Queries in a coding group, 2 or more.
        r: Extra workers, 0 or more.
        encoder: Module that maps queries ``[g, k, *query]`` to coded queries ``[g, coded, *parity]``.
        decoder: Module that maps worker outputs ``[g, n, c]`` and the mask of those that arrived ``[g, n]`` (bool) to
            predictions ``[g, k, c]``: one that cannot be rebuilt is NaN, never a number. Outputs that did not arrive
            are never read: they may be NaN.

    Attributes:
        systematic: Whether the deployed model runs the queries themselves.
        heads: Predictions that one output of a parity model holds.

    Raises:
        UnsupportedError: If k or r cannot be taken.

    Source: Kosaian et al., ParM (SOSP'19), sections 3.1 and 3.2.
    """

    systematic: ClassVar[bool] = True
    heads: int = 1

    def __init__(self, k: int, r: int, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        if k < 2:
            raise UnsupportedError(f"k={k}: a coding group has 2 queries or more")
        if r < 0:
            raise UnsupportedError(f"r={r}: a coding group has no fewer than 0 extra workers")
        self.k, self.r = k, r
        self.encoder, self.decoder = encoder, decoder

    @property
    def name(self) -> str:
        """What the field calls this code."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(self).__name__).lower()

    @property
    def n(self) -> int:
        """Workers that answer one coding group."""
        return self.k + self.r

    @property
    def coded(self) -> int:
        """Coded queries that are made of one group."""
        return self.r if self.systematic else self.n

    @property
    def stragglers(self) -> int:
        """Workers of a group, whichever they are, that may all be late while every prediction can still be given."""
        return self.r

    def parity_shape(self, query_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of one coded query made of queries of ``query_shape``.

        Raises:
            UnsupportedError: If the code cannot take such queries.
        """
        return query_shape

    def parity_models(
        self, query_shape: tuple[int, ...], deployed: DeployedModel, fresh: FreshModel
    ) -> list[nn.Module]:
        """Return the models that run the coded queries: one for each, in their order, or one that runs them all.

        Args:
            query_shape: Shape of one query.
            deployed: The deployed model, for codes that need no other.
            fresh: Builds a model that is to be trained.
        """
        return [fresh(self.parity_shape(query_shape)) for _ in range(self.r)]

    @property
    def fits(self) -> bool:
        """Whether there is anything to choose without gradients."""
        return type(self).fit is not Code.fit

    def fit(self, deployed: DeployedModel, queries: Tensor, labels: Tensor) -> None:
        """Choose what is chosen without gradients, on groups of training queries alone; most codes choose nothing.

        Args:
            deployed: The deployed model.
            queries: ``[g, k, *query]``, prepared for the deployed model.
            labels: ``[g, k]``.
        """

    def target(self, predictions: Tensor) -> Tensor:
        """Return what the parity models ought to output ``[g, r, c]``, given the predictions ``[g, k, c]``.

        Raises:
            UnsupportedError: If the code asks nothing of them but what the decoder makes of it.
        """
        raise UnsupportedError(
            f"code={self.name} has no target for the output of a parity model; loss=kl, loss=decoded_mse and "
            "loss=cross_entropy look at decoded predictions"
        )

    @cached_property
    def erasures(self) -> Tensor:
        """The cases of who arrives ``[p, n]`` that are trained for: each choice of u missing queries and u coded ones.

        With u from 1 to r, these are the cases in which nothing that arrived is to spare; where there are very many,
        some of them, drawn once.
        """
        cases = []
        for missing in range(1, min(self.r, self.k) + 1):
            queries = arrivals(self.k, missing)
            coded = arrivals(self.r, self.r - missing)
            cases.append(torch.cat([queries.repeat_interleave(len(coded), 0), coded.repeat(len(queries), 1)], 1))
        every = torch.cat(cases) if cases else torch.ones(0, self.n, dtype=torch.bool)
        if len(every) <= MOST_TRAINED_FOR:
            return every
        return every[torch.randperm(len(every), generator=torch.Generator().manual_seed(0))[:MOST_TRAINED_FOR]]

    def encode(self, queries: Tensor) -> Tensor:
        """Encode queries ``[g, k, *query]`` into coded queries ``[g, coded, *parity]``."""
        coded: Tensor = self.encoder(queries)
        return coded

    def gather(self, predictions: Tensor, coded_outputs: Tensor) -> Tensor:
        """Put worker outputs ``[g, n, c]`` together.

        Args:
            predictions: The deployed model's own ``[g, k, c]``, which a code that is not systematic does not ask for.
            coded_outputs: Outputs for the coded queries ``[g, coded, heads·c]``.
        """
        return worker_outputs(predictions, coded_outputs, self.systematic)

    def decode(self, outputs: Tensor, arrived: Tensor) -> Tensor:
        """Return predictions ``[g, k, c]`` from the worker outputs ``[g, n, c]`` that ``arrived`` ``[g, n]``."""
        predictions: Tensor = self.decoder(outputs, arrived)
        return predictions

    def cost(self, query_shape: tuple[int, ...]) -> dict[str, float]:
        """Return what the code costs beside the k predictions that it protects.

        ``extra_workers`` is r/k: workers for each query beyond its own. ``parity_bytes`` is how many bytes a group
        sends to workers beyond its k queries ÷ the bytes of one query.
        """
        size = prod(self.parity_shape(query_shape)) / prod(query_shape)
        beyond = 0 if self.systematic else self.k
        return {"extra_workers": self.r / self.k, "parity_bytes": self.coded * size - beyond}


def worker_outputs(predictions: Tensor, coded_outputs: Tensor, systematic: bool) -> Tensor:
    """Put worker outputs ``[g, n, w]`` together, of predictions ``[g, k, c]`` and outputs ``[g, coded, w]``.

    Where coded outputs are longer than a prediction, zeros follow on each prediction.

    Example:
        >>> worker_outputs(torch.ones(1, 2, 1), torch.ones(1, 1, 2), systematic=True)
        tensor([[[1., 0.],
                 [1., 0.],
                 [1., 1.]]])
    """
    if not systematic:
        return coded_outputs
    if not coded_outputs.size(1):
        return predictions
    longer = coded_outputs.size(2) - predictions.size(2)
    return torch.cat([pad(predictions, (0, longer)) if longer else predictions, coded_outputs], dim=1)


def run_coded(models: Sequence[Callable[[Tensor], Tensor]], coded_queries: Tensor) -> Tensor:
    """Run coded queries ``[g, coded, *parity]`` through their models to outputs ``[g, coded, c]``.

    Args:
        models: One for each coded query, or one that runs them all; each maps ``[b, *parity]`` to ``[b, c]``.
        coded_queries: In the order of the models.

    Example:
        >>> run_coded([nn.Linear(4, 3)], torch.rand(5, 2, 4)).shape
        torch.Size([5, 2, 3])
    """
    groups, coded = coded_queries.shape[:2]
    if coded == 0:
        return coded_queries.new_empty(groups, 0, 0)
    if len(models) == 1:
        outputs: Tensor = models[0](coded_queries.flatten(0, 1)).unflatten(0, (groups, coded))
        return outputs
    return torch.stack([model(coded_queries[:, j]) for j, model in enumerate(models)], dim=1)


def only(name: str, r: int | None, right: int, why: str) -> int:
    """Return the one r that a code can have, which is also what it has where none is asked for.

    Raises:
        UnsupportedError: If another was asked for.

    Example:
        >>> only("sum", None, 1, "makes one parity query a group"), only("sum", 1, 1, "makes one parity query a group")
        (1, 1)
    """
    if r not in (None, right):
        raise UnsupportedError(f"r={r}: code={name} {why}; r={right} is right")
    return right


def at_least_one(r: int) -> int:
    """Return r.

    Raises:
        UnsupportedError: If it is under 1.
    """
    if r < 1:
        raise UnsupportedError(f"r={r}: a coding group has 1 extra worker or more")
    return r
