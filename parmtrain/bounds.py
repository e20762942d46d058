"""Bounds of numbers, in one wording: for arguments in a configuration, settings of commands, and codes."""

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from math import isinf, isnan
from typing import Annotated, Any, TypeVar

from annotated_types import MinLen
from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

T = TypeVar("T")


@dataclass(frozen=True)
class Bounds:
    """What a number must be.

    Args:
        above: Exclusive lower bound.
        least: Inclusive lower bound.
        most: Inclusive upper bound.
        integer: Whether it must be an integer.
        infinite: Whether it may be infinite.
    """

    above: float | None = None
    least: float | None = None
    most: float | None = None
    integer: bool = False
    infinite: bool = False

    def wrong(self, value: Any) -> str | None:
        """Return what a value must be and is not; None if it is within the bounds.

        Example:
            >>> Bounds(least=1, integer=True).wrong(0), Bounds(least=0, most=1).wrong(2), Bounds(above=0).wrong(0.5)
            ('must be an integer of 1 or more', 'must be from 0 to 1', None)
        """
        if not isinstance(value, int | float) or isinstance(value, bool):
            return self._words if self.integer else "must be a number"
        if isnan(value):
            return "must be a number"
        if isinf(value) and not self.infinite:
            return "must be a finite number"
        low = (self.above is None or value > self.above) and (self.least is None or value >= self.least)
        high = self.most is None or value <= self.most
        return None if low and high and (isinstance(value, int) or not self.integer) else self._words

    @property
    def _words(self) -> str:
        kind = "an integer " if self.integer else ""
        if self.above is not None:
            end = "" if self.most is None else f" and {self.most:.15g} or less"
            return f"must be {kind}more than {self.above:.15g}{end}"
        if self.least is None:
            return f"must be {kind or 'a number '}".rstrip()
        if self.most is not None:
            return f"must be {kind}from {self.least:.15g} to {self.most:.15g}"
        return f"must be {kind}{'of ' if self.integer else ''}{self.least:.15g} or more"


def bounded(bounds: Bounds) -> AfterValidator:
    """Return a check of bounds, to annotate an argument.

    Example:
        >>> from typing import Annotated
        >>> Count = Annotated[int, bounded(Bounds(least=1))]
    """

    def within(value: Any) -> Any:
        wrong = bounds.wrong(value)
        if wrong is not None:
            raise PydanticCustomError("bounds", wrong)
        return value

    return AfterValidator(within)


Count = Annotated[int, bounded(Bounds(least=1))]
"""An integer of 1 or more."""
Whole = Annotated[int, bounded(Bounds(least=0))]
"""An integer of 0 or more."""
Finite = Annotated[float, bounded(Bounds())]
"""A number that is neither NaN nor infinite."""
Positive = Annotated[float, bounded(Bounds(above=0))]
"""A finite number above 0."""
NotNegative = Annotated[float, bounded(Bounds(least=0))]
"""A finite number of 0 or more."""
Share = Annotated[float, bounded(Bounds(least=0, most=1))]
"""A number from 0 to 1."""
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
"""A name of letters, digits, dots, dashes and underscores, which may be a part of a file name."""
Some = Annotated[Sequence[T], MinLen(1)]
"""A list of 1 or more values."""


def twice(values: Iterable[Hashable]) -> Any | None:
    """Return the first value that occurs again; None if all differ.

    Example:
        >>> twice([1, 2, 1]), twice("ab")
        (1, None)
    """
    seen = set()
    for value in values:
        if value in seen:
            return value
        seen.add(value)
    return None


def require(name: str, value: Any, bounds: Bounds, error: Callable[[str], Exception]) -> None:
    """Raise an error unless a value is within its bounds.

    Args:
        name: Name of the value in the message.
        value: The value.
        bounds: Its bounds.
        error: Makes the error from the message.
    """
    wrong = bounds.wrong(value)
    if wrong is not None:
        raise error(f"{name} {wrong}, got {value}")
