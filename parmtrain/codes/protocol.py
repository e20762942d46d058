"""The common interface of encoders and decoders: a code, a module in training, an exported bundle."""

from typing import Protocol

from torch import Tensor


class Coder(Protocol):
    """Encodes queries and decodes worker outputs.

    Shapes: g groups of k queries, n workers per group, some of which run coded queries, c outputs in a prediction, w
    elements in a worker output.
    """

    @property
    def k(self) -> int:
        """Queries in a coding group."""

    @property
    def n(self) -> int:
        """Workers per coding group."""

    @property
    def systematic(self) -> bool:
        """Whether the deployed model runs the queries themselves."""

    @property
    def stragglers(self) -> int:
        """Number of stragglers, whichever they are, that a group tolerates."""

    def encode(self, queries: Tensor) -> Tensor:
        """Map queries ``[g, k, *query]`` to coded queries ``[g, coded, *parity]``."""

    def gather(self, predictions: Tensor, coded_outputs: Tensor) -> Tensor:
        """Combine predictions ``[g, k, c]`` and coded outputs ``[g, coded, w]`` into worker outputs ``[g, n, w]``."""

    def decode(self, outputs: Tensor, arrived: Tensor) -> Tensor:
        """Map worker outputs ``[g, n, w]`` and ``arrived`` ``[g, n]`` (bool) to predictions ``[g, k, c]``."""


class CodedPredictor(Coder, Protocol):
    """A coder with the models that run its coded queries."""

    def predict(self, coded_queries: Tensor) -> Tensor:
        """Map coded queries ``[g, coded, *parity]`` to outputs ``[g, coded, w]``."""
