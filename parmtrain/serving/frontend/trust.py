"""Whether reconstructions keep what was promised of them: an alarm if they do not, and more confidence asked for.

What is known comes late: the deployed model's own prediction of a query that was answered by a reconstruction, or of
one of a group that was decoded although nothing was late (an *audit*).
"""

from collections.abc import Sequence

from parmtrain.serving.frontend.acceptance import Acceptance
from parmtrain.serving.frontend.events import Compare

BETS = (1.5, 2.0, 3.0, 5.0, 10.0)  # times the promised disagreement, each an alternative that a bet is made on
RATE, STEP = 0.001, 0.05  # by how much a reconstruction moves what is asked for, times its loss ÷ α; at most
RELEASE = 0.01  # weight of reconstructions that are not accepted, without which nothing would be once nothing is
LOST, PROBING = 0.99, 0.5  # so far raised that hardly any is accepted, and when parity models are tried again
WEALTH = 1e300


class Alarm:
    """Tell that accepted reconstructions disagree with the deployed model more often than was promised.

    For each of several larger disagreements q, wealth is bet on it: it is multiplied by 1 + λ(loss − α) with
    λ = (q − α) / (α(1 − α)), which is no gain on average as long as the promise holds, and a further unit is bet from
    each reconstruction on. So the mean of all wealth, over bets, is at most the number of reconstructions on average,
    and an alarm at ``length`` has an average run length of that many reconstructions at least while the promise holds,
    however losses are distributed.

    Args:
        promised: The promised mean agreement, 0 to 1.
        length: Average number of reconstructions until a false alarm, at least.

    Attributes:
        raised: After how many reconstructions the alarm was raised; None while it was not.

    Source: Shin, Ramdas and Rinaldo, E-detectors (arXiv 2203.03532), sections 2 and 3 (Shiryaev and Roberts).

    Example:
        >>> alarm = Alarm(promised=0.98, length=10_000)
        >>> for number in range(2000):
        ...     alarm.take(0.0 if number % 50 == 0 else 1.0)  # as promised
        >>> alarm.raised
        >>> for number in range(2000):
        ...     alarm.take(0.0 if number % 10 == 0 else 1.0)
        >>> 2000 < alarm.raised < 2400
        True
    """

    def __init__(self, promised: float, length: float = 1e6) -> None:
        risk = 1 - promised
        self.promised, self.risk, self.length = promised, risk, length
        others = [min(times * risk, (1 + risk) / 2) for times in BETS]
        self._stakes = [(other - risk) / (risk * (1 - risk)) for other in others]
        self.taken = 0
        self.raised: int | None = None
        self._wealth = [0.0] * len(others)

    def take(self, agreement: float) -> None:
        """Take the agreement of an accepted reconstruction, 0 to 1."""
        self.taken += 1
        surprise = (1 - agreement) - self.risk
        self._wealth = [
            min((1 + wealth) * max(1 + stake * surprise, 0.0), WEALTH)
            for wealth, stake in zip(self._wealth, self._stakes, strict=True)
        ]
        if self.raised is None and self.evidence >= self.length:
            self.raised = self.taken

    @property
    def evidence(self) -> float:
        """The mean wealth: an alarm is raised where it reaches ``length``."""
        return sum(self._wealth) / len(self._wealth)

    def reset(self) -> None:
        """Begin anew."""
        self.raised, self.taken, self._wealth = None, 0, [0.0] * len(self._wealth)


class Trust:
    """Follow what becomes of reconstructions, and ask for more confidence while they disagree too often.

    After each reconstruction of which F's own prediction came, ``Acceptance.raised`` moves by a step in proportion to
    (loss − α) if it would be accepted now, and back by a hundredth of α if not. While it stays below its bound, the
    mean of the steps, and with it the excess of disagreement among accepted ones over α, tends to 0, whatever the
    drift, but for a hundredth of α for each one that is not accepted.

    Args:
        acceptance: Which reconstructions are sent.
        promised: The promised agreement of accepted ones; None follows nothing.
        adapts: Whether more confidence is asked for.
        length: Average number of reconstructions until a false alarm, at least.

    Attributes:
        alarm: The alarm; None without a promise.

    Source: Gibbs and Candès, Adaptive Conformal Inference Under Distribution Shift (arXiv 2106.00170), equation 2.

    Example:
        >>> acceptance = Acceptance([0.5])
        >>> trust = Trust(acceptance, promised=0.9)
        >>> for _ in range(100):
        ...     trust.take(agreement=0.0, confidence=0.6, late=1)
        >>> acceptance.accepts(0.6, late=1)
        False
    """

    def __init__(
        self, acceptance: Acceptance, promised: float | None = None, adapts: bool = True, length: float = 1e6
    ) -> None:
        self.acceptance, self.adapts = acceptance, adapts and promised is not None
        self.alarm = None if promised is None else Alarm(promised, length)

    def begin(self, thresholds: Sequence[float]) -> None:
        """Begin anew with other thresholds, those of another version of the parity models."""
        self.acceptance.thresholds, self.acceptance.raised = list(thresholds), 0.0
        if self.alarm is not None:
            self.alarm.reset()

    def gives_up(self) -> bool:
        """Return whether hardly any reconstruction has the confidence that is asked for; if so, half of it is next."""
        if self.acceptance.raised < LOST:
            return False
        self.acceptance.raised = PROBING
        return True

    def hear(self, compare: Compare, agreement: float) -> None:
        """Take how well the first reconstruction of a group agrees: those of one group are right or wrong together."""
        if not compare.group.compared:
            compare.group.compared = True
            self.take(agreement, compare.guess.confidence, compare.guess.late)

    def take(self, agreement: float, confidence: float, late: int) -> None:
        """Take how well a reconstruction agrees with F's own prediction that came later."""
        if self.alarm is None:
            return
        if confidence >= self.acceptance.stated(late):  # adaptation does not silence the alarm
            self.alarm.take(agreement)
        accepted = self.acceptance.accepts(confidence, late)
        if self.adapts:
            risk = self.alarm.risk
            step = (1 - agreement) - risk if accepted else -RELEASE * risk
            moved = self.acceptance.raised + min(RATE / risk, STEP) * step
            self.acceptance.raised = min(max(moved, 0.0), LOST)
