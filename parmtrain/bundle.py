"""Loading an exported bundle back as one object."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from parmtrain.codes import run_coded, worker_outputs
from parmtrain.deployed import DeployedModel, Network, read_torchscript
from parmtrain.errors import ExportError

FORMAT = 3
ENCODER, DECODER, DESCRIPTION = "encoder.ts", "decoder.ts", "bundle.json"


def parity_file(j: int) -> str:
    """Return the file name of parity model j, counted from 0.

    Example:
        >>> parity_file(0), parity_file(1)
        ('parity_model.ts', 'parity_model_2.ts')
    """
    return "parity_model.ts" if j == 0 else f"parity_model_{j + 1}.ts"


class Bundle:
    """An encoder, the models that run its coded queries and a decoder, ready to serve.

    Args:
        folder: The export folder, or the run's folder that holds it. TorchScript archives are programs: load only those
            that you would run.
        deployed: The deployed model, for codes whose coded queries it runs itself.

    Attributes:
        about: What ``bundle.json`` says.

    Raises:
        ExportError: If a file is missing or is not the one that was exported.
    """

    def __init__(self, folder: str | Path, deployed: Network | None = None) -> None:
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
        count = self.about["parity"]["models"]
        self.parity_models: list[Network] = [read_torchscript(self.folder / parity_file(j)) for j in range(count)]
        if not count and deployed is not None:
            self.parity_models = [deployed if isinstance(deployed, DeployedModel) else DeployedModel(deployed)]

    @property
    def k(self) -> int:
        """Queries in a coding group."""
        return int(self.about["k"])

    @property
    def n(self) -> int:
        """Workers that answer one group."""
        return int(self.about["n"])

    @property
    def systematic(self) -> bool:
        """Whether the deployed model runs the queries themselves."""
        return bool(self.about["systematic"])

    @property
    def stragglers(self) -> int:
        """Workers of a group, whichever they are, that may all be late."""
        return int(self.about["stragglers"])

    @torch.no_grad()
    def encode(self, queries: Tensor) -> Tensor:
        """Encode queries ``[g, k, *query]`` into coded queries ``[g, coded, *parity]``."""
        coded: Tensor = self.encoder(queries)
        return coded

    @torch.no_grad()
    def predict(self, coded_queries: Tensor) -> Tensor:
        """Run the coded queries through their models: ``[g, coded, *parity]`` to ``[g, coded, c]``.

        Raises:
            ExportError: If the deployed model runs them, and the bundle was loaded without it.
        """
        if self.about["coded"] and not self.parity_models:
            raise ExportError(
                f"code={self.about['code']} runs coded queries on the deployed model, which is in no bundle; "
                "parmtrain.load(folder, deployed=…) gives it"
            )
        return run_coded(self.parity_models, coded_queries)

    def gather(self, predictions: Tensor, coded_outputs: Tensor) -> Tensor:
        """Put worker outputs ``[g, n, w]`` together, of predictions ``[g, k, c]`` and outputs ``[g, coded, w]``."""
        return worker_outputs(predictions, coded_outputs, self.systematic)

    @torch.no_grad()
    def decode(self, outputs: Tensor, arrived: Tensor) -> Tensor:
        """Return predictions ``[g, k, c]`` from the worker outputs ``[g, n, c]`` that ``arrived`` ``[g, n]``."""
        predictions: Tensor = self.decoder(outputs, arrived)
        return predictions


def load(folder: str | Path, deployed: Network | None = None) -> Bundle:
    """Load the bundle that a run exported, given the run's folder or its export folder.

    Args:
        folder: The folder.
        deployed: The deployed model, for codes whose coded queries it runs itself.
    """
    return Bundle(folder, deployed)


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
