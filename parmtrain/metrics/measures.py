"""What a prediction is worth: the measures that a task is scored by, whatever its predictions are."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from torch import Tensor

from parmtrain.metrics.functional import agree, correct

Measure = Callable[[Tensor, Tensor], Tensor]
"""Maps predictions ``[..., c]`` and labels ``[...]`` or ``[..., l]`` to values from 0 to 1 ``[...]``, NaN to 0."""

TOP5_CLASSES = 10


@dataclass(frozen=True)
class Measures:
    """The measures of one task.

    Args:
        name: What the main one is called in results: ``accuracy``, ``iou``.
        main: The one that models are chosen by; A_a, A_d and A_o are its means.
        agreement: Of reconstructed predictions and the deployed model's own ``[..., c]``: how far they say the same.
        more: Others by name.
    """

    name: str
    main: Measure
    agreement: Measure
    more: dict[str, Measure] = field(default_factory=dict)

    @property
    def every(self) -> dict[str, Measure]:
        """All of them by name, the main one first."""
        return {self.name: self.main, **self.more}


def of_classes(outputs: int) -> Measures:
    """Return the measures of classification: accuracy, and whether the label is among the five largest outputs.

    Example:
        >>> of_classes(outputs=10).more.keys()
        dict_keys(['top5'])
    """
    more: dict[str, Measure] = {"top5": partial(correct, top=5)} if outputs >= TOP5_CLASSES else {}
    return Measures("accuracy", correct, agree, more)
