"""The confidence that suits a kind of prediction."""

from parmtrain.confidence.base import Confidence
from parmtrain.confidence.expected import Expected
from parmtrain.confidence.softmax import Softmax
from parmtrain.metrics.measures import CLASS_SCORES, PROBABILITIES


def by_kind(kind: str, numbers: int, outputs: int) -> Confidence:
    """Return a calibrated softmax for classes, and a learned expectation for every other kind of prediction.

    Args:
        kind: Kind of prediction, as ``Measures`` has it.
        numbers: Largest number of late workers with which predictions are reconstructed.
        outputs: Length of one prediction.

    Example:
        >>> type(by_kind("boxes", 1, 4)).__name__, by_kind("class probabilities", 1, 10).probabilities
        ('Expected', True)
    """
    if kind in (CLASS_SCORES, PROBABILITIES):
        return Softmax(kind, numbers, outputs)
    return Expected(kind, numbers, outputs)
