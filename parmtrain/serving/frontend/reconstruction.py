"""Reconstructions: when they are decoded, which are sent, and what becomes of the others."""

from collections import Counter
from typing import Any

from parmtrain.codes.scheme import DEPLOYED, Scheme
from parmtrain.serving.frontend.acceptance import Acceptance, Below
from parmtrain.serving.frontend.events import Action, Compare, Decode, Group, Guess, Kind, Query, Reason
from parmtrain.serving.frontend.failures import Failures, spoiled
from parmtrain.serving.frontend.limits import Limits
from parmtrain.serving.frontend.pools import Pools
from parmtrain.serving.frontend.waiting import Waiting


class Reconstruction:
    """Ask for predictions that can be decoded, and send those that are accepted.

    Args:
        scheme: The scheme of the code.
        limits: How long F's own prediction is waited for.
        acceptance: Which reconstructions are sent.
        pools: The instances.
        waiting: The queries that wait for an answer.
        failures: What is known of jobs that failed.
        counts: Counter of ``copies``, and of reconstructions that were ``unaccepted`` or ``undecodable``.
    """

    def __init__(
        self,
        scheme: Scheme,
        limits: Limits,
        acceptance: Acceptance,
        pools: Pools,
        waiting: Waiting,
        failures: Failures,
        counts: Counter[str],
    ) -> None:
        self.scheme, self.limits, self.acceptance = scheme, limits, acceptance
        self.pools, self.waiting, self.failures, self.counts = pools, waiting, failures, counts

    def of_group(self, now: float, group: Group) -> list[Action]:
        """Ask for the predictions that the outputs of a group give, of queries that waited long enough for F's own."""
        actions: list[Action] = []
        if group.closed and group.waits:
            given = self.scheme.recoverable(group.arrived)
            for query in group.queries:
                if given >> query.position & 1 and now - query.at >= self.limits.reconstruct_after:
                    actions += self._asked(query)
        return actions

    def of_query(self, query: Query) -> list[Action]:
        """Ask for the prediction of a query, if the outputs of its group give it."""
        group = query.group
        given = group.closed and self.scheme.recoverable(group.arrived) >> query.position & 1
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
            guess = Guess(prediction, confidence, self.scheme.n - decode.arrived.bit_count())
        if decode.own is not None:
            return [] if guess is None else [Compare(query.position, guess, decode.own, audit=True)]
        if query.answered:
            return []
        first, query.decoded = query.guess is None, decode.arrived
        query.guess = guess or query.guess
        if guess is not None and self.acceptance.accepts(confidence, guess.late):
            return [self.waiting.answer(query, Kind.reconstructed, prediction, confidence=confidence)]
        self.counts["undecodable" if guess is None else "unaccepted"] += 1
        if guess is not None and self.acceptance.below is Below.send:
            return [self.waiting.give_up(query, Reason.decoding)]
        if first and self.acceptance.below is Below.hedge:
            self._hedge(now, query)
        query.group.failed = True
        return self.failures.given_up(query.group)

    def audit(self, group: Group) -> list[Action]:
        """Ask for one prediction of an audited group all of whose outputs came, as if F's own had not."""
        every = (1 << self.scheme.n) - 1
        if not group.audited or group.arrived != every:
            return []
        group.audited = False
        query = group.queries[group.number % len(group.queries)]
        others = list(group.outputs)
        own, others[query.position] = others[query.position], None
        return [Decode(query, tuple(others), every & ~(1 << query.position), query.payload, own)]

    def _hedge(self, now: float, query: Query) -> None:
        """Send a query once more, unless what runs its group dies of it."""
        if self.scheme.systematic and not spoiled(query.group, self.limits):
            self.counts["copies"] += 1
            self.pools.ask(now, query.group, query, query.position, DEPLOYED)
