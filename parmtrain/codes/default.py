"""What services do today: a fixed answer in the place of a late prediction."""

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from parmtrain.codes.base import Code, FreshModel, only
from parmtrain.deployed import DeployedModel


class NoParity(nn.Module):
    """Make no coded query at all."""

    def forward(self, queries: Tensor) -> Tensor:
        """Map queries ``[g, k, *query]`` to ``[g, 0, *query]``."""
        return queries[:, :0]


class FixedAnswer(nn.Module):
    """Answer with a prediction or, where that is late, always with the same.

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
    """The default answer: the class that most training queries have or, of answers that are numbers, their mean.

    Args:
        k: Queries in a group, 2 or more.
        outputs: Length of one prediction.
        r: Extra workers, 0.

    Example:
        >>> code = Default(k=2, outputs=3)
        >>> code.fit(DeployedModel(abs), torch.zeros(2, 2, 1), torch.tensor([[2, 2], [0, 2]]))
        >>> code.decode(torch.ones(1, 2, 3), torch.tensor([[True, False]]))
        tensor([[[1., 1., 1.],
                 [0., 0., 1.]]])
    """

    def __init__(self, k: int, outputs: int, r: int | None = None) -> None:
        extra = only("default", r, 0, "has no extra worker")
        super().__init__(k, extra, NoParity(), FixedAnswer(outputs))

    @property
    def stragglers(self) -> int:
        """One, to have the same figure as other codes; the answer is the same for any number."""
        return 1

    def parity_models(
        self, query_shape: tuple[int, ...], deployed: DeployedModel, fresh: FreshModel
    ) -> list[nn.Module]:
        """Return none."""
        return []

    def fit(self, deployed: DeployedModel, queries: Tensor, labels: Tensor) -> None:
        """Choose the answer."""
        answer: Tensor = self.decoder.answer  # type: ignore[assignment]
        flat = labels.flatten(0, 1)
        chosen = flat.mean(dim=0) if flat.is_floating_point() else one_hot(flat.mode().values, len(answer))
        answer.copy_(chosen)
