"""What to serve and how: a bundle, its deployed model, and the number of instances."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf

import torch
from torch import Tensor

from parmtrain.bundle import Bundle
from parmtrain.bundle.description import parity_model
from parmtrain.codes import Scheme
from parmtrain.codes.scheme import uncoded
from parmtrain.deployed import DeployedModel
from parmtrain.errors import ConfigError
from parmtrain.metrics.kinds import agreement_of
from parmtrain.metrics.measures import CLASS_SCORES, PROBABILITIES
from parmtrain.programs import Network
from parmtrain.query_range import QueryRange
from parmtrain.serving.frontend.acceptance import Acceptance
from parmtrain.serving.frontend.limits import Limits
from parmtrain.serving.frontend.trust import Trust
from parmtrain.serving.service.agreement import Agreement
from parmtrain.serving.service.coding import ConfidenceProgram
from parmtrain.serving.settings import ServeSettings

log = logging.getLogger(__name__)


@dataclass
class Served:
    """A bundle and its deployed model."""

    bundle: Bundle
    deployed: DeployedModel
    coded: bool

    @property
    def query_shape(self) -> tuple[int, ...]:
        """Shape of one query."""
        return self.bundle.query_shape

    @property
    def outputs(self) -> int:
        """Length of one prediction."""
        return self.bundle.outputs

    @property
    def width(self) -> int:
        """Length of an output of a parity model."""
        return self.bundle.width

    @property
    def default(self) -> Tensor | None:
        """The decoder's answer without any worker output ``[c]``; None for codes that have none."""
        n = self.bundle.n
        answer = self.bundle.decode(torch.zeros(1, n, self.width), torch.zeros(1, n, dtype=torch.bool))[0, 0]
        return answer if bool(answer.isfinite().all()) else None

    @property
    def models(self) -> list[Network]:
        """The model of each pool."""
        fresh = [model for model in self.bundle.parity_models if model is not self.deployed] if self.coded else []
        return [self.deployed, *fresh]

    @property
    def fingerprints(self) -> list[str]:
        """What tells the model of each pool from every other model, so that a server of another one is not used."""
        about = self.bundle.about
        files = {name.partition(".")[0]: digest for name, digest in about["files"].items()}
        own = [str(files[parity_model(j)]) for j in range(len(self.models) - 1)]
        return [str(about["deployed"]["fingerprint"]), *own]

    def limits(self, settings: ServeSettings) -> Limits:
        """Return the frontend's limits: groups have to fill unless the parity model was trained for others, too."""
        return settings.limits if takes_partial(self.bundle) else replace(settings.limits, fill_after=inf)

    def k(self, settings: ServeSettings) -> int | None:
        """Return how many queries make a full group; None for all that the scheme has."""
        return settings.k if self.coded else None

    @property
    def ordinary(self) -> QueryRange | None:
        """The range of queries that may be encoded with others; None where none can spoil another's answer."""
        stated = self.bundle.about.get("queries")
        if not self.coded or self.bundle.about.get("independent"):
            return None
        if stated is None:
            log.warning(
                "the bundle does not state the range of ordinary queries, since an older version wrote it: queries out "
                "of scale may spoil reconstructions of others; run its training again to have them kept apart"
            )
            return None
        return QueryRange.from_json(stated)

    @property
    def confidence(self) -> ConfidenceProgram | None:
        """What says how far reconstructions can be trusted; None in bundles of older versions."""
        return self.bundle.confidence if self.coded else None

    def thresholds(self, settings: ServeSettings) -> list[float]:
        """Return the least confidence with one, two, … late workers that keeps what the settings ask for.

        Raises:
            ConfigError: If the settings ask for what the bundle does not promise.
        """
        if settings.accept is None:
            return []
        known = self._promised
        if settings.accept not in known:
            may = f"one of {', '.join(f'{one:g}' for one in known)}" if known else "unset: the bundle promises nothing"
            raise ConfigError([f"accept must be {may}, got {settings.accept:g}; run its training again to have others"])
        return known[settings.accept]

    def acceptance(self, settings: ServeSettings) -> Acceptance:
        """Return which reconstructions are sent; the errors are those of ``thresholds``."""
        thresholds = self.thresholds(settings)
        if min(thresholds, default=0.0) == inf:
            log.warning(
                "accept=%g: no reconstruction is accepted, since validation had too few groups, or too poor ones, to "
                "promise that; this bundle can promise %s",
                settings.accept,
                ", ".join(f"{one:g}" for one, some in self._promised.items() if min(some) < inf) or "nothing",
            )
        return Acceptance(thresholds, settings.below, partial=bool(self.bundle.about.get("independent")))

    @property
    def _promised(self) -> dict[float, list[float]]:
        return {} if self.bundle.promises is None else self.bundle.promises.agreement

    @property
    def agreement(self) -> Agreement | None:
        """What compares reconstructions with the deployed model's own; None for kinds of predictions of others."""
        kind = self.bundle.about.get("kind")
        measure = agreement_of(kind)
        return None if measure is None else Agreement(measure, kind in (CLASS_SCORES, PROBABILITIES))

    def trust(self, settings: ServeSettings) -> Trust:
        """Return what follows whether reconstructions agree as often as was promised.

        Raises:
            ConfigError: If the settings ask for what the bundle does not promise.
        """
        if settings.accept is not None and (self.agreement is None or not self.scheme.systematic):
            log.warning(
                "accept=%g: neither an alarm nor adaptation follows it, since reconstructions cannot be compared with "
                "F's own predictions: %s",
                settings.accept,
                "the code has none" if self.agreement is not None else "their kind is not known here",
            )
        return Trust(self.acceptance(settings), settings.accept, settings.adapt, settings.alarm_length)

    @property
    def scheme(self) -> Scheme:
        """Which worker runs what."""
        return self.bundle.scheme if self.coded else uncoded()


def takes_partial(bundle: Bundle) -> bool:
    """Return whether a bundle's parity models take groups that are not full."""
    return bool(bundle.about.get("partial", False))


def read_served(settings: ServeSettings) -> Served:
    """Load the bundle that the settings name, and the deployed model of its run.

    Raises:
        ConfigError: If the bundle has a smaller k, or another and takes full groups alone.
        DataError: If the bundle holds no deployed model, and is not in a run's folder, whose configuration names it.
        DeployedModelError: If the deployed model is not the one that the bundle was trained for.
        ExportError: If the bundle is incomplete or changed.
    """
    given = Bundle(settings.bundle)
    if settings.coded and settings.k not in (None, given.k) and not (takes_partial(given) and settings.k < given.k):
        fewer = " or less" if takes_partial(given) else ""
        raise ConfigError([f"k must be {given.k}{fewer}, the k of the bundle in {settings.bundle}, got {settings.k}"])
    if given.deployed is not None and settings.deployed is None:
        return Served(given, given.deployed, settings.coded)
    from parmtrain.reopened import reopen  # imports all of training, which most services do not need

    prepared, bundle = reopen(settings.bundle, {"deployed.path": settings.deployed})
    return Served(bundle, prepared.deployed, settings.coded)


def instance_counts(settings: ServeSettings, served: Served) -> list[int]:
    """Return the number of instances of each pool: m, and by default m/k (rounded up) for each parity model.

    Raises:
        ConfigError: If a pool has fewer than there are frontends, each of which needs one of its own.
    """
    parity = settings.parity_replicas or -(-settings.replicas // (served.k(settings) or served.bundle.k))
    counts = [settings.replicas, *[parity] * (len(served.models) - 1)]
    few = dict(zip(("replicas", "parity_replicas"), counts, strict=False))
    faults = [
        f"{name} must be {settings.frontends} or more for frontends={settings.frontends}, got {count}"
        for name, count in few.items()
        if count < settings.frontends
    ]
    if faults:
        raise ConfigError(faults)
    return counts


def share_of(counts: Sequence[int], number: int, frontends: int) -> list[int]:
    """Return how many instances of each pool one of several frontends has; their shares differ by one at most.

    Args:
        counts: Instances of each pool.
        number: Number of the frontend, from 0; one that takes the place of another has its share.
        frontends: Number of frontends.

    Example:
        >>> share_of([5, 3], 0, 2), share_of([5, 3], 1, 2)
        ([3, 2], [2, 1])
    """
    return [len(range(number % frontends, count, frontends)) for count in counts]
