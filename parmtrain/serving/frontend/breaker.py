"""A circuit breaker: parity models whose outputs are of no use are not asked for a while, and then tried again."""

from collections import deque
from enum import StrEnum
from math import inf

from parmtrain.serving.frontend.limits import Limits

RECENT, FEWEST, HALF = 40, 20, 0.5  # outputs of parity models that are remembered, before it is judged, that may fail
GROUPS = 1000  # encoded groups between two looks at how many reconstructions they gave


class Use(StrEnum):
    """Why groups are not encoded."""

    failing = "failing"  # half of the recent outputs were lost or malformed
    wrong = "wrong"  # hardly any reconstruction is accepted any more, so often do they disagree with F
    unneeded = "unneeded"  # too few queries were answered by them
    replaced = "replaced"  # instances run another deployed model than parity models are for


class Breaker:
    """Say whether groups are encoded: not for some seconds after parity models were found to be of no use.

    After these seconds groups are encoded again; what comes of the next ones decides anew.

    Args:
        limits: How many reconstructions encoding must be worth, and for how long groups are not encoded.

    Attributes:
        why: Why groups are not encoded; None while they are.

    Source: Nygard, Release It! (2nd edition, 2018), chapter 5, Circuit Breaker.

    Example:
        >>> breaker = Breaker(Limits(parity_rest=30.0))
        >>> for _ in range(20):
        ...     breaker.ran(now=1.0, well=False)
        >>> breaker.encodes(2.0), breaker.why.value, breaker.encodes(31.0), breaker.why
        (False, 'failing', True, None)
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.why: Use | None = None
        self._until = -inf
        self._well: deque[bool] = deque(maxlen=RECENT)
        self._groups = self._answered = 0

    @property
    def held(self) -> bool:
        """Whether groups are not encoded until ``hold(False)``."""
        return self.why is Use.replaced

    def hold(self, held: bool) -> None:
        """Have no group encoded, since instances run another deployed model; or go on."""
        self.why, self._until = (Use.replaced, inf) if held else (None, -inf)

    def encodes(self, now: float) -> bool:
        """Return whether groups are encoded now."""
        if self.why is not None and now >= self._until:
            self.why = None
        return self.why is None

    def ran(self, now: float, well: bool) -> None:
        """Take whether a coded query gave an output."""
        self._well.append(well)
        if len(self._well) >= FEWEST and sum(self._well) <= HALF * len(self._well):
            self._open(now, Use.failing)

    def encoded(self, now: float) -> None:
        """Take a group that is encoded."""
        self._groups += 1
        if self._groups >= GROUPS:
            if self._answered < self.limits.parity_worth * self._groups:
                self._open(now, Use.unneeded)
            self._groups = self._answered = 0

    def answered(self) -> None:
        """Take a query that was answered by a reconstruction."""
        self._answered += 1

    def distrusted(self, now: float) -> None:
        """Take that hardly any reconstruction is accepted any more."""
        self._open(now, Use.wrong)

    def _open(self, now: float, why: Use) -> None:
        if self.held:
            return
        self.why, self._until = why, now + self.limits.parity_rest
        self._well.clear()
        self._groups = self._answered = 0
