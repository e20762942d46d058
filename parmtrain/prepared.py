"""The task, data and deployed model of a configuration, and scoring a code on them."""

import copy
import logging
import os
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from parmtrain.bundle import Bundle
from parmtrain.bundle.description import DESCRIPTION
from parmtrain.cache import key_of
from parmtrain.codes import CodedPredictor
from parmtrain.config import assemble
from parmtrain.config.stored import stored_config
from parmtrain.deployed import DeployedModel, private_copy
from parmtrain.errors import ConfigError, DeployedModelError, MissingDataError
from parmtrain.evaluation.partial import PartialGroups
from parmtrain.evaluation.predictions import predict_all
from parmtrain.evaluation.score import ScoredSplit, score_groups
from parmtrain.evaluation.scores import Scores
from parmtrain.files import replacing
from parmtrain.inputs import as_folder
from parmtrain.metrics import Measures
from parmtrain.programs import Network, read_network, weights
from parmtrain.run_folder import RunFolder
from parmtrain.tasks.base import Task
from parmtrain.tasks.queries import QuerySet, Splits
from parmtrain.training.deployed import Recipe, deployed_file, train_deployed
from parmtrain.training.intact import require_intact

log = logging.getLogger(__name__)
FROM_PYTHON = "python"
PASS_IT = "evaluate: --deployed-path FILE, serve: deployed=FILE"


class Prepared:
    """Provide a configuration's task, data and deployed model, each loaded on first use.

    Args:
        cfg: The configuration.
        given: A deployed model, any module or callable on tensors, in place of ``deployed.path``; a module is copied.

    Raises:
        DeployedModelError: If the given module cannot be copied.
    """

    def __init__(self, cfg: DictConfig, given: Network | None = None) -> None:
        self.cfg, self.given = cfg, None if given is None else private_copy(given)
        if isinstance(self.given, nn.Module):
            self.given.cpu()

    def under(self, cfg: DictConfig) -> "Prepared":
        """Return the same task, data and deployed model under a configuration with another code or training of it."""
        other = copy.copy(self)
        other.cfg = cfg
        return other

    @property
    def trains_deployed(self) -> bool:
        """Whether the deployed model is trained as configured, and not given."""
        return self.given is None and self.cfg.deployed.path is None

    @property
    def origin(self) -> str:
        """Where the deployed model comes from: ``trained``, ``file``, or ``python`` if it was given."""
        if self.given is not None:
            return FROM_PYTHON
        return "trained" if self.cfg.deployed.path is None else "file"

    @cached_property
    def task(self) -> Task:
        """The task."""
        task: Task = assemble.build(self.cfg.task)
        return task

    @cached_property
    def measures(self) -> Measures:
        """Kind of predictions, and the measures that score them."""
        return assemble.measures(self.cfg, self.task)

    def fetch(self) -> None:
        """Make sure that the data is available: download it if needed and allowed.

        Raises:
            DataError: If it is missing or incomplete.
        """
        try:
            self.task.source.locate()
        except MissingDataError:
            if not self.cfg.data.download:
                raise
            self.task.source.download()

    @cached_property
    def splits(self) -> "Splits[QuerySet]":
        """Queries and labels; reading them may raise a ``DataError``."""
        return self.task.splits()

    def require_intact(self) -> None:
        """Raise a ``DataError`` that names photographs that cannot be decoded, if any."""
        require_intact(self.splits, assemble.cache_folder(self.cfg), self.cfg.data.workers)

    @cached_property
    def deployed(self) -> DeployedModel:
        """The deployed model: the given one, the one in ``deployed.path``, or one trained for the task once.

        Raises:
            DeployedModelError: If it cannot be read or does not fit the task.
            Interrupted: If the user stops its training.
        """
        cfg, task, name = self.cfg, self.task, "the deployed model"
        if self.given is not None:
            network = self.given
        elif cfg.deployed.path is not None:
            path = Path(cfg.deployed.path).expanduser()
            name = f"deployed.path={path}"
            network = read_network(path, self._architecture)
        else:
            network = self._trained()
        return assemble.deployed_model(cfg, task, network, name)

    def _architecture(self) -> nn.Module:
        return assemble.architecture(self.cfg.deployed.model, self.task, self.task.query_shape)

    @cached_property
    def recipe(self) -> Recipe:
        """How the deployed model is trained if none is given."""
        return assemble.recipe(self.cfg, self.task)

    def _trained(self) -> nn.Module:
        cache = assemble.cache_folder(self.cfg)
        return train_deployed(self.task, self.splits, self.recipe, cache, self.cfg.data.workers)

    def keep_deployed(self, place: RunFolder) -> None:
        """Write the deployed model's weights into the folder of a run, if it was trained here."""
        if self.trains_deployed:
            with replacing(place.deployed) as temporary:
                torch.save(weights(self.deployed.network), temporary)

    @property
    def data(self) -> str:
        """Digest of all queries and labels."""
        return key_of([part.digest for part in self.splits])

    def predict(self, queries: QuerySet, title: str, device: torch.device | None = None) -> Tensor:
        """Return the deployed model's predictions on queries ``[n, c]``, from the cache if possible."""
        cache, workers = assemble.cache_folder(self.cfg), self.cfg.data.workers
        return predict_all(self.deployed, queries, self.task.input, cache, title, device, workers)

    def evaluate(
        self, predictor: CodedPredictor, device: torch.device | None = None, queries: QuerySet | None = None
    ) -> Scores:
        """Score a module or a bundle.

        Args:
            predictor: Module or bundle that encodes, predicts and decodes, on ``device`` and in evaluation mode.
            device: Device to compute on.
            queries: The split to score; the test split by default.
        """
        chosen = self.splits.test if queries is None else queries
        default = self.task.default(self.splits.train.labels, chosen.labels)
        split = ScoredSplit(chosen, self.predict(chosen, "predicting", device), self.task.input, default)
        cfg = self.cfg

        def scored(predictor: CodedPredictor) -> Scores:
            shares, workers = list(cfg.unavailable), cfg.data.workers
            return score_groups(predictor, split, self.measures, cfg.seed, shares, device, workers)

        sizes = range(1, predictor.k) if cfg.partial else ()
        partial = {size: scored(PartialGroups(predictor, size)).degraded for size in sizes}
        return replace(scored(predictor), partial=partial)


class Reopened(Prepared):
    """The task, data and deployed model of a finished run; nothing is trained.

    Args:
        cfg: Its configuration.
        place: Its folder.
        given: The deployed model itself, in place of a file.
        bundled: The deployed model as the run's bundle holds it, for want of any other.
    """

    def __init__(
        self, cfg: DictConfig, place: RunFolder, given: Network | None = None, bundled: DeployedModel | None = None
    ) -> None:
        super().__init__(cfg, given)
        self.place, self.bundled = place, bundled

    @cached_property
    def deployed(self) -> DeployedModel:
        """The deployed model."""
        return super().deployed if self.bundled is None else self.bundled

    def _trained(self) -> nn.Module:
        kept = self.place.deployed
        if kept.is_file():
            return read_network(kept, self._architecture, name=str(kept))
        cached = deployed_file(self.task, self.splits, self.recipe, assemble.cache_folder(self.cfg))
        if cached.is_file():
            return read_network(cached, self._architecture, name=str(cached))
        raise DeployedModelError(
            f"the deployed model of {self.place.path} must be in {kept} or in the cache, got neither; pass its file "
            f"({PASS_IT})"
        )


def reopen(
    folder: str | Path, changes: dict[str, Any] | None = None, given: Network | None = None
) -> tuple[Reopened, Bundle]:
    """Return the task, data and deployed model of a finished run, and its bundle.

    The cache is that of ``PARMTRAIN_CACHE``, if set, and otherwise the run's.

    Args:
        folder: The run's folder, or its export folder.
        changes: New values of keys in the run's configuration, such as ``deployed.path``; None keeps a value.
        given: The deployed model itself, in place of a file.

    Raises:
        ConfigError: If a key to change is not in the configuration.
        DataError: If the folder does not hold a run.
        DeployedModelError: If the deployed model is missing, or not the one that the bundle was trained for.
        ExportError: If the bundle is incomplete or changed.
    """
    place = RunFolder(as_folder("folder", folder))
    if not place.config.is_file() and (place.path / DESCRIPTION).is_file():  # the export folder was given
        place = RunFolder(place.path.absolute().parent)
    cfg = stored_config(place)
    bundle = Bundle(folder)
    for key, value in ((changes or {}) | {"cache": os.environ.get("PARMTRAIN_CACHE") or None}).items():
        if value is None:
            continue
        if value == "":
            raise ConfigError([f"{key} must not be empty"])
        above, _, name = key.rpartition(".")
        if above and name not in OmegaConf.select(cfg, above):
            raise ConfigError([f"{key} cannot be changed to {value}: task={bundle.about['task']} has no such key"])
        OmegaConf.update(cfg, key, value)
    own = bundle.deployed if given is None and not (changes or {}).get("deployed.path") else None
    if bundle.about["deployed"].get("origin") == FROM_PYTHON and given is None and cfg.deployed.path is None:
        if own is None:
            raise DeployedModelError(
                f"the deployed model of {place.path} was given from Python; give it again (deployed=…), or pass its "
                f"file ({PASS_IT})"
            )
        return Reopened(cfg, place, bundled=own), bundle
    prepared, expected = Reopened(cfg, place, given), bundle.about["deployed"]["fingerprint"]
    try:
        found = prepared.deployed.fingerprint
    except DeployedModelError as fault:
        if own is None or Path(cfg.deployed.path or place.deployed).expanduser().is_file():
            raise
        log.warning("%s; the bundle's own is taken", fault)
        return Reopened(cfg, place, bundled=own), bundle
    if found != expected:
        raise DeployedModelError(
            f"the deployed model must be the one that the bundle in {bundle.folder} was trained for, {expected[:16]}…, "
            f"got {found[:16]}…; pass the file of that model ({PASS_IT})"
        )
    return prepared, bundle.take_deployed(prepared.deployed)
