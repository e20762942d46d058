"""What a scheme must be as plain values, in ``bundle.json`` and in the table of a comparison."""

from pydantic import BaseModel, model_validator
from pydantic_core import PydanticCustomError

from parmtrain.bounds import Count, Whole


class StoredQuorum(BaseModel):
    """A quorum in a file."""

    need: Count
    of: list[Whole]


class StoredScheme(BaseModel):
    """A scheme in a file."""

    k: Count
    n: Count
    systematic: bool
    pools: list[Whole]
    recoverable_from: list[list[StoredQuorum]]

    @model_validator(mode="after")
    def _fits(self) -> "StoredScheme":
        every = [quorum for some in self.recoverable_from for quorum in some]
        coded = self.n - self.k if self.systematic else self.n
        if (
            len(self.recoverable_from) != self.k
            or len(self.pools) != coded
            or any(quorum.need > len(quorum.of) or max(quorum.of) >= self.n for quorum in every)
        ):
            raise PydanticCustomError("scheme", "must have quorums of its n workers for each of its k queries")
        return self
