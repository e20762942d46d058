"""What an instance is: one process that runs one model, one query at a time."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor


class Worker:
    """An actor that runs one model.

    Args:
        model: Maps queries ``[b, *query]`` to outputs ``[b, w]``.
        wait: Called before each query with its number here, to slow an instance in an experiment.
    """

    def __init__(self, model: Callable[[Tensor], Tensor] | bytes, wait: Callable[[], None] | None = None) -> None:
        torch.set_num_threads(1)
        self.model = read_archive(model) if isinstance(model, bytes) else model
        self.wait = wait

    def ready(self) -> bool:
        """Return when the actor is there."""
        return True

    def run(self, query: np.ndarray) -> np.ndarray:
        """Map one query ``[*query]`` to its output ``[w]``."""
        if self.wait is not None:
            self.wait()
        with torch.inference_mode():
            return self.model(torch.from_numpy(query.copy()).unsqueeze(0))[0].numpy()


def archive(model: Any) -> Any:
    """Return what a model is sent as: a TorchScript archive's bytes, or the model itself."""
    if not isinstance(model, torch.jit.ScriptModule):
        return model
    buffer = io.BytesIO()
    torch.jit.save(model, buffer)
    return buffer.getvalue()


def read_archive(content: bytes) -> torch.jit.ScriptModule:
    """Read a TorchScript archive from its bytes."""
    loaded: torch.jit.ScriptModule = torch.jit.load(io.BytesIO(content))
    return loaded
