"""Service times of instances, and the slowdowns that lengthen them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from parmtrain.serving.frontend.events import Jobs
from parmtrain.serving.simulation.batch_curve import BatchCurve

Draw = Callable[[np.random.Generator, int], np.ndarray]
BLOCK = 4096


def constant(value: float) -> Draw:
    """Return the distribution of a constant."""
    return lambda random, count: np.full(count, value)


def lognormal(mean: float, variation: float) -> Draw:
    """Return the log-normal distribution with a given mean and coefficient of variation.

    Example:
        >>> draws = lognormal(mean=2.0, variation=0.1)(np.random.default_rng(0), 10_000)
        >>> [round(float(value), 2) for value in (draws.mean(), draws.std())]
        [2.0, 0.2]
    """
    sigma = np.sqrt(np.log1p(variation**2))
    return lambda random, count: random.lognormal(np.log(mean) - sigma**2 / 2, sigma, count)


def exponential(mean: float) -> Draw:
    """Return the exponential distribution with a given mean."""
    return lambda random, count: random.exponential(mean, count)


def pareto(mean: float, shape: float = 1.5) -> Draw:
    """Return the Pareto distribution with a given mean and tail exponent ``shape`` (above 1).

    Example:
        >>> draws = pareto(mean=3.0, shape=3.0)(np.random.default_rng(0), 100_000)
        >>> [round(float(value), 1) for value in (draws.min(), draws.mean())]
        [2.0, 3.0]
    """
    return lambda random, count: mean * (shape - 1) / shape * (1 + random.pareto(shape, count))


@dataclass(frozen=True)
class Slowdowns:
    """Decide when instances are slow, and by how much that delays the jobs they start.

    Time is divided into slots, and in each slot an instance is slow with ``probability``. In a fraction
    ``correlation`` of the slots one draw decides for all instances; in the others each instance has its own draw. The
    slots depend only on time and seed: the same seed slows the same instances at the same times under any strategy.
    Without slots, each job has its own draw. The first ``instances`` instances are always slow.

    Args:
        probability: Probability that an instance is slow, 0 to 1.
        delay: Distribution of the time added to a slow job, in seconds.
        slot: Length of a slot in seconds; 0 draws for each job.
        correlation: Fraction of slots in which either all instances are slow or none is, 0 to 1.
        seed: Seed of the schedule.
        instances: Number of instances that are always slow.

    Example:
        >>> slowdowns = Slowdowns(probability=0.25, delay=constant(0.1), slot=1.0, seed=0)
        >>> sum(slowdowns.slow(instance=3, now=float(second)) for second in range(1000))
        263
    """

    probability: float
    delay: Draw
    slot: float = 0.0
    correlation: float = 0.0
    seed: int = 0
    instances: int = 0

    def slow(self, instance: int, now: float, coin: float = 1.0) -> bool:
        """Return whether an instance is slow at time ``now``; without slots ``coin``, 0 to 1, decides."""
        if instance < self.instances:
            return True
        if not self.slot:
            return coin < self.probability
        block, slot = divmod(int(now / self.slot), BLOCK)
        return bool(self._block(block, instance)[slot])

    def _block(self, block: int, instance: int) -> np.ndarray:
        key = (block, instance)
        if key not in self._drawn:
            common = np.random.default_rng([self.seed, block])
            shared = common.random(BLOCK) < self.correlation
            together = common.random(BLOCK) < self.probability
            alone = np.random.default_rng([self.seed, block, instance + 1]).random(BLOCK) < self.probability
            self._drawn[key] = np.where(shared, together, alone)
        return self._drawn[key]

    @cached_property
    def _drawn(self) -> dict[tuple[int, int], np.ndarray]:
        return {}


class ServiceTimes:
    """Draw the service times of all instances.

    Args:
        base: Distribution of the time of one job on an instance that is not slow, in seconds.
        slowdowns: When instances are slow; None for never.
        speed: For each pool, the speed of its instances relative to the deployed model's.
        seed: Seed of the times.
        curve: How much longer a batch takes than one job; None for as many times longer as it has jobs.

    Example:
        >>> times = ServiceTimes(constant(0.02), Slowdowns(1.0, constant(0.2)))
        >>> round(times.seconds(instance=0, pool=0, now=0.0), 2)
        0.22
    """

    def __init__(
        self,
        base: Draw,
        slowdowns: Slowdowns | None = None,
        speed: tuple[float, ...] = (1.0,),
        seed: int = 0,
        curve: BatchCurve | None = None,
    ) -> None:
        self.slowdowns, self.speed, self.curve = slowdowns, speed, curve
        random = np.random.default_rng(seed)
        self._times = drawn(base, random)
        self._coins = drawn(lambda random, count: random.random(count), random)
        self._delays = drawn(slowdowns.delay, random) if slowdowns else iter(())

    def __call__(self, instance: int, jobs: Jobs, now: float) -> float:
        """Return the duration in seconds of a batch that starts now."""
        return self.seconds(instance, jobs[0].pool, now, len(jobs))

    def seconds(self, instance: int, pool: int, now: float, size: int = 1) -> float:
        """Return the duration in seconds of a batch of ``size`` jobs of ``pool`` that starts now."""
        longer = float(size) if self.curve is None else self.curve.relative(size)
        time = next(self._times) * longer / (self.speed[pool] if pool < len(self.speed) else 1.0)
        if self.slowdowns is None:
            return time
        coin = 0.0 if self.slowdowns.slot else next(self._coins)
        return time + next(self._delays) if self.slowdowns.slow(instance, now, coin) else time


def drawn(draw: Draw, random: np.random.Generator) -> Iterator[float]:
    """Yield draws one at a time, drawing a block of them at once."""
    while True:
        yield from draw(random, BLOCK).tolist()


DELAYS: dict[str, Callable[[float], Draw]] = {"constant": constant, "exponential": exponential, "pareto": pareto}
"""Distributions of an added delay, given its mean."""
