"""Servers that run another deployed model than the bundle is for: nothing is encoded while there are any."""

import logging
from collections.abc import Callable

from parmtrain.serving.fleet.endpoints import Endpoint

log = logging.getLogger(__name__)


class Replaced:
    """Remember which servers of the deployed model run another one, as they state it with every answer.

    A reconstruction from outputs of two deployed models, or from a parity model for another one, would be wrong without
    anybody noticing. So the first answer of another model stops encoding and decoding before it is used.

    Args:
        hold: Called with whether there are such servers, each time that this changes.

    Example:
        >>> replaced, server = Replaced(print), Endpoint("http://a:9000", "deployed")
        >>> replaced.hear(server, "another")
        True
        >>> replaced.hear(server, None)
        False
    """

    def __init__(self, hold: Callable[[bool], None]) -> None:
        self.hold = hold
        self._others: dict[Endpoint, str] = {}

    def hear(self, endpoint: Endpoint, other: str | None) -> None:
        """Take which other model a server runs; None if it runs that of the bundle, or is not used."""
        if self._others.get(endpoint) == other:
            return
        before = bool(self._others)
        self._others.pop(endpoint, None)
        if other is not None:
            self._others[endpoint] = other
            log.warning("%s runs another deployed model than the bundle is for: nothing is encoded", endpoint)
        if before != bool(self._others):
            self.hold(not before)
            if before:
                log.warning("every server runs the deployed model of the bundle: groups are encoded again")
