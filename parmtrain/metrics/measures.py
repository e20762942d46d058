"""Measures: what the predictions of a task are, and how they are scored."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from torch import Tensor
from torch.nn.functional import one_hot

from parmtrain.metrics.functional import agree, correct

Measure = Callable[[Tensor, Tensor], Tensor]
"""Maps predictions ``[..., c]`` and labels ``[...]`` or ``[..., l]`` to scores from 0 to 1 ``[...]``; NaN scores 0."""

AGREEMENT = "agreement"
CLASS_SCORES = "class scores"
PROBABILITIES = "class probabilities"
UNIT = 1e-3  # how far probabilities may be from a sum of 1
TOP5_CLASSES = 10


@dataclass(frozen=True)
class Measures:
    """The kind of predictions of a task, and the measures that score them.

    Args:
        kind: Kind of prediction: ``class scores``, ``class probabilities``, ``boxes``, or your own. Losses check it.
        name: Name of the main measure in results, such as ``accuracy`` or ``iou``.
        main: The measure used for model selection; A_a, A_d and A_o are its means.
        agreement: Maps reconstructed predictions and the deployed model's own ``[..., c]`` to their agreement.
        constant: Maps training labels ``[n, …]`` to the best constant prediction ``[c]``.
        more: Additional measures by name.
        of_gallery: Makes more of them, which compare a prediction with the deployed model's own ones on a whole split,
            from these ``[n, c]``.
    """

    kind: str
    name: str
    main: Measure
    agreement: Measure
    constant: Callable[[Tensor], Tensor]
    more: Mapping[str, Measure] = field(default_factory=dict)
    of_gallery: Callable[[Tensor], Mapping[str, Measure]] | None = None

    @property
    def every(self) -> dict[str, Measure]:
        """All measures by name, the main one first."""
        return {self.name: self.main, **self.more}

    def means(self, predictions: Tensor, labels: Tensor) -> dict[str, float]:
        """Return the mean of each measure over predictions ``[n, c]`` and their labels."""
        return {name: measure(predictions, labels).double().mean().item() for name, measure in self.every.items()}

    def of_agreement(self) -> "Measures":
        """Return measures for queries without labels, in whose place are the deployed model's own predictions.

        Example:
            >>> import torch
            >>> measures = of_classes(3).of_agreement()
            >>> measures.name, measures.main(torch.tensor([[0.0, 2.0, 1.0]]), torch.tensor([[0.2, 0.5, 0.3]]))
            ('agreement', tensor([1.]))
        """
        return Measures(self.kind, AGREEMENT, self.agreement, self.agreement, _mean, of_gallery=self.of_gallery)

    def among(self, predictions: Tensor) -> "Measures":
        """Return measures for one split, given the deployed model's own predictions on it ``[n, c]``."""
        return self if self.of_gallery is None else self.extended(self.of_gallery(predictions))

    def extended(self, more: Mapping[str, Measure]) -> "Measures":
        """Return a copy with additional measures."""
        return replace(self, more={**self.more, **more})


def kind_of(predictions: Tensor, kind: str) -> str:
    """Return the kind of a deployed model's predictions: class scores that are probabilities are said to be.

    Args:
        predictions: Predictions ``[n, c]`` on some queries.
        kind: Kind of prediction of the task.

    Example:
        >>> import torch
        >>> kind_of(torch.tensor([[0.9, 0.1], [0.2, 0.8]]), CLASS_SCORES), kind_of(torch.eye(2) * 3, CLASS_SCORES)
        ('class probabilities', 'class scores')
    """
    if kind != CLASS_SCORES or not len(predictions) or predictions.size(1) < 2:
        return kind
    one = (predictions.sum(dim=1) - 1).abs().max() <= UNIT and predictions.min() >= 0
    return PROBABILITIES if bool(one) else kind


def of_classes(outputs: int) -> Measures:
    """Return the measures of classification: accuracy, and top-5 accuracy for ten or more classes.

    Example:
        >>> import torch
        >>> of_classes(outputs=10).more.keys(), of_classes(outputs=3).constant(torch.tensor([2, 0, 2]))
        (dict_keys(['top5']), tensor([0, 0, 1]))
    """
    more: dict[str, Measure] = {"top5": partial(correct, top=5)} if outputs >= TOP5_CLASSES else {}
    return Measures(CLASS_SCORES, "accuracy", correct, agree, partial(_commonest, outputs=outputs), more)


def _mean(predictions: Tensor) -> Tensor:
    return predictions.mean(dim=0)


def _commonest(labels: Tensor, outputs: int) -> Tensor:
    commonest: Tensor = one_hot(labels.flatten().mode().values, outputs)
    return commonest
