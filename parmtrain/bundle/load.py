"""Load an exported bundle as one object."""

from pathlib import Path

import torch
from torch import Tensor

from parmtrain.bundle.confidence_part import read_confidence
from parmtrain.bundle.deployed_part import read_deployed, recognised
from parmtrain.bundle.description import (
    DECODER,
    DESCRIPTION,
    ENCODER,
    TORCHSCRIPT,
    parity_model,
    read_description,
    require_files,
)
from parmtrain.bundle.examples import located
from parmtrain.bundle.formats import format_named
from parmtrain.codes import Scheme, run_coded, scheme_of, worker_outputs
from parmtrain.confidence import Promises
from parmtrain.deployed import DeployedModel
from parmtrain.errors import ExportError, InputError
from parmtrain.inputs import as_folder, require_tensor
from parmtrain.programs import Network
from parmtrain.run_folder import RunFolder

PREPARED = "; bundle.json states under preprocessing how queries are prepared"


class Bundle:
    """An encoder, the models that run its coded queries and a decoder, ready to serve.

    Args:
        folder: The export folder, the run's folder that holds it, or an example, ``example:digits``. Bundles are
            programs: load only those that you would run.
        deployed: The deployed model, for ``reconstruct`` and for codes whose coded queries it runs itself, in place of
            the bundle's own.

    Attributes:
        about: Content of ``bundle.json``.
        deployed: The deployed model, if it is in the bundle or was given.
        confidence: Maps predictions ``[g, k, c]`` and the workers that arrived ``[g, n]`` (bool) to how far each can be
            trusted ``[g, k]``; None in bundles of older versions.

    Raises:
        ExportError: If a file is missing or has changed since the export.
    """

    def __init__(self, folder: str | Path, deployed: Network | None = None) -> None:
        folder = located(as_folder("folder", folder))
        inside = RunFolder(folder).export
        self.folder = inside if (inside / DESCRIPTION).is_file() else folder
        if self.folder == folder and RunFolder(folder).begun:
            raise ExportError(f"{folder} holds an unfinished run; finish it first: the command of the run resumes it")
        self.about = read_description(self.folder)
        require_files(self.folder, self.about["files"])
        format = format_named(self.about.get("export_format", TORCHSCRIPT))
        names = (ENCODER, DECODER, *(parity_model(j) for j in range(self.about["parity"]["models"])))
        self.encoder, self.decoder, *models = (format.load(self.folder / f"{name}{format.suffix}") for name in names)
        self.parity_models: list[Network] = models
        self.confidence = read_confidence(self.folder, self.about["files"], self.k, self.n, self.outputs, format)
        self.deployed: DeployedModel | None = None
        if deployed is not None:
            self.take_deployed(deployed)
            return
        own = read_deployed(self.folder, self.about["files"], self.about["deployed"], self.query_shape, format)
        if own is not None:
            self._use(own)

    def __repr__(self) -> str:
        """Return what it codes, and where it is."""
        return f"<Bundle task={self.about['task']} code={self.about['code']} k={self.k} in {self.folder}>"

    def take_deployed(self, deployed: Network) -> "Bundle":
        """Use a deployed model from now on, on the CPU, and return the bundle; a module is copied.

        Raises:
            DeployedModelError: If it has no weights, and answers otherwise than the deployed model did in training.
            ExportError: If it is not the deployed model that the bundle was trained for.
        """
        return self._use(recognised(deployed, self.about["deployed"], self.query_shape, self.folder))

    def _use(self, deployed: DeployedModel) -> "Bundle":
        self.deployed = deployed
        if not self.about["parity"]["models"]:
            self.parity_models = [deployed]
        return self

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
        """Number of workers of a group, any of them, that may be late at once."""
        return int(self.about["stragglers"])

    @property
    def coded(self) -> int:
        """Coded queries per group."""
        return int(self.about["coded"])

    @property
    def outputs(self) -> int:
        """Length of one prediction."""
        return int(self.about["shapes"]["prediction"][0])

    @property
    def width(self) -> int:
        """Length of a worker output."""
        return int(self.about["shapes"]["worker_output"][0])

    @property
    def query_shape(self) -> tuple[int, ...]:
        """Shape of one query."""
        return tuple(self.about["shapes"]["query"])

    @property
    def parity_shape(self) -> tuple[int, ...]:
        """Shape of one coded query."""
        return tuple(self.about["shapes"]["parity_query"])

    @property
    def scheme(self) -> Scheme:
        """Which worker runs what, and which outputs give which prediction."""
        if "scheme" in self.about:
            return Scheme.from_json(self.about["scheme"])
        return scheme_of(self, self.about["parity"]["models"], self.width)

    @property
    def promises(self) -> Promises | None:
        """What is promised of reconstructions that are accepted; None in bundles that have no confidence."""
        stated = self.about.get("promises")
        return None if stated is None else Promises.from_json(stated)

    @torch.no_grad()
    def encode(self, queries: Tensor) -> Tensor:
        """Encode queries ``[g, k, *query]`` (float32) into coded queries ``[g, coded, *parity]``.

        Raises:
            InputError: If they have another shape or type.
        """
        self._require("queries", queries, self.k, *self.query_shape)
        if not queries.isfinite().all():
            raise InputError("queries must be finite, got NaN or infinity, which can spoil other answers of a group")
        coded: Tensor = self.encoder(queries)
        return coded

    @torch.no_grad()
    def predict(self, coded_queries: Tensor) -> Tensor:
        """Run the coded queries through their models: ``[g, coded, *parity]`` to ``[g, coded, w]``.

        Raises:
            ExportError: If the deployed model runs them, and the bundle was loaded without it.
            InputError: If they have another shape or type.
        """
        self._require("coded queries", coded_queries, self.coded, *self.about["shapes"]["parity_query"])
        if self.coded and not self.parity_models:
            raise ExportError(
                f"code={self.about['code']} runs coded queries on the deployed model, which this bundle does not hold; "
                "pass it to parmtrain.load(folder, deployed=…)"
            )
        return run_coded(self.parity_models, coded_queries)

    def gather(self, predictions: Tensor, coded_outputs: Tensor) -> Tensor:
        """Combine predictions ``[g, k, c]`` and coded outputs ``[g, coded, w]`` into worker outputs ``[g, n, w]``.

        Raises:
            InputError: If they have another shape or type.
        """
        if self.systematic:
            self._require("predictions", predictions, self.k, self.outputs)
        if self.coded:
            self._require("coded outputs", coded_outputs, self.coded, self.width)
        if self.systematic and self.coded and len(predictions) != len(coded_outputs):
            raise InputError(
                f"predictions and coded outputs must be of one number of groups, got {len(predictions)} and "
                f"{len(coded_outputs)}"
            )
        return worker_outputs(predictions, coded_outputs, self.systematic)

    @torch.no_grad()
    def decode(self, outputs: Tensor, arrived: Tensor) -> Tensor:
        """Return predictions ``[g, k, c]`` from the worker outputs ``[g, n, w]`` that ``arrived`` ``[g, n]`` (bool).

        Raises:
            InputError: If they have another shape or type.
        """
        self._require("outputs", outputs, self.n, self.width)
        require_tensor("arrived", arrived, (len(outputs), self.n), torch.bool)
        predictions: Tensor = self.decoder(outputs, arrived)
        return predictions

    @torch.no_grad()
    def reconstruct(self, queries: Tensor, lost: int = 0) -> Tensor:
        """Answer groups of queries ``[g, k, *query]`` as if one worker's output were lost.

        Args:
            queries: Queries (float32), as the deployed model takes them.
            lost: Index of the lost worker, from 0; worker i < k of a systematic code runs F on query i.

        Returns:
            All predictions of the groups ``[g, k, c]``, with the lost one reconstructed.

        Raises:
            ExportError: If the bundle was loaded without the deployed model.
            InputError: If queries have another shape or type, or there is no such worker.
        """
        if self.deployed is None:
            raise ExportError("reconstruct needs the deployed model; load the bundle with load(folder, deployed=…)")
        if not hasattr(lost, "__index__") or isinstance(lost, bool) or not 0 <= lost < self.n:
            raise InputError(f"lost must be a worker from 0 to {self.n - 1}, got {lost}")
        coded = self.predict(self.encode(queries))
        predictions = self.deployed(queries.flatten(0, 1)).unflatten(0, queries.shape[:2])
        outputs = self.gather(predictions, coded)
        arrived = torch.ones(outputs.shape[:2], dtype=torch.bool)
        arrived[:, lost] = False
        return self.decode(outputs.masked_fill(~arrived.unsqueeze(2), torch.nan), arrived)

    def _require(self, name: str, given: Tensor, *shape: int) -> None:
        require_tensor(name, given, ("g", *shape), torch.float32, PREPARED if name == "queries" else "")


def load(folder: str | Path, deployed: Network | None = None) -> Bundle:
    """Load the bundle that a run exported, given the run's folder or its export folder.

    Args:
        folder: The folder, as for ``Bundle``.
        deployed: The deployed model in place of the bundle's own.

    Raises:
        DeployedModelError: If the deployed model cannot be called.
        ExportError: If a file is missing or has changed since the export, or the deployed model is another one.
        InputError: If the folder is no path.
    """
    return Bundle(folder, deployed)
