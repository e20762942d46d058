"""Base class of codes: an encoder, the models that run its coded queries, and a decoder."""

import re
from collections.abc import Callable
from functools import cached_property
from math import prod
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from parmtrain.codes.erasures import arrivals
from parmtrain.codes.workers import worker_outputs
from parmtrain.deployed import DeployedModel
from parmtrain.errors import InputError, UnsupportedError
from parmtrain.metrics.measures import Measures

MOST_TRAINED_FOR, LARGEST_K = 128, 1000  # the matrices of codes grow with the square of k


class FreshModel(Protocol):
    """Builds a parity model with the initial weights that the configuration selects."""

    def __call__(
        self, shape: tuple[int, ...], heads: int = 1, model: Callable[..., nn.Module] | None = None, **more: Any
    ) -> nn.Module:
        """Return a model that maps parity queries ``[b, *shape]`` to ``heads`` concatenated predictions.

        Args:
            shape: Shape of one parity query.
            heads: Number of predictions in one output.
            model: Builds the architecture from ``query_shape``, ``outputs`` and ``more``; None for the configured one.
            more: Further arguments of ``model``.
        """


class Code(nn.Module):
    """Encode k queries so that predictions that are late or lost can be reconstructed.

    A coding group of k queries is served by n = k + r workers. Most codes are *systematic*: the first k workers run the
    deployed model on the queries themselves, and the other r run parity models on one parity query each. Other codes
    send a coded query to every worker, and all n workers run the deployed model. The outputs of the workers, in that
    order, form a tensor ``[g, n, c]``; a mask ``[g, n]`` marks those that arrived in time.

    A code is a module, so an encoder or a decoder with parameters is moved, trained and saved with the parity models.
    To add a code, pass its encoder and decoder to this class in a subclass, and override methods where it differs.

    Args:
        k: Queries in a coding group, 2 or more.
        r: Extra workers per group, 0 or more.
        encoder: Module that maps queries ``[g, k, *query]`` to coded queries ``[g, coded, *parity]``.
        decoder: Module that maps worker outputs ``[g, n, c]`` and the mask of those that arrived ``[g, n]`` (bool) to
            predictions ``[g, k, c]``. Predictions that cannot be reconstructed must be NaN. Outputs that did not arrive
            may be NaN and must not affect the result.

    Attributes:
        systematic: Whether the deployed model runs the queries themselves.
        heads: Number of predictions in one output of a parity model.
        independent: Whether a coded output predicts each query without regard to the others, present or not.

    Raises:
        UnsupportedError: If k or r is not supported.

    Source: Kosaian et al., ParM (SOSP'19), sections 3.1 and 3.2.
    """

    systematic: ClassVar[bool] = True
    independent: ClassVar[bool] = False
    heads: int = 1
    remark: str = ""  # what a user should know of the parity models that it chose

    def __init__(self, k: int, r: int, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.k, self.r = require_k(k), require_extra(r, least=0)
        self.encoder, self.decoder = encoder, decoder

    @property
    def name(self) -> str:
        """Name of the code: its class name in snake case."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(self).__name__).lower()

    @property
    def label(self) -> str:
        """Name of the code in results: where options share a class, the option's."""
        return self.name

    @property
    def n(self) -> int:
        """Workers per coding group."""
        return self.k + self.r

    @property
    def num_coded(self) -> int:
        """Coded queries per group."""
        return self.r if self.systematic else self.n

    @property
    def stragglers(self) -> int:
        """Number of stragglers, whichever they are, that a group tolerates with every prediction still available."""
        return self.r

    def parity_shape(self, query_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of one coded query for queries of ``query_shape``.

        Raises:
            UnsupportedError: If the code does not support such queries.
        """
        return query_shape

    def parity_models(
        self, query_shape: tuple[int, ...], deployed: DeployedModel, fresh: FreshModel
    ) -> list[nn.Module]:
        """Return the models that run the coded queries: one per coded query, in order, or one for all of them.

        Args:
            query_shape: Shape of one query.
            deployed: The deployed model, for codes that run it on coded queries.
            fresh: Builds a parity model to train.
        """
        return [fresh(self.parity_shape(query_shape)) for _ in range(self.r)]

    @property
    def fits(self) -> bool:
        """Whether ``fit`` chooses anything."""
        return type(self).fit is not Code.fit

    def fit(self, deployed: DeployedModel, queries: Tensor, labels: Tensor, measures: Measures) -> None:
        """Choose settings without gradients, on groups of training queries only; does nothing for most codes.

        Args:
            deployed: The deployed model.
            queries: Queries ``[g, k, *query]``.
            labels: Labels ``[g, k]`` or ``[g, k, l]``.
            measures: The kind of predictions, and the measures that score them.
        """

    def target(self, predictions: Tensor) -> Tensor:
        """Return the target of the parity outputs ``[g, r, c]`` for the predictions ``[g, k, c]``.

        Raises:
            UnsupportedError: If the code has no such target and is trained only on decoded predictions.
        """
        raise UnsupportedError(
            f"code={self.name} has no target for the output of a parity model; use loss=kl, loss=decoded_mse or "
            "loss=cross_entropy, which compare decoded predictions"
        )

    @cached_property
    def erasures(self) -> Tensor:
        """Arrival patterns ``[p, n]`` for training: every choice of u missing predictions and u coded outputs.

        For u from 1 to r, these are the patterns in which the decoder needs every output that arrived. If there are too
        many, a fixed random sample of them is used.
        """
        cases = []
        for missing in range(1, min(self.r, self.k) + 1):
            queries, coded = arrivals(self.k, missing), arrivals(self.r, self.r - missing)
            cases.append(torch.cat([queries.repeat_interleave(len(coded), 0), coded.repeat(len(queries), 1)], 1))
        every = torch.cat(cases) if cases else torch.ones(0, self.n, dtype=torch.bool)
        some = torch.randperm(len(every), generator=torch.Generator().manual_seed(0))[:MOST_TRAINED_FOR]
        return every if len(every) <= MOST_TRAINED_FOR else every[some]

    @property
    def missing(self) -> Tensor:
        """Missing predictions in each of these arrival patterns ``[p, k]`` (bool)."""
        return ~self.erasures[:, : self.k]

    def encode(self, queries: Tensor) -> Tensor:
        """Encode queries ``[g, k, *query]`` into coded queries ``[g, coded, *parity]``.

        Raises:
            InputError: If there are not k queries in a group.
        """
        if not isinstance(queries, Tensor) or not queries.is_floating_point():
            given = queries.dtype if isinstance(queries, Tensor) else type(queries).__name__
            raise InputError(f"queries must be floating-point tensors, as the deployed model takes them, got {given}")
        if queries.dim() < 3 or queries.size(1) != self.k:
            raise InputError(f"queries must have shape [g, {self.k}, *query], got {list(queries.shape)}")
        coded: Tensor = self.encoder(queries)
        return coded

    def gather(self, predictions: Tensor, coded_outputs: Tensor) -> Tensor:
        """Combine predictions and coded outputs into worker outputs ``[g, n, c]``.

        Args:
            predictions: The deployed model's own predictions ``[g, k, c]``; unused if the code is not systematic.
            coded_outputs: Outputs for the coded queries ``[g, coded, heads·c]``.
        """
        return worker_outputs(predictions, coded_outputs, self.systematic)

    def decode(self, outputs: Tensor, arrived: Tensor) -> Tensor:
        """Decode the worker outputs ``[g, n, c]`` that ``arrived`` ``[g, n]`` (bool) to predictions ``[g, k, c]``.

        Raises:
            InputError: If there are not n outputs in a group, or ``arrived`` has another shape or type.
        """
        if outputs.dim() != 3 or outputs.size(1) != self.n:
            raise InputError(f"outputs must have shape [g, {self.n}, c], got {list(outputs.shape)}")
        if arrived.shape != outputs.shape[:2] or arrived.dtype is not torch.bool:
            given = f"{arrived.dtype} of shape {list(arrived.shape)}"
            raise InputError(f"arrived must be bool of shape {list(outputs.shape[:2])}, got {given}")
        predictions: Tensor = self.decoder(outputs, arrived)
        return predictions

    def cost(self, query_shape: tuple[int, ...]) -> dict[str, float]:
        """Return the cost of the code beyond serving k queries without redundancy.

        ``extra_workers`` is r/k, the extra workers per query. ``parity_bytes`` is the number of bytes that a group
        sends to workers beyond its k queries, divided by the bytes of one query.
        """
        size = prod(self.parity_shape(query_shape)) / prod(query_shape)
        beyond = 0 if self.systematic else self.k
        return {"extra_workers": self.r / self.k, "parity_bytes": self.num_coded * size - beyond}


def require_k(k: int) -> int:
    """Return k, the queries in a coding group.

    Raises:
        UnsupportedError: If k is less than 2 or more than 1000.
    """
    if not isinstance(k, int) or not 2 <= k <= LARGEST_K:
        raise UnsupportedError(f"k must be from 2 to {LARGEST_K} queries in a coding group, got {k}")
    return k


def require_r(name: str, r: int | None, only: int, why: str) -> int:
    """Return the only r that a code supports, which is also its default.

    Raises:
        UnsupportedError: If another r is given.

    Example:
        >>> require_r("sum", None, 1, "makes one parity query per group")
        1
    """
    if r not in (None, only):
        raise UnsupportedError(f"code={name} {why}: r must be {only}, got {r}")
    return only


def require_extra(r: int, least: int = 1) -> int:
    """Return r, the extra workers per coding group.

    Raises:
        UnsupportedError: If r is less than ``least``.
    """
    if not isinstance(r, int) or r < least:
        raise UnsupportedError(f"r must be {least} or more extra workers per coding group, got {r}")
    return r
