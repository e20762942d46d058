"""Which reconstructions are sent: those whose confidence reaches a threshold, and what becomes of the others."""

from collections.abc import Sequence
from enum import StrEnum

from parmtrain.errors import ConfigError


class Below(StrEnum):
    """What becomes of a query whose reconstruction is below the threshold. It is kept for want of anything better."""

    wait = "wait"  # for F's own prediction
    hedge = "hedge"  # the query is sent again at once
    send = "send"  # the reconstruction is sent, marked as uncertain


class Acceptance:
    """Accept reconstructions by their confidence.

    Args:
        thresholds: The least confidence with one, two, … late workers; none accepts everything.
        below: What becomes of queries whose reconstructions are not accepted.
        partial: Whether reconstructions of groups that are not full are accepted alike.

    Attributes:
        raised: By how much more confidence is asked for than the thresholds say, as the share of what they leave to 1.

    Example:
        >>> acceptance = Acceptance([0.8])
        >>> acceptance.accepts(0.9, late=1), acceptance.accepts(0.7, late=2)
        (True, False)
        >>> acceptance.raised = 0.75
        >>> acceptance.accepts(0.9, late=1), acceptance.accepts(0.96, late=1)
        (False, True)
    """

    def __init__(self, thresholds: Sequence[float] = (), below: str = Below.wait, partial: bool = False) -> None:
        if below not in list(Below):
            raise ConfigError([f"below must be {', '.join(Below)}, got {below}"])
        self.thresholds, self.below, self.raised = list(thresholds), Below(below), 0.0
        self.partial = partial or not thresholds

    def threshold(self, late: int) -> float:
        """Return the least confidence that is accepted with some number of late workers, from 1."""
        given = self.stated(late)
        return given if given >= 1 else given + self.raised * (1 - given)

    def stated(self, late: int) -> float:
        """Return what validation stated as the least confidence, however much it is raised."""
        return self.thresholds[min(max(late, 1), len(self.thresholds)) - 1] if self.thresholds else 0.0

    def accepts(self, confidence: float, late: int) -> bool:
        """Return whether a reconstruction is accepted."""
        return confidence >= self.threshold(late)
