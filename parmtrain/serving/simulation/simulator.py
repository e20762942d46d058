"""A discrete-event simulation of a service: the real frontend, with instances that only take time."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np

from parmtrain.codes.scheme import DEPLOYED
from parmtrain.errors import ConfigError
from parmtrain.serving.frontend.events import Action, Answer, Decode, Dispatch, Jobs, Kind, Overloaded, Restart
from parmtrain.serving.frontend.log import Record, unrecorded
from parmtrain.serving.frontend.machine import Frontend
from parmtrain.serving.simulation.delays import Draw, drawn

KINDS = tuple(Kind)


@dataclass(frozen=True)
class Costs:
    """Seconds to encode a group, to decode one, and to restart an instance."""

    encode: float = 0.0
    decode: float = 0.0
    restart: float = 14.0


@dataclass(frozen=True)
class Outcome:
    """What a service did.

    Args:
        latency: Latency of each answered query ``[n]``, in seconds.
        kind: How each answer was made ``[n]``, as an index into ``KINDS``.
        work: Seconds per query that instances were busy; NaN if not measured.
        utilisation: Utilisation of the deployed model's instances, 0 to 1; NaN if not measured.
        counts: The frontend's counts.
    """

    latency: np.ndarray
    kind: np.ndarray
    work: float
    utilisation: float
    counts: dict[str, int]

    def percentile(self, percent: float) -> float:
        """Return a percentile of the latency in seconds."""
        return float(np.percentile(self.latency, percent))

    def share(self, kind: Kind) -> float:
        """Return the share of answers of a kind."""
        return float((self.kind == KINDS.index(kind)).mean())


def _environment() -> Any:
    """Return SimPy's environment, which only simulations need.

    Raises:
        ConfigError: If SimPy is not installed.
    """
    try:
        import simpy
    except ImportError as fault:
        raise ConfigError(["simulations need simpy: pip install 'parmtrain[simulate]'"]) from fault
    return simpy.Environment()


class Simulation:
    """Drive a frontend through simulated time.

    Args:
        frontend: The frontend; it must be new.
        service: Maps an instance, a batch of jobs and its starting time to its duration in seconds.
        costs: Time that encoding, decoding and restarts take.
        record: Called with every event and the resulting actions.
        confidences: Draws the confidence of a reconstruction; 1 by default.

    Source: the experiments of Kosaian et al., ParM (SOSP'19), section 5.

    Example:
        >>> from parmtrain.serving import Frontend, erasure_code
        >>> from parmtrain.serving.simulation.delays import ServiceTimes, constant
        >>> frontend = Frontend(erasure_code(k=2, r=1), instances=[2, 1])
        >>> outcome = Simulation(frontend, ServiceTimes(constant(0.1))).run([0.0, 0.01, 0.02, 0.03])
        >>> outcome.latency.round(3).tolist(), outcome.counts["deployed"]
        ([0.1, 0.1, 0.18, 0.18], 4)
    """

    def __init__(
        self,
        frontend: Frontend,
        service: Callable[[int, Jobs, float], float],
        costs: Costs | None = None,
        record: Record = unrecorded,
        confidences: Callable[[], float] = lambda: 1.0,
    ) -> None:
        self.frontend, self.service, self.costs, self.record = frontend, service, costs or Costs(), record
        self.confidences = confidences
        self.environment = _environment()
        self._tick_at = inf
        self._until = 0.0
        self._latency: list[float] = []
        self._kind: list[int] = []

    def run(self, arrivals: Iterable[float], kills: Iterable[tuple[float, int]] = ()) -> Outcome:
        """Send queries at ``arrivals`` (increasing, in seconds), kill instances at ``kills``, return the outcome."""
        self._arrive_next(iter(arrivals))
        for at, instance in kills:
            self._after(at, lambda _, instance=instance: self._kill(instance))
        self.environment.run()
        occupied, deployed = self.frontend.pools.occupied, self.frontend.pools.pool_of.count(DEPLOYED)
        return Outcome(
            np.array(self._latency),
            np.array(self._kind, dtype=np.int8),
            sum(occupied) / max(len(self._latency), 1),
            occupied[DEPLOYED] / max(self._until, 1e-9) / deployed,
            dict(self.frontend.counts),
        )

    @property
    def now(self) -> float:
        """Simulated time in seconds."""
        return float(self.environment.now)

    def _after(self, delay: float, call: Any) -> None:
        self.environment.timeout(delay).callbacks.append(call)

    def _arrive_next(self, arrivals: Any) -> None:
        at = next(arrivals, None)
        if at is not None:
            self._after(at - self.now, lambda _: self._arrive(arrivals))

    def _arrive(self, arrivals: Any) -> None:
        with suppress(Overloaded):  # the frontend counts what it refuses
            self._do("submit", self.frontend.submit(self.now, None))
        self._arrive_next(arrivals)

    def _do(self, event: str, actions: list[Action]) -> None:
        self.record(self.now, event, actions)
        if actions or event != "tick":  # ticks for queries answered earlier change nothing
            self._until = self.now
        for action in actions:
            if isinstance(action, Dispatch):
                self._dispatch(action)
            elif isinstance(action, Decode):
                self._do("decoded", self.frontend.decoded(self.now, action, True, self.confidences()))
            elif isinstance(action, Answer):
                decode = 0.0 if action.confidence is None else self.costs.decode
                self._latency.append(self.now - action.query.at + decode)
                self._kind.append(KINDS.index(action.kind))
            elif isinstance(action, Restart):
                self._come_back(action.instance)
        self._schedule_tick()

    def _dispatch(self, dispatch: Dispatch) -> None:
        instance, jobs = dispatch
        outputs = [True] * len(jobs)
        encoding = self.costs.encode * sum(job.query is None for job in jobs)
        taken = self.service(instance, jobs, self.now) + encoding
        self._after(taken, lambda _: self._do("finished", self.frontend.finished(self.now, instance, jobs, outputs)))

    def _kill(self, instance: int) -> None:
        self._do("lost", self.frontend.lost(self.now, instance))
        self._come_back(instance)

    def _come_back(self, instance: int) -> None:
        self._after(self.costs.restart, lambda _: self._do("restored", self.frontend.restored(self.now, instance)))

    def _schedule_tick(self) -> None:
        at = self.frontend.next_tick
        if at < self._tick_at:
            self._tick_at = at
            self._after(max(at - self.now, 0.0), lambda _: self._tick(at))

    def _tick(self, at: float) -> None:
        if at == self._tick_at:
            self._tick_at = inf
            self._do("tick", self.frontend.tick(max(self.now, at)))


def poisson(rate: float, count: int, seed: int) -> Iterable[float]:
    """Yield the times of ``count`` Poisson arrivals at ``rate`` per second.

    Example:
        >>> times = list(poisson(rate=100.0, count=1000, seed=0))
        >>> 8 < times[-1] < 12
        True
    """
    gaps: Draw = lambda random, number: random.exponential(1 / rate, number)  # noqa: E731
    now, source = 0.0, drawn(gaps, np.random.default_rng(seed))
    for _ in range(count):
        now += next(source)
        yield now
