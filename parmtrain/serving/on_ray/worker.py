"""The worker of an instance: one process that runs one model, one batch at a time."""

import numpy as np
import torch

from parmtrain.programs import Packed
from parmtrain.serving.instances.runner import Runner


class Worker:
    """Run one model in a process of its own.

    Args:
        model: Packed network that maps queries ``[b, *query]`` to outputs ``[b, w]``.
        device: Where it runs.
        precision: In which type it calculates, as ``Runner`` takes it.
    """

    def __init__(self, model: Packed, device: str = "cpu", precision: str = "float32") -> None:
        torch.set_num_threads(1)
        self.model = Runner(model.unpack(), device, precision)

    def ready(self) -> bool:
        """Return True, once the worker is up."""
        return True

    def run(self, queries: np.ndarray) -> np.ndarray:
        """Map queries ``[b, *query]`` to outputs ``[b, w]``."""
        return self.model(queries)
