"""One run: prepare, train, evaluate, write."""

import logging
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from omegaconf import DictConfig, OmegaConf

from parmtrain.choice import settled
from parmtrain.config import assemble
from parmtrain.config.check import check, require_no_faults, unknown_keys
from parmtrain.config.faults import named
from parmtrain.config.given_data import with_data
from parmtrain.config.identity import AFTERWARDS, identity
from parmtrain.config.logger import started_logger
from parmtrain.config.resuming import resuming
from parmtrain.config.schema import resolved_yaml
from parmtrain.errors import ConfigError, Interrupted, interruptions
from parmtrain.files import naming_full_disks, write_text
from parmtrain.inputs import as_folder
from parmtrain.parity_training import train
from parmtrain.prepared import Prepared
from parmtrain.programs import Network
from parmtrain.progress import showing
from parmtrain.result import Result, write
from parmtrain.run_folder import RunFolder
from parmtrain.training.fit import quiet
from parmtrain.training.groups import require_a_group

log = logging.getLogger(__name__)
SHARED_MEMORY = Path("/dev/shm")


def run(cfg: DictConfig, folder: str | Path, deployed: Network | None = None, data: Any = None) -> Result:
    """Train, evaluate and export a parity model as configured, and write the results.

    Args:
        cfg: A configuration from ``parmtrain.compose`` or the command line.
        folder: Folder to write.
        deployed: The deployed model, any module or callable on tensors, in place of ``deployed.path``.
        data: Data sets, in place of ``task.source``: one, which is shared out, or three, for training, validation and
            test, whose items are queries of ``task.query_shape``, or pairs of a query and its label; or a ``Source``.

    Raises:
        ConfigError: With every fault of the configuration.
        DataError: If the data is missing, damaged or too small.
        DeployedModelError: If the deployed model cannot be read or does not fit the task.
        TrainingError: If training has to stop.
        InputError: If the configuration or the folder is none.
        Interrupted: If the user stops it.
        StorageError: If a disk is full.

    Source: Kosaian et al., ParM (SOSP'19), sections 3 and 4.1.
    """
    quiet()
    place = RunFolder(as_folder("folder", folder))
    require_no_faults(unknown_keys(cfg))
    written = {"the run": place.path, "the cache": assemble.cache_folder(cfg), "temporary files": Path(gettempdir())}
    if SHARED_MEMORY.is_dir():  # through which processes that load queries pass them on
        written["shared memory"] = SHARED_MEMORY
    with naming_full_disks(written), showing(cfg.progress):
        return _run(cfg, place, deployed, data)


def _run(cfg: DictConfig, place: RunFolder, deployed: Network | None, data: Any) -> Result:
    cfg, source = with_data(cfg, data)
    cfg = resuming(settled(cfg, place, deployed, source), place)
    work = Prepared(cfg, deployed, source)
    require_no_faults(check(cfg, place, work.given, source))
    if cfg.ckpt_path == str(place.last):
        log.info("resuming the unfinished run in %s", place.path)
    elif cfg.ckpt_path is None and not cfg.overwrite and place.best.is_file():
        log.warning("starting over: %s holds an unfinished run, but not its last state, %s", place.path, place.last)
    work.fetch()
    require_a_group(work.splits, cfg.k)
    work.require_intact()
    begin(cfg, place)
    try:
        with interruptions(), started_logger(cfg, place) as logger:
            trained = train(work, place, logger)
            trusted = work.calibrate(trained.module, trained.module.code.independent, trained.device)
            scores = work.evaluate(trained.module, trained.device, trusted=trusted)
            work.deployed.check_unchanged()
            work.keep_deployed(place)
            return write(work, trained, scores, place, logger, trusted)
    except KeyboardInterrupt as stop:  # after the training
        if place.unfinished:
            raise Interrupted(place.last) from stop
        raise


def is_done(cfg: DictConfig, folder: str | Path) -> bool:
    """Return whether a folder holds a finished run of this very configuration, data and deployed model.

    Args:
        cfg: A composed configuration.
        folder: Folder of the run, which need not exist.
    """
    place = RunFolder(as_folder("folder", folder))
    if cfg.overwrite or not place.finished or place.no_run:
        return False
    theirs, trained_here = place.read_config(), cfg.deployed.path is None
    if identity(cfg, trained_here) != identity(theirs, OmegaConf.select(theirs, "deployed.path") is None):
        return False
    if any(cfg[key] != theirs.get(key) for key in AFTERWARDS):
        return False
    work, metrics = Prepared(cfg), place.read_metrics()
    same_model = trained_here or metrics["deployed"]["fingerprint"] == work.deployed.fingerprint
    return bool(same_model and metrics.get("data") in (None, work.data))


def begin(cfg: DictConfig, place: RunFolder) -> None:
    """Create the folder, or clear the run that is replaced, and write the configuration."""
    try:
        if cfg.overwrite and cfg.ckpt_path is None:
            place.clear()
        write_text(place.config, resolved_yaml(_with_absolute_paths(cfg)))
        place.logs.mkdir(exist_ok=True)
    except OSError as fault:
        raise ConfigError([f"{named(place.path)} cannot be written: {fault.strerror}"]) from fault


def _with_absolute_paths(cfg: DictConfig) -> DictConfig:
    """Return the configuration with absolute paths, so it can be used from any folder."""
    absolute = cfg.copy()
    absolute.data.root = str(Path(cfg.data.root).expanduser().absolute())
    if cfg.deployed.path is not None:
        absolute.deployed.path = str(Path(cfg.deployed.path).expanduser().absolute())
    return absolute
