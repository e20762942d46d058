"""What codes share that are built on another: its encoder and its parity model, with a decoder of their own."""

from functools import partial
from typing import ClassVar

from torch import nn

from parmtrain.codes.base import Code, FreshModel, only
from parmtrain.deployed import DeployedModel


class BuiltOn(Code):
    """A code with the encoder of another, and one parity query a group.

    Args:
        code: The other code.
        decoder: As ``Code`` takes it.
        heads: Predictions that one output of the parity model holds.

    Attributes:
        suffix: What is different, as a part of its name.
        why: What a refusal of more parity queries says.

    Raises:
        UnsupportedError: If the other code makes another number of parity queries.
    """

    suffix: ClassVar[str]
    why: ClassVar[str]

    def __init__(self, code: Code, decoder: nn.Module, heads: int = 1) -> None:
        super().__init__(code.k, only(f"{code.name}_{self.suffix}", code.r, 1, self.why), code.encoder, decoder)
        self.inner, self.heads = code, heads

    @property
    def name(self) -> str:
        """The other code's name and what is different."""
        return f"{self.inner.name}_{self.suffix}"

    def parity_shape(self, query_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the other code's parity query."""
        return self.inner.parity_shape(query_shape)

    def parity_models(
        self, query_shape: tuple[int, ...], deployed: DeployedModel, fresh: FreshModel
    ) -> list[nn.Module]:
        """Return the other code's parity model, with an output for each of the heads."""
        return self.inner.parity_models(query_shape, deployed, partial(fresh, heads=self.heads))
