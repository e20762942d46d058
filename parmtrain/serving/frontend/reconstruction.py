"""Reconstructions: when they are decoded, which are sent, and what becomes of the others."""

from typing import Any

from parmtrain.serving.frontend.acceptance import Acceptance, Below
from parmtrain.serving.frontend.events import Action, Compare, Decode, Group, Guess, Kind, Query, Reason
from parmtrain.serving.frontend.failures import Failures
from parmtrain.serving.frontend.hedging import Hedging
from parmtrain.serving.frontend.parts import Parts


class Reconstruction:
    """Ask for predictions that can be decoded, and send those that are accepted.

    Args:
        parts: What the parts of the frontend share.
        acceptance: Which reconstructions are sent.
        failures: What is known of jobs that failed.
        hedging: Sends queries again.
    """

    def __init__(self, parts: Parts, acceptance: Acceptance, failures: Failures, hedging: Hedging) -> None:
        self.parts, self.acceptance, self.failures, self.hedging = parts, acceptance, failures, hedging
        self._audits = 0

    def of_group(self, now: float, group: Group) -> list[Action]:
        """Ask for the predictions that the outputs of a group give, of queries that waited long enough for F's own."""
        actions: list[Action] = []
        if group.closed and group.waits:
            given = self.parts.scheme.recoverable(group.arrived)
            for query in group.queries:
                if given >> query.position & 1 and now - query.at >= self.parts.limits.reconstruct_after:
                    actions += self._asked(query)
        return actions

    def of_query(self, query: Query) -> list[Action]:
        """Ask for the prediction of a query, if the outputs of its group give it."""
        group = query.group
        given = group.closed and self.parts.scheme.recoverable(group.arrived) >> query.position & 1
        return self._asked(query) if given else []

    def _asked(self, query: Query) -> list[Action]:
        """Ask for a prediction, once for each query: a promise holds for one look at what is accepted."""
        group = query.group
        if query.answered or query.asked:
            return []
        query.asked = True
        return [Decode(query, tuple(group.outputs), group.arrived, query.payload, len(group.queries))]

    def decoded(self, now: float, decode: Decode, prediction: Any, confidence: float) -> list[Action]:
        """Send a decoded prediction, or keep it if there is not enough confidence in it; None cannot be kept."""
        query, group, guess = decode.query, decode.query.group, None
        if prediction is not None:
            guess = Guess(prediction, confidence, self._late(decode))
        if decode.own is not None:
            return [] if guess is None else [Compare(group, query.position, guess, decode.own, audit=True)]
        if query.answered:
            return []
        query.judged, query.guess = True, guess
        if guess is not None and self._accepts(group, guess):
            self.parts.breaker.answered()
            answer = self.parts.waiting.answer(query, Kind.reconstructed, prediction, confidence=confidence)
            return [answer, *self.failures.given_up(group)]
        self.parts.counts["undecodable" if guess is None else "unaccepted"] += 1
        group.failed = True
        if guess is not None and self.acceptance.below is Below.send:
            return [self.parts.waiting.give_up(query, Reason.decoding)]
        if self.acceptance.below is Below.hedge:
            self.hedging.again(now, query)
        return self.failures.given_up(group)

    def _late(self, decode: Decode) -> int:
        """Return how many workers were late; those of queries that a group does not have were not."""
        absent = max(0, self.parts.scheme.own - decode.size)
        return self.parts.scheme.n - absent - decode.arrived.bit_count()

    def _accepts(self, group: Group, guess: Guess) -> bool:
        """Return whether a reconstruction is sent; promises are of groups that are full, except for isolated codes."""
        full = len(group.queries) == self.parts.scheme.k
        return (full or self.acceptance.partial) and self.acceptance.accepts(guess.confidence, guess.late)

    def audit(self, group: Group) -> list[Action]:
        """Ask for one prediction of an audited group all of whose outputs came, as if F's own had not.

        A group of which a prediction was decoded anyway is none: that nothing was late would not be true of it.
        """
        every = (1 << self.parts.scheme.n) - 1
        if not group.audited or group.arrived != every:
            return []
        group.audited = False
        if any(query.asked for query in group.queries):
            return []
        query = group.queries[self._audits % len(group.queries)]
        self._audits += 1
        others = list(group.outputs)
        own, others[query.position] = others[query.position], None
        arrived = every & ~(1 << query.position)
        return [Decode(query, tuple(others), arrived, query.payload, len(group.queries), own)]
