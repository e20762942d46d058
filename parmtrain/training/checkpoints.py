"""Write checkpoints atomically: a crash or a full disk leaves the last good one."""

from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning_fabric.utilities.types import _PATH

from parmtrain.files import replacing


class AtomicCheckpoints(TorchCheckpointIO):
    """Checkpoints as PyTorch files, each replaced as a whole."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: _PATH, storage_options: Any | None = None) -> None:
        """Write a checkpoint.

        Args:
            checkpoint: State of the training.
            path: The file; an existing one is replaced once the new one is on the disk.
            storage_options: Not used.

        Raises:
            StorageError: If the disk is full.
        """
        with replacing(Path(path)) as temporary:
            torch.save(checkpoint, temporary)
