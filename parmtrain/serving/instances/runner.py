"""A network on the device that it runs on, from NumPy arrays to NumPy arrays."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from parmtrain.errors import ConfigError, reason_of
from parmtrain.programs import Network

TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""Types in which a network can calculate; weights and outputs stay what they are."""
TRAINED = {"bf16-mixed": "bfloat16", "16-mixed": "float16"}
WARM_UP = 5


class Runner:
    """Run a network for batches of queries.

    Args:
        network: Maps queries ``[b, *query]`` to outputs ``[b, w]``.
        device: Where it runs; a module is moved there.
        precision: One of ``TYPES``. With another than ``float32``, PyTorch's autocast chooses the operations which
            are calculated so, as it does in training with mixed precision.

    Example:
        >>> runner = Runner(nn.Linear(3, 2))
        >>> runner(np.zeros((4, 3), dtype=np.float32)).shape
        (4, 2)
    """

    def __init__(self, network: Network, device: str = "cpu", precision: str = "float32") -> None:
        self.device, self.type = torch.device(device), TYPES[precision]
        self._network = network.to(self.device) if isinstance(network, nn.Module) else network

    def __call__(self, queries: np.ndarray) -> np.ndarray:
        """Map queries ``[b, *query]`` to outputs ``[b, w]``, float32."""
        mixed = torch.autocast(self.device.type, self.type, enabled=self.type is not torch.float32)
        with torch.inference_mode(), mixed:
            outputs: np.ndarray = self._network(self._sent(queries)).float().cpu().numpy()
        return outputs

    def _sent(self, queries: np.ndarray) -> Tensor:
        """Return queries on the device; those for a GPU go through pinned memory."""
        given = torch.from_numpy(np.array(queries))  # arrays that came from elsewhere may be read-only
        if self.device.type == "cuda":
            return given.pin_memory().to(self.device, non_blocking=True)
        return given.to(self.device)

    def warm_up(self, query_shape: tuple[int, ...], most: int = 1) -> None:
        """Run batches of every size up to ``most``: TorchScript optimizes for a size as it first comes.

        Raises:
            ConfigError: If the network does not run on the device.
        """
        try:
            for size in range(1, most + 1):
                for _ in range(WARM_UP):
                    self(np.zeros((size, *query_shape), dtype=np.float32))
        except Exception as fault:  # a network can raise anything
            raise ConfigError([f"the model must run on device={self.device}, but: {reason_of(fault)}"]) from fault


def precision_of(about: Mapping[str, Any], device: str) -> str:
    """Return in which type a bundle's models calculate: on a GPU that which they were trained with.

    Args:
        about: The content of ``bundle.json``.
        device: Where they run.

    Example:
        >>> [precision_of({"precision": "bf16-mixed"}, device) for device in ("cuda", "cpu")]
        ['bfloat16', 'float32']
    """
    return TRAINED.get(str(about.get("precision")), "float32") if device.startswith("cuda") else "float32"
