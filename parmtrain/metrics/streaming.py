"""The functions of ``functional`` as torchmetrics classes: updated batch by batch, summed over processes."""

from typing import Any, ClassVar

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from parmtrain.metrics.functional import agree, correct
from parmtrain.metrics.measures import Measure, Measures


class _Share(Metric):
    """A share: how many of those seen so far count, ÷ how many were seen.

    Each subclass names its states apart: a ``MetricCollection`` takes two metrics whose states have the same names, and
    by chance the same values after one batch, for one.
    """

    higher_is_better = True
    full_state_update = False
    counted: ClassVar[str]

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._hits, self._seen = f"{self.counted}_hits", f"{self.counted}_seen"
        for name in (self._hits, self._seen):
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def add(self, hits: Tensor) -> None:
        """Count ``hits``, a tensor of ones and zeros of any shape."""
        setattr(self, self._hits, getattr(self, self._hits) + hits.sum())
        setattr(self, self._seen, getattr(self, self._seen) + hits.numel())

    def compute(self) -> Tensor:
        """Return the share, NaN if nothing was seen."""
        share: Tensor = getattr(self, self._hits) / getattr(self, self._seen)
        return share.float()


class AvailableAccuracy(_Share):
    """A_a: accuracy of the deployed model.

    Example:
        >>> metric = AvailableAccuracy()
        >>> metric.update(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.tensor([1, 1]))
        >>> metric.compute()
        tensor(0.5000)
    """

    counted = "available"

    def update(self, predictions: Tensor, labels: Tensor) -> None:
        """Count predictions ``[..., c]`` against labels ``[...]``."""
        self.add(correct(predictions, labels))


class Degraded(_Share):
    """A_d by any measure of reconstructed predictions alone, over every erasure position.

    Args:
        measure: Maps reconstructed predictions ``[g, k, c]`` and labels to values from 0 to 1.
    """

    counted = "degraded"

    def __init__(self, measure: Measure, **settings: Any) -> None:
        super().__init__(**settings)
        self.measure = measure

    def update(self, reconstructed: Tensor, labels: Tensor) -> None:
        """Count reconstructed predictions ``[g, k, c]`` against labels ``[g, k]``."""
        self.add(self.measure(reconstructed, labels))


class DegradedAccuracy(Degraded):
    """A_d: accuracy of reconstructed predictions alone, over every erasure position.

    Example:
        >>> metric = DegradedAccuracy()
        >>> metric.update(torch.tensor([[[0.0, 1.0], [1.0, 0.0]]]), torch.tensor([[1, 1]]))
        >>> metric.compute()
        tensor(0.5000)
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(correct, **settings)


class ReconstructionAgreement(_Share):
    """Share of reconstructed predictions whose arg-max equals the deployed model's own, or another measure of that.

    Args:
        measure: Maps reconstructed and own predictions ``[g, k, c]`` to values from 0 to 1.

    Example:
        >>> metric = ReconstructionAgreement()
        >>> metric.update(torch.tensor([[[0.0, 1.0], [1.0, 0.0]]]), torch.tensor([[[0.0, 3.0], [0.0, 3.0]]]))
        >>> metric.compute()
        tensor(0.5000)
    """

    counted = "agreeing"

    def __init__(self, measure: Measure = agree, **settings: Any) -> None:
        super().__init__(**settings)
        self.measure = measure

    def update(self, reconstructed: Tensor, predictions: Tensor) -> None:
        """Count reconstructed predictions ``[g, k, c]`` against the deployed model's own ``[g, k, c]``."""
        self.add(self.measure(reconstructed, predictions))


class OverallAccuracy(Metric):
    """A_o = (1 − f_u)·A_a + f_u·A_d.

    Args:
        unavailable: f_u, the fraction of predictions that are late or lost.

    Example:
        >>> metric = OverallAccuracy(unavailable=0.1)
        >>> labels, right, wrong = torch.tensor([[1]]), torch.tensor([[[0.0, 1.0]]]), torch.tensor([[[1.0, 0.0]]])
        >>> metric.update(right, wrong, labels)
        >>> metric.compute()
        tensor(0.9000)
    """

    higher_is_better = True
    full_state_update = False

    def __init__(self, unavailable: float, **settings: Any) -> None:
        super().__init__(**settings)
        if not 0 <= unavailable <= 1:
            raise ValueError(f"the fraction unavailable is {unavailable}; it is right between 0 and 1")
        self.unavailable = unavailable
        self.available, self.degraded = AvailableAccuracy(**settings), DegradedAccuracy(**settings)

    def update(self, predictions: Tensor, reconstructed: Tensor, labels: Tensor) -> None:
        """Count the deployed model's and the reconstructed predictions ``[g, k, c]`` against labels ``[g, k]``."""
        self.available.update(predictions, labels)
        self.degraded.update(reconstructed, labels)

    def compute(self) -> Tensor:
        """Return A_o."""
        return (1 - self.unavailable) * self.available.compute() + self.unavailable * self.degraded.compute()


def validation_metrics(measures: Measures) -> MetricCollection:
    """Return what a training is watched and its best epoch chosen by.

    Example:
        >>> from parmtrain.metrics.measures import of_classes
        >>> sorted(validation_metrics(of_classes(10)))
        ['agreement', 'degraded_accuracy']
    """
    return MetricCollection(
        {
            f"degraded_{measures.name}": Degraded(measures.main),
            "agreement": ReconstructionAgreement(measures.agreement),
        }
    )
