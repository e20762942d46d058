"""The frontend's group logic: a state machine that turns timed events into dispatches and answers.

It has no clock, no network and no threads. A driver, the service or the simulator, reports what happened and when, and
carries out the actions that come back. Queries and outputs are opaque: they are passed on and never inspected.
"""

from collections import Counter
from collections.abc import Sequence
from math import inf
from typing import Any

from parmtrain.codes.scheme import DEPLOYED, Scheme
from parmtrain.serving.frontend.acceptance import Acceptance
from parmtrain.serving.frontend.breaker import Breaker
from parmtrain.serving.frontend.encoding import Encoding
from parmtrain.serving.frontend.events import Action, Compare, Decode, Job, Jobs, Kind, Query, Reason, Restart
from parmtrain.serving.frontend.failures import Failures
from parmtrain.serving.frontend.grouping import Grouping
from parmtrain.serving.frontend.hedging import Hedging
from parmtrain.serving.frontend.limits import Limits
from parmtrain.serving.frontend.parts import Parts
from parmtrain.serving.frontend.pools import Pools
from parmtrain.serving.frontend.reconstruction import Reconstruction
from parmtrain.serving.frontend.timers import Delayed
from parmtrain.serving.frontend.trust import Trust
from parmtrain.serving.frontend.waiting import Waiting


class Frontend:
    """Form coding groups in order of arrival and answer each query once, from the first output that allows it.

    A query goes to the deployed model's pool at once. When its group is full, the coded queries go to their pools, and
    so do those of a group that does not fill in time, where the scheme allows it. The instances of a pool share one
    queue, and each runs one batch of jobs at a time. Queued jobs that can no longer answer a query are dropped; jobs
    that are already running finish, and their results are ignored.

    Every method takes the time of its event and returns the actions to carry out. Events must come in order of time.

    Args:
        scheme: The scheme of the code.
        instances: Number of instances of each pool; they are numbered from 0, pool by pool.
        limits: Time limits and bounds.
        k: Queries in a full group; the scheme's k by default, and fewer only where it takes groups that are not full.
        trust: Which reconstructions are sent, and whether they agreed with F's own predictions; all are by default.

    Attributes:
        counts: Number of answers by kind, of ``refused`` queries, and of what ``COUNTS`` names.
        pools: The instances.
        encoding: The groups that are encoded.
        breaker: Whether encoding is of use.

    Source: Kosaian et al., ParM (SOSP'19), sections 3.1 and 3.3.

    Example:
        >>> from parmtrain.serving import erasure_code
        >>> frontend = Frontend(erasure_code(k=2, r=1), instances=[2, 1])
        >>> (one,) = frontend.submit(0.0, "a")
        >>> other, coded = frontend.submit(0.1, "b")
        >>> [one.instance, other.instance, coded.instance, coded.jobs[0].worker]
        [0, 1, 2, 2]
        >>> [answer.kind.value for answer in frontend.finished(0.2, 0, one.jobs, ["F(a)"])]
        ['deployed']
        >>> (decode,) = frontend.finished(0.3, 2, coded.jobs, ["F_P(P)"])  # b is late
        >>> (answer,) = frontend.decoded(0.3, decode, "F_P(P) - F(a)", confidence=0.9)
        >>> answer.kind.value, answer.payload, answer.output
        ('reconstructed', 'b', 'F_P(P) - F(a)')
    """

    def __init__(
        self,
        scheme: Scheme,
        instances: Sequence[int],
        limits: Limits | None = None,
        k: int | None = None,
        trust: Trust | None = None,
    ) -> None:
        self.trust = trust or Trust(Acceptance())
        self.acceptance = self.trust.acceptance
        self.scheme, self.limits, self.k = scheme, limits or Limits(), scheme.k if k is None else k
        scheme.require(instances, self.k)
        self.counts: Counter[str] = Counter()
        self.pools = Pools(instances, self.limits, self.counts)
        self.breaker = Breaker(self.limits)
        self._waiting = Waiting(self.limits, self.counts)
        parts = Parts(scheme, self.limits, self.pools, self._waiting, self.breaker, self.counts)
        self._failures = Failures(parts)
        self._grouping = Grouping(scheme, self.k, self.limits)
        self.encoding = Encoding(parts, self._grouping, self._failures)
        self._hedging = Hedging(parts, self.encoding)
        self._reconstruction = Reconstruction(parts, self.acceptance, self._failures, self._hedging)
        self._taken = self._undecided = 0  # queries, and predictions that are to be decoded
        held = self.limits.reconstruct_after if scheme.pools else 0.0
        self._held = Delayed(held or inf, lambda query: query.answered)

    @property
    def waiting(self) -> int:
        """Number of queries that wait for an answer."""
        return len(self._waiting)

    @property
    def ready(self) -> bool:
        """Whether queries can be answered: each pool that this takes has an instance that can run jobs.

        Without parity instances a systematic code still answers from the deployed model.
        """
        needed = {DEPLOYED} if self.scheme.systematic else {DEPLOYED, *self.scheme.pools}
        return all(self.pools.up(pool) for pool in needed)

    def submit(
        self, now: float, payload: Any, deadline: float | None = None, coded: bool = True, tenant: str = ""
    ) -> list[Action]:
        """Accept a query.

        Args:
            now: The time.
            payload: The query.
            deadline: Seconds until its default answer; the limits' by default, which are also the longest.
            coded: Whether it joins a group; the code must be systematic otherwise.
            tenant: Whose query it is; those of different tenants are never encoded together.

        Raises:
            Overloaded: If the queue is full; the query then joins no group.
        """
        self.require_room()
        assert coded or self.scheme.systematic
        group = self._grouping.open(tenant) if coded else self._grouping.apart()
        self.counts["uncoded"] += not coded
        query = self._grouping.join(group, Query(self._taken, payload, now, group, len(group.queries)))
        self._taken += 1
        self._waiting.add(query, deadline)
        if self.scheme.systematic:
            self.pools.ask(now, group, query, query.position, DEPLOYED)
        closing = group if coded and self._grouping.is_full(group) else self._grouping.surplus
        actions = self.encoding.close(now, closing) if closing is not None else []
        self._hedging.add(query)
        self._held.add(query)
        return actions + (self.pools.assign(now) if self.limits.copy_after else self.tick(now))

    def require_room(self, count: int = 1) -> None:
        """Raise ``Overloaded`` if too many queries would wait, or ``count`` further ones would wait too long."""
        self._waiting.require_room(self.pools.wait(DEPLOYED, count), count)

    def finished(self, now: float, instance: int, jobs: Jobs, outputs: Sequence[Any]) -> list[Action]:
        """Handle the results of a batch.

        Args:
            now: The time.
            instance: The instance that ran it.
            jobs: The batch, as it was dispatched.
            outputs: The output of each job, None for one that is malformed: that job is retried if attempts are left.
        """
        if not self.pools.free(now, instance, jobs):
            return []
        actions: list[Action] = []
        for job, output in zip(jobs, outputs, strict=True):
            if output is None:
                self.counts["garbage"] += 1
                actions += self._failures.failed(now, job)
            else:
                actions += self._arrived(now, job, output)
        return self._done(now, jobs, actions)

    def _arrived(self, now: float, job: Job, output: Any) -> list[Action]:
        """Answer what an output allows to answer."""
        group, query = job.group, job.query
        if query is None:
            self.breaker.ran(now, well=True)
        actions: list[Action] = []
        if job.worker is not None and not group.arrived >> job.worker & 1:
            group.outputs[job.worker] = output
            group.arrived |= 1 << job.worker
        if query is not None:
            if not query.heard:  # copies of a query say nothing of others
                self._hedging.answered(now - query.at)
                query.heard = True
            if not query.answered:
                actions.append(self._waiting.answer(query, Kind.deployed, output))
            if query.guess is not None:
                actions += [] if self.breaker.held else [Compare(group, query.position, query.guess, output)]
                query.guess = None
        actions += self._reconstruction.of_group(now, group) + self._reconstruction.audit(group)
        return actions + self._failures.given_up(group)

    def decoded(self, now: float, decode: Decode, prediction: Any, confidence: float = 1.0) -> list[Action]:
        """Handle a decoded prediction, None if the outputs give none, and how far it can be trusted, 0 to 1."""
        self._undecided -= 1
        actions = self._reconstruction.decoded(now, decode, prediction, confidence)
        decode.query.group.forget_if_done()
        return actions if self._undecided else actions + self.pools.assign(now)

    def compared(self, now: float, compare: Compare, agreement: float) -> None:
        """Take how well a decoded prediction agrees with F's own, from 0 to 1."""
        self.counts["audits" if compare.audit else "compared"] += 1
        self.trust.hear(compare, agreement)
        if self.trust.gives_up():
            self.breaker.distrusted(now)

    def lost(self, now: float, instance: int) -> list[Action]:
        """Handle the death of an instance: its jobs are retried if attempts are left, each alone."""
        if instance in self.pools.down:
            return []
        self.counts["lost"] += 1
        jobs = self.pools.jobs_of(instance)
        return self._done(now, jobs, self._failures.died(now, instance))

    def restored(self, now: float, instance: int) -> list[Action]:
        """Handle the return of an instance that was down."""
        if instance not in self.pools.down:
            return []
        self.pools.restore(instance)
        return self.pools.assign(now)

    def tick(self, now: float) -> list[Action]:
        """Do what is due: delayed reconstructions, copies, default answers, and replacing instances that hang."""
        actions: list[Action] = []
        for group in self._grouping.overdue(now):
            actions += self.encoding.close(now, group)
        for query in self._waiting.late(now):
            actions.append(self._waiting.give_up(query, Reason.deadline))
            query.group.forget_if_done()
        asked = [one for query in self._held.due(now) for one in self._reconstruction.of_query(query)]
        self._undecided += len(asked)
        actions += asked
        self._hedging.send_again(now)
        for instance in self.pools.hanging(now):
            self.counts["hung"] += 1
            jobs = self.pools.jobs_of(instance)
            actions += [Restart(instance), *self._failures.died(now, instance)]
            for job in jobs:
                self.encoding.rescue(now, job.group)
        return actions if asked else actions + self.pools.assign(now)

    @property
    def next_tick(self) -> float:
        """Earliest time at which ``tick`` may have something to do; infinite if nothing is waiting."""
        timers = min(self._waiting.next, self._hedging.next, self._held.next)
        batch = inf if self._undecided else self.pools.next_batch
        return min(timers, self._grouping.next, self.pools.next_hang, batch)

    def _done(self, now: float, jobs: Jobs, actions: list[Action]) -> list[Action]:
        """Return actions and further dispatches; forget the groups of which nothing is left to do.

        While predictions are to be decoded, nothing is dispatched: what is queued for their queries may not be needed.
        """
        for job in jobs:
            self.encoding.rescue(now, job.group)
            job.group.forget_if_done()
        asked = sum(isinstance(action, Decode) for action in actions)
        self._undecided += asked
        return actions if asked else actions + self.pools.assign(now)
