"""Base class of codes that combine the encoder and parity model of another code with their own decoder."""

from functools import partial
from typing import ClassVar

from torch import nn

from parmtrain.codes.base import Code, FreshModel, require_r
from parmtrain.deployed import DeployedModel


class DerivedCode(Code):
    """A code with the encoder of another code, and one parity query per group.

    Args:
        code: The other code.
        decoder: Decoder, as for ``Code``.
        heads: Number of predictions in one output of the parity model.

    Attributes:
        suffix: Suffix of the name.
        reason: Why r must be 1, for the error message.

    Raises:
        UnsupportedError: If the other code does not make exactly one parity query per group.
    """

    suffix: ClassVar[str]
    reason: ClassVar[str]

    def __init__(self, code: Code, decoder: nn.Module, heads: int = 1) -> None:
        super().__init__(code.k, require_r(f"{code.name}_{self.suffix}", code.r, 1, self.reason), code.encoder, decoder)
        self.inner, self.heads = code, heads

    @property
    def name(self) -> str:
        """Name of the other code with the suffix."""
        return f"{self.inner.name}_{self.suffix}"

    def parity_shape(self, query_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the other code's parity query."""
        return self.inner.parity_shape(query_shape)

    def parity_models(
        self, query_shape: tuple[int, ...], deployed: DeployedModel, fresh: FreshModel
    ) -> list[nn.Module]:
        """Return the other code's parity model, with one output per head."""
        return self.inner.parity_models(query_shape, deployed, partial(fresh, heads=self.heads))
