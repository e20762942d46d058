"""The expected agreement of a reconstructed prediction of any kind, learned from validation queries."""

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from parmtrain.confidence.base import Confidence

COMPONENTS, HIDDEN, STEPS, SEED = 8, 16, 400, 0


class Expected(Confidence):
    """A small network that expects the agreement of a prediction, such as the IoU of a box or the cosine of embeddings.

    It sees the prediction's first principal components, what these leave of it, its length, and the number of late
    workers.

    Example:
        >>> confidence = Expected("boxes", numbers=1, outputs=4)
        >>> boxes = torch.rand(500, 4, generator=torch.Generator().manual_seed(0))
        >>> confidence.fit(boxes, torch.ones(500), agreement=(boxes[:, 0] > 0.5).float())  # those at the left are wrong
        >>> left, right = torch.full((4,), 0.5).index_fill(0, torch.tensor([0]), 0.1), torch.full((4,), 0.9)
        >>> (confidence(torch.stack([left, right])[None], torch.tensor([[False, True, True]])) > 0.5).tolist()
        [[False, True]]
    """

    mean: Tensor
    components: Tensor
    centre: Tensor
    scale: Tensor

    def __init__(self, kind: str, numbers: int, outputs: int) -> None:
        super().__init__(kind, numbers, outputs)
        kept = min(COMPONENTS, outputs)
        self.register_buffer("mean", torch.zeros(outputs))
        self.register_buffer("components", torch.eye(outputs)[:kept])
        self.register_buffer("centre", torch.zeros(kept + 3))
        self.register_buffer("scale", torch.ones(kept + 3))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            self.network = nn.Sequential(nn.Linear(kept + 3, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, 1))

    def fit(self, predictions: Tensor, late: Tensor, agreement: Tensor) -> None:
        """Train the network on all predictions at once."""
        self.mean.copy_(predictions.mean(dim=0))
        apart = predictions - self.mean
        _, _, directions = torch.linalg.svd(apart, full_matrices=False)
        found = min(len(directions), len(self.components))
        self.components.zero_()[:found] = directions[:found]
        seen = self._seen(predictions.unsqueeze(1), late)[:, 0]
        self.centre.copy_(seen.mean(dim=0))
        self.scale.copy_(seen.std(dim=0, correction=0).clamp_min(1e-6))
        seen = (seen - self.centre) / self.scale
        optimizer = torch.optim.AdamW(self.network.parameters(), lr=0.02, weight_decay=0.05)
        with torch.enable_grad():
            for _ in range(STEPS):
                optimizer.zero_grad()
                binary_cross_entropy_with_logits(self.network(seen)[:, 0], agreement.float()).backward()
                optimizer.step()
        self.network.requires_grad_(False)

    def of(self, predictions: Tensor, late: Tensor) -> Tensor:
        """Map finite predictions ``[g, k, c]`` and the number of late workers ``[g]`` to confidences ``[g, k]``."""
        seen = (self._seen(predictions, late) - self.centre) / self.scale
        expected: Tensor = self.network(seen)
        return expected[:, :, 0].sigmoid()

    def _seen(self, predictions: Tensor, late: Tensor) -> Tensor:
        """Return what the network sees of predictions ``[g, k, c]``: ``[g, k, components + 3]``."""
        apart = predictions - self.mean
        along = apart @ self.components.T
        beyond = (apart - along @ self.components).norm(dim=2, keepdim=True)
        number = late.to(along.dtype)[:, None, None].expand(-1, along.size(1), -1)
        return torch.cat([along, beyond, predictions.norm(dim=2, keepdim=True), number], dim=2)
