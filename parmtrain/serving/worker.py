"""The worker of an instance: one process that runs one model, one query at a time."""

import numpy as np
import torch

from parmtrain.programs import Network, Packed


class Worker:
    """Run one model in a process of its own.

    Args:
        model: Packed network that maps queries ``[b, *query]`` to outputs ``[b, w]``.
    """

    def __init__(self, model: Packed) -> None:
        torch.set_num_threads(1)
        self.model: Network = model.unpack()

    def ready(self) -> bool:
        """Return True, once the worker is up."""
        return True

    def run(self, query: np.ndarray) -> np.ndarray:
        """Map one query ``[*query]`` to its output ``[w]``."""
        with torch.inference_mode():
            return self.model(torch.from_numpy(query.copy()).unsqueeze(0))[0].numpy()
