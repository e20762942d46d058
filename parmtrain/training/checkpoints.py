"""Write checkpoints atomically: a crash or a full disk leaves the last good one; and read them."""

from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning_fabric.utilities.types import _PATH

from parmtrain.cache import require_damage
from parmtrain.files import replacing
from parmtrain.programs import entries_of

PARTS = ("state_dict", "loops", "callbacks")


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


def read_checkpoint(path: Path) -> dict[str, Any] | None:
    """Return the content of a checkpoint, on the CPU; None if the file is damaged or of another kind.

    Raises:
        OSError: If the file cannot be read at all.
    """
    try:
        entries_of(path)  # compares checksums, as PyTorch does not
        content = torch.load(path, map_location="cpu", weights_only=True)
        whole = isinstance(content, dict) and all(isinstance(content.get(key), dict) for key in PARTS)
    except Exception as fault:  # a damaged file can raise anything
        require_damage(fault)
        return None
    return content if whole else None
