"""What the parts of a frontend share."""

from collections import Counter
from dataclasses import dataclass

from parmtrain.codes.scheme import Scheme
from parmtrain.serving.frontend.breaker import Breaker
from parmtrain.serving.frontend.limits import Limits
from parmtrain.serving.frontend.pools import Pools
from parmtrain.serving.frontend.waiting import Waiting


@dataclass(frozen=True)
class Parts:
    """What the parts of a frontend share.

    Args:
        scheme: The scheme of the code.
        limits: Time limits and bounds.
        pools: The instances.
        waiting: The queries that wait for an answer.
        breaker: Whether encoding is of use.
        counts: Number of events, as ``COUNTS`` names them.
    """

    scheme: Scheme
    limits: Limits
    pools: Pools
    waiting: Waiting
    breaker: Breaker
    counts: Counter[str]
