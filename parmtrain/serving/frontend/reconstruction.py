"""Reconstructions: when they are decoded, which are sent, and what becomes of the others."""

from typing import Any

from parmtrain.codes.scheme import DEPLOYED
from parmtrain.serving.frontend.acceptance import Acceptance, Below
from parmtrain.serving.frontend.events import Action, Compare, Decode, Group, Guess, Kind, Query, Reason
from parmtrain.serving.frontend.failures import Failures, spoiled
from parmtrain.serving.frontend.parts import Parts


class Reconstruction:
    """Ask for predictions that can be decoded, and send those that are accepted.

    Args:
        parts: What the parts of the frontend share.
        acceptance: Which reconstructions are sent.
        failures: What is known of jobs that failed.
    """

    def __init__(self, parts: Parts, acceptance: Acceptance, failures: Failures) -> None:
        self.parts, self.acceptance, self.failures = parts, acceptance, failures

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
        """Ask for a prediction, unless there is an answer, or these outputs were decoded before."""
        group = query.group
        if query.answered or query.asked == group.arrived:
            return []
        query.asked = group.arrived
        return [Decode(query, tuple(group.outputs), group.arrived, query.payload)]

    def decoded(self, now: float, decode: Decode, prediction: Any, confidence: float) -> list[Action]:
        """Send a decoded prediction, or keep it if there is not enough confidence in it; None cannot be kept."""
        query, guess = decode.query, None
        if prediction is not None:
            guess = Guess(prediction, confidence, self.parts.scheme.n - decode.arrived.bit_count())
        if decode.own is not None:
            return [] if guess is None else [Compare(query.position, guess, decode.own, audit=True)]
        if query.answered:
            return []
        first, query.decoded = query.guess is None, decode.arrived
        query.guess = guess or query.guess
        if guess is not None and self.acceptance.accepts(confidence, guess.late):
            self.parts.breaker.answered()
            return [self.parts.waiting.answer(query, Kind.reconstructed, prediction, confidence=confidence)]
        self.parts.counts["undecodable" if guess is None else "unaccepted"] += 1
        if guess is not None and self.acceptance.below is Below.send:
            return [self.parts.waiting.give_up(query, Reason.decoding)]
        if first and self.acceptance.below is Below.hedge:
            self._hedge(now, query)
        query.group.failed = True
        return self.failures.given_up(query.group)

    def audit(self, group: Group) -> list[Action]:
        """Ask for one prediction of an audited group all of whose outputs came, as if F's own had not."""
        every = (1 << self.parts.scheme.n) - 1
        if not group.audited or group.arrived != every:
            return []
        group.audited = False
        query = group.queries[group.number % len(group.queries)]
        others = list(group.outputs)
        own, others[query.position] = others[query.position], None
        return [Decode(query, tuple(others), every & ~(1 << query.position), query.payload, own)]

    def _hedge(self, now: float, query: Query) -> None:
        """Send a query once more, unless what runs its group dies of it."""
        if self.parts.scheme.systematic and not spoiled(query.group, self.parts.limits):
            self.parts.counts["copies"] += 1
            self.parts.pools.ask(now, query.group, query, query.position, DEPLOYED)
