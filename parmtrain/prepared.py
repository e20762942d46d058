"""The task, data and deployed model of a configuration, and scoring a code on them."""

import copy
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from parmtrain.cache import key_of
from parmtrain.codes import CodedPredictor
from parmtrain.confidence.promises import LADDER
from parmtrain.config import assemble
from parmtrain.config.deployed_model import deployed_model
from parmtrain.deployed import DeployedModel, private_copy
from parmtrain.errors import MissingDataError
from parmtrain.evaluation.certainty import Calibrated, calibrated
from parmtrain.evaluation.partial import PartialGroups
from parmtrain.evaluation.predictions import predict_all
from parmtrain.evaluation.score import ScoredSplit, reconstructions, score_groups
from parmtrain.evaluation.scores import Scores
from parmtrain.files import replacing
from parmtrain.metrics import Measures
from parmtrain.metrics.measures import kind_of
from parmtrain.programs import Network, read_network, weights
from parmtrain.run_folder import RunFolder
from parmtrain.tasks.base import Task
from parmtrain.tasks.queries import Answered, QuerySet, Splits
from parmtrain.tasks.source import Source
from parmtrain.training.deployed import Recipe, train_deployed
from parmtrain.training.intact import require_intact

FROM_PYTHON = "python"


class Prepared:
    """Provide a configuration's task, data and deployed model, each loaded on first use.

    Args:
        cfg: The configuration.
        given: A deployed model, any module or callable on tensors, in place of ``deployed.path``; a module is copied.
        data: Data in place of ``task.source``.

    Raises:
        DeployedModelError: If the given module cannot be copied.
    """

    def __init__(self, cfg: DictConfig, given: Network | None = None, data: Source | None = None) -> None:
        self.cfg, self.data_given, self.given = cfg, data, None if given is None else private_copy(given)
        self._predictions: dict[str, Tensor] = {}
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
        return assemble.task(self.cfg, self.data_given)

    @cached_property
    def measures(self) -> Measures:
        """Kind of predictions, and the measures that score them in validation."""
        return self.measures_of(self.splits.val)

    def measures_of(self, queries: QuerySet) -> Measures:
        """Return the measures that score predictions on queries: agreement alone if these have no labels."""
        measures = assemble.measures(self.cfg, self.task)
        return measures if queries.labelled else measures.of_agreement()

    def answered(self, queries: QuerySet, title: str, device: torch.device | None = None) -> QuerySet:
        """Return queries with labels; the deployed model's predictions take the place of those that are missing."""
        return queries if queries.labelled else Answered(queries, self.predict(queries, title, device))

    def default(self, queries: QuerySet, device: torch.device | None = None) -> dict[str, float]:
        """Return what a fixed answer scores on queries, chosen on the training split."""
        train, title = self.splits.train, "predicting training"
        if queries.labelled:
            return self.task.default(self.answered(train, title, device).labels, queries.labels)
        fixed = self.measures_of(queries).constant(self.predict(train, title, device))
        answers = self.answered(queries, "predicting", device).labels
        return self.measures_of(queries).means(fixed.expand(len(queries), -1), answers)

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
        return deployed_model(cfg, task, network, name, assemble.cache_folder(cfg))

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
        """Return the deployed model's predictions on queries ``[n, c]``, from the cache if possible.

        Those of a model without weights, which nothing identifies, are kept in memory.
        """
        if queries.digest in self._predictions:
            return self._predictions[queries.digest]
        cache, workers = assemble.cache_folder(self.cfg), self.cfg.data.workers
        found = predict_all(self.deployed, queries, self.task.input, cache, title, device, workers)
        if not self.deployed.has_weights:
            self._predictions[queries.digest] = found
        return found

    def evaluate(
        self,
        predictor: CodedPredictor,
        device: torch.device | None = None,
        queries: QuerySet | None = None,
        trusted: Calibrated | None = None,
    ) -> Scores:
        """Score a module or a bundle.

        Args:
            predictor: Module or bundle that encodes, predicts and decodes, on ``device`` and in evaluation mode.
            device: Device to compute on.
            queries: The split to score; the test split by default.
            trusted: What says how far reconstructions can be trusted.
        """
        chosen = self.splits.test if queries is None else queries
        split, measures = self._scored(chosen, device)
        measures = measures.among(split.predictions)
        cfg = self.cfg

        def scored(predictor: CodedPredictor) -> Scores:
            shares, workers = list(cfg.unavailable), cfg.data.workers
            return score_groups(predictor, split, measures, cfg.seed, shares, device, workers, trusted)

        sizes = range(1, predictor.k) if cfg.partial else ()
        partial = {size: scored(PartialGroups(predictor, size)).degraded for size in sizes}
        promised = cfg.accept.agreement if trusted is not None else None
        return replace(scored(predictor), partial=partial, promised=promised)

    def calibrate(
        self, predictor: CodedPredictor, isolated: bool, device: torch.device | None = None
    ) -> Calibrated | None:
        """Fit a confidence in reconstructions, and its promises, on the validation split; None if none is configured.

        Args:
            predictor: Module that encodes, predicts and decodes, on ``device`` and in evaluation mode.
            isolated: Whether its code runs queries apart.
            device: Device to compute on.
        """
        cfg = self.cfg
        if cfg.confidence is None:
            return None
        split, measures = self._scored(self.splits.val, device)
        some = reconstructions(predictor, split, measures, cfg.seed, device, cfg.data.workers)
        confidence = assemble.confidence(cfg, measures.kind, predictor.stragglers, self.task.outputs)
        agreements, risks = ([] if one is None else [one] for one in (cfg.accept.agreement, cfg.accept.risk))
        return calibrated(some, confidence, [*LADDER, *agreements], risks, cfg.accept.certainty, cfg.seed, isolated)

    def _scored(self, queries: QuerySet, device: torch.device | None) -> tuple[ScoredSplit, Measures]:
        """Return a split to score, and the measures of the deployed model's kind of predictions on it."""
        predictions, measures = self.predict(queries, "predicting", device), self.measures_of(queries)
        answered, default = self.answered(queries, "predicting", device), self.default(queries, device)
        of_kind = replace(measures, kind=kind_of(predictions, measures.kind))
        return ScoredSplit(answered, predictions, self.task.input, default), of_kind
