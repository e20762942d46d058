"""Loading an exported bundle back as one object."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from parmtrain.deployed import read_torchscript
from parmtrain.errors import ExportError
from parmtrain.export import DECODER, DESCRIPTION, ENCODER, FORMAT, parity_file


class Bundle:
    """An encoder, its parity models and their decoder, ready to serve.

    Args:
        folder: The export folder, or the run's folder that holds it. TorchScript archives are programs: load only those
            that you would run.

    Attributes:
        about: What ``bundle.json`` says.

    Raises:
        ExportError: If a file is missing or is not the one that was exported.
    """

    def __init__(self, folder: str | Path) -> None:
        folder = Path(folder)
        self.folder = folder / "export" if (folder / "export" / DESCRIPTION).is_file() else folder
        self.about = _description(self.folder)
        for name, digest in self.about["files"].items():
            path = self.folder / name
            if not path.is_file():
                raise ExportError(f"{path} is missing; the bundle is incomplete")
            if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
                raise ExportError(f"{path} is not the file that was exported: its SHA-256 is not that of {DESCRIPTION}")
        self.encoder, self.decoder = read_torchscript(self.folder / ENCODER), read_torchscript(self.folder / DECODER)
        self.parity_models = [read_torchscript(self.folder / parity_file(j)) for j in range(self.about["r"])]

    @property
    def k(self) -> int:
        """Queries in a coding group."""
        return int(self.about["k"])

    def encode(self, queries: Tensor) -> Tensor:
        """Encode queries ``[g, k, *query]`` into parity queries ``[g, r, *parity]``."""
        parity_queries: Tensor = self.encoder(queries)
        return parity_queries

    @torch.no_grad()
    def predict(self, parity_queries: Tensor) -> Tensor:
        """Run each parity model on its parity query: ``[g, r, *parity]`` to ``[g, r, c]``."""
        return torch.stack([model(parity_queries[:, j]) for j, model in enumerate(self.parity_models)], dim=1)

    def decode(self, outputs: Tensor, arrived: Tensor) -> Tensor:
        """Return predictions ``[g, k, c]`` from the worker outputs ``[g, n, c]`` that ``arrived`` ``[g, n]``."""
        predictions: Tensor = self.decoder(outputs, arrived)
        return predictions


def load(folder: str | Path) -> Bundle:
    """Load the bundle that a run exported, given the run's folder or its export folder."""
    return Bundle(folder)


def _description(folder: Path) -> dict[str, Any]:
    path = folder / DESCRIPTION
    try:
        about: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as fault:
        raise ExportError(f"{folder} holds no bundle: there is no {path}") from fault
    except ValueError as fault:
        raise ExportError(f"{path} is damaged: {fault}") from fault
    if about.get("format") != FORMAT:
        raise ExportError(f"{path} has format {about.get('format')}; this parmtrain reads format {FORMAT}")
    return about
