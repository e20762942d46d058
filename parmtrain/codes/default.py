"""What services do today: return a fixed default for a late prediction."""

import torch
from torch import Tensor, nn

from parmtrain.codes.base import Code, FreshModel, require_r
from parmtrain.deployed import DeployedModel
from parmtrain.metrics.measures import Measures


class NoParity(nn.Module):
    """Make no coded queries."""

    def forward(self, queries: Tensor) -> Tensor:
        """Map queries ``[g, k, *query]`` to ``[g, 0, *query]``."""
        return queries[:, :0]


class FixedAnswer(nn.Module):
    """Return each prediction or, if it is late, a fixed default.

    Args:
        outputs: Length of one prediction.
    """

    answer: Tensor

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.register_buffer("answer", torch.zeros(outputs))

    def forward(self, outputs: Tensor, arrived: Tensor) -> Tensor:
        """Map worker outputs ``[g, k, c]`` and ``arrived`` ``[g, k]`` to predictions ``[g, k, c]``."""
        return torch.where(arrived.unsqueeze(-1), outputs, self.answer.to(outputs.dtype))


class Default(Code):
    """The default baseline: a constant prediction, such as the most frequent class or the mean box.

    Args:
        k: Queries in a coding group, 2 or more.
        outputs: Length of one prediction.
        r: Extra workers per group, 0.

    Example:
        >>> from parmtrain.metrics import of_classes
        >>> code = Default(k=2, outputs=3)
        >>> code.fit(DeployedModel(abs), torch.zeros(2, 2, 1), torch.tensor([[2, 2], [0, 2]]), of_classes(3))
        >>> code.decode(torch.ones(1, 2, 3), torch.tensor([[True, False]]))
        tensor([[[1., 1., 1.],
                 [0., 0., 1.]]])
    """

    def __init__(self, k: int, outputs: int, r: int | None = None) -> None:
        extra = require_r("default", r, 0, "has no extra workers")
        super().__init__(k, extra, NoParity(), FixedAnswer(outputs))

    @property
    def stragglers(self) -> int:
        """1, to be comparable with other codes; the default does not depend on the number of stragglers."""
        return 1

    def parity_models(
        self, query_shape: tuple[int, ...], deployed: DeployedModel, fresh: FreshModel
    ) -> list[nn.Module]:
        """Return no models."""
        return []

    def fit(self, deployed: DeployedModel, queries: Tensor, labels: Tensor, measures: Measures) -> None:
        """Choose the default on training labels."""
        answer: Tensor = self.decoder.answer  # type: ignore[assignment]
        answer.copy_(measures.constant(labels.flatten(0, 1)))
