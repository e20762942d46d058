"""Find every fault of a configuration before any work: nothing is downloaded, trained or written here."""

import os
from collections.abc import Iterator
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf

from parmtrain.config import assemble
from parmtrain.config.faults import Fault
from parmtrain.config.signatures import misnamed
from parmtrain.config.trial import trial_faults
from parmtrain.errors import ConfigError, first_line
from parmtrain.programs import Network
from parmtrain.run_folder import RunFolder

LIMITS: dict[str, tuple[float, float | None]] = {
    "seed": (0, 2**31),
    "groups": (1, None),
    "data.workers": (0, None),
    "deployed.fit.seed": (0, 2**31),
    "deployed.fit.epochs": (1, None),
    "deployed.fit.batch": (1, None),
    "trainer.max_epochs": (1, None),
}


def check(cfg: DictConfig, folder: RunFolder, given: Network | None = None) -> list[Fault]:
    """Return every fault of a configuration, each with the key that it is about.

    Args:
        cfg: A composed configuration.
        folder: Folder that the run will write.
        given: A deployed model in place of ``deployed.path``.
    """
    found = [
        *_outside_limits(cfg),
        *_set_twice(cfg),
        *_other_models(cfg),
        *misnamed(cfg),
        *_folder_faults(cfg, folder),
        *_checkpoint_faults(cfg),
    ]
    found += trial_faults(cfg, given, found)
    return list(dict.fromkeys(found))


def require_no_faults(faults: list[Fault]) -> None:
    """Raise a ``ConfigError`` that lists all faults, if there are any."""
    if faults:
        raise ConfigError(list(dict.fromkeys(fault.sentence for fault in faults)))


def _outside_limits(cfg: DictConfig) -> Iterator[Fault]:
    for key, (low, high) in LIMITS.items():
        value = OmegaConf.select(cfg, key)
        if not isinstance(value, int) or value < low or (high is not None and value >= high):
            bound = f" and < {high}" if high else ""
            yield Fault(key, f"{key} must be an integer ≥ {low}{bound}, got {value}")
    for share in cfg.unavailable:
        if not 0 <= share <= 1:
            yield Fault("unavailable", f"unavailable must hold fractions from 0 to 1, got {share}")


def _set_twice(cfg: DictConfig) -> Iterator[Fault]:
    """Yield a fault for each argument that parmtrain sets itself and would silently override."""
    for key, own in assemble.SET_HERE.items():
        node = OmegaConf.select(cfg, key)
        for name in own.keys() & (node or {}).keys():
            yield Fault(f"{key}.{name}", f"{key}.{name} must not be set, since parmtrain sets it; {own[name]}")


def _other_models(cfg: DictConfig) -> Iterator[Fault]:
    """Name a model's shape that is not its task's: the task's is what it gets."""
    for key in ("deployed.model", "parity.model"):
        for name in ("query_shape", "outputs"):
            value, wanted = OmegaConf.select(cfg, f"{key}.{name}"), OmegaConf.select(cfg, f"task.{name}")
            if value is not None and value != wanted:
                yield Fault(f"{key}.{name}", f"{key}.{name} must be {wanted}, as task.{name} says, got {value}")


def _folder_faults(cfg: DictConfig, folder: RunFolder) -> Iterator[Fault]:
    for key, path in (("cache", assemble.cache_folder(cfg)), ("hydra.run.dir", folder.path)):
        there = next(parent for parent in (path.absolute(), *path.absolute().parents) if parent.exists())
        if not there.is_dir():
            yield Fault(key, f"{key}={path} cannot be written: {there} is a file")
        elif not os.access(there, os.W_OK | os.X_OK):
            yield Fault(key, f"{key}={path} cannot be written: {there} is read-only for this user")
    if cfg.overwrite:
        return
    if folder.finished:
        yield Fault(
            "hydra.run.dir",
            f"hydra.run.dir={folder.path} holds a finished run; name another folder, or replace it with overwrite=true",
        )
    elif folder.unfinished and cfg.ckpt_path is None:
        yield Fault(
            "hydra.run.dir",
            f"hydra.run.dir={folder.path} holds an unfinished run; resume it with ckpt_path={folder.last}, or start "
            "over with overwrite=true",
        )


def _checkpoint_faults(cfg: DictConfig) -> Iterator[Fault]:
    if cfg.ckpt_path is None:
        return
    path = Path(cfg.ckpt_path).expanduser()
    if not path.is_file():
        yield Fault("ckpt_path", f"ckpt_path must be an existing file, got {path}")
        return
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        if "state_dict" not in content or "loops" not in content:
            yield Fault("ckpt_path", f"ckpt_path must be a checkpoint of a training, got {path}")
    except Exception as fault:  # reading a damaged file can raise anything
        yield Fault("ckpt_path", f"ckpt_path must be a checkpoint of a training, got {path} ({first_line(fault)})")
