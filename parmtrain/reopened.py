"""A finished run, opened again: its task, data, deployed model and bundle."""

import logging
import os
from functools import cached_property
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from torch import nn

from parmtrain.bundle import Bundle
from parmtrain.bundle.description import DESCRIPTION
from parmtrain.config import assemble
from parmtrain.config.given_data import with_data
from parmtrain.config.stored import stored_config
from parmtrain.deployed import DeployedModel
from parmtrain.errors import ConfigError, DeployedModelError
from parmtrain.inputs import as_folder
from parmtrain.prepared import FROM_PYTHON, Prepared
from parmtrain.programs import Network, read_network
from parmtrain.run_folder import RunFolder
from parmtrain.training.deployed import deployed_file

log = logging.getLogger(__name__)
PASS_IT = "evaluate: --deployed-path FILE, serve: deployed=FILE"


class Reopened(Prepared):
    """The task, data and deployed model of a finished run; nothing is trained.

    Args:
        cfg: Its configuration.
        place: Its folder.
        given: The deployed model itself, in place of a file.
        bundled: The deployed model as the run's bundle holds it, for want of any other.
        data: Data sets, as for ``parmtrain.run``.
    """

    def __init__(
        self,
        cfg: DictConfig,
        place: RunFolder,
        given: Network | None = None,
        bundled: DeployedModel | None = None,
        data: Any = None,
    ) -> None:
        cfg, source = with_data(cfg, data)
        super().__init__(cfg, given, source)
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
    folder: str | Path, changes: dict[str, Any] | None = None, given: Network | None = None, data: Any = None
) -> tuple[Reopened, Bundle]:
    """Return the task, data and deployed model of a finished run, and its bundle.

    The cache is that of ``PARMTRAIN_CACHE``, if set, and otherwise the run's.

    Args:
        folder: The run's folder, or its export folder.
        changes: New values of keys in the run's configuration, such as ``deployed.path``; None keeps a value.
        given: The deployed model itself, in place of a file.
        data: Data sets, as for ``parmtrain.run``.

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
        return Reopened(cfg, place, bundled=own, data=data), bundle
    prepared, expected = Reopened(cfg, place, given, data=data), bundle.about["deployed"]["fingerprint"]
    try:
        found = prepared.deployed.fingerprint
    except DeployedModelError as fault:
        if own is None or Path(cfg.deployed.path or place.deployed).expanduser().is_file():
            raise
        log.warning("%s; the bundle's own is taken", fault)
        return Reopened(cfg, place, bundled=own, data=data), bundle
    if found != expected:
        raise DeployedModelError(
            f"the deployed model must be the one that the bundle in {bundle.folder} was trained for, {expected[:16]}…, "
            f"got {found[:16]}…; pass the file of that model ({PASS_IT})"
        )
    return prepared, bundle.take_deployed(prepared.deployed)
