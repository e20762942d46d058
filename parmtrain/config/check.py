"""Find every fault of a configuration before any work: nothing is downloaded, trained or written here."""

from collections.abc import Iterable, Iterator
from dataclasses import fields
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from parmtrain.bounds import Bounds
from parmtrain.config import assemble
from parmtrain.config.faults import Fault, named
from parmtrain.config.objects import object_faults
from parmtrain.config.resuming import resume_faults
from parmtrain.config.schema import Config
from parmtrain.config.signatures import misnamed
from parmtrain.config.trial import trial_faults
from parmtrain.errors import ConfigError, InputError, reason_of
from parmtrain.files import cannot_write
from parmtrain.objectives import OBJECTIVES
from parmtrain.programs import Network
from parmtrain.run_folder import RunFolder
from parmtrain.tasks.source import Source

COUNT, SEED = Bounds(least=1, integer=True), Bounds(least=0, most=2**31 - 1, integer=True)
POSITIVE, NOT_NEGATIVE, WITHIN = Bounds(above=0), Bounds(least=0), Bounds(above=0, most=0.9999)
LIMITS = {
    "seed": SEED,
    "groups": COUNT,
    "data.workers": Bounds(least=0, integer=True),
    "deployed.fit.seed": SEED,
    "deployed.fit.epochs": COUNT,
    "deployed.fit.batch": COUNT,
    "trainer.max_epochs": COUNT,
    "accept.certainty": WITHIN,
}
"""Bounds of numbers that every configuration has."""
TRAINING = {
    "optim.lr": POSITIVE,
    "optim.weight_decay": NOT_NEGATIVE,
    "optim.momentum": NOT_NEGATIVE,
    "scheduler.max_lr": POSITIVE,
}
OTHERS = {
    **TRAINING,
    **{f"deployed.fit.{key}": bounds for key, bounds in TRAINING.items()},
    "deployed.flops": POSITIVE,
    "accept.agreement": WITHIN,
    "accept.risk": WITHIN,
    "averaging.decay": Bounds(least=0, most=1),
    "trainer.limit_train_batches": POSITIVE,
    "trainer.limit_val_batches": POSITIVE,
    "trainer.check_val_every_n_epoch": COUNT,
    "trainer.accumulate_grad_batches": COUNT,
    "trainer.gradient_clip_val": NOT_NEGATIVE,
    "trainer.log_every_n_steps": Bounds(least=0, integer=True),
    "callbacks.early_stopping.patience": Bounds(least=0, integer=True),
}
"""Bounds of numbers that other packages take, where a configuration has them."""
SHAPED = ("deployed.model", "parity.model", "task.input", "code")
"""Parts with the shape and the outputs of the task."""
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
FOLDERS = {"cache": "; set or unset PARMTRAIN_CACHE, or set cache=…", "data.root": "", "deployed.path": ""}


def check(cfg: DictConfig, folder: RunFolder, given: Network | None = None, data: Source | None = None) -> list[Fault]:
    """Return every fault of a configuration, each with the key that it is about.

    Args:
        cfg: A composed configuration.
        folder: Folder that the run will write.
        given: A deployed model in place of ``deployed.path``.
        data: Data in place of ``task.source``.
    """
    found = [*unknown_keys(cfg), *object_faults(cfg)]
    if found:  # nothing below can look at such a configuration
        return found
    try:
        OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as fault:
        key = getattr(fault, "full_key", "") or ""
        if isinstance(fault, MissingMandatoryValue):
            return [Fault(key, f"{key} must be set, got none")]
        return [Fault(key, f"{key} cannot be resolved: {reason_of(fault)}".strip())]
    found = [
        *outside_limits(cfg),
        *_trainer_faults(cfg),
        *_set_twice(cfg),
        *_other_models(cfg),
        *_folder_faults(cfg, folder),
        *resume_faults(cfg, folder, given),
    ]
    if given is not None and cfg.deployed.path is not None:
        found.append(Fault("deployed.path", "deployed.path must be null where the deployed model itself is given"))
    found += [fault for fault in misnamed(cfg) if not any(other.key == fault.key for other in found)]
    found += trial_faults(cfg, given, found, data)
    return list(dict.fromkeys(found))


def require_no_faults(faults: Iterable[Fault]) -> None:
    """Raise a ``ConfigError`` that lists all faults, if there are any."""
    sentences = list(dict.fromkeys(fault.sentence for fault in faults))
    if sentences:
        raise ConfigError(sentences)


def unknown_keys(cfg: DictConfig) -> Iterator[Fault]:
    """Yield a fault for each key of the top level that is unknown or missing.

    Args:
        cfg: A composed configuration.

    Raises:
        InputError: If it is none.
    """
    if not isinstance(cfg, DictConfig):
        raise InputError(f"cfg must be a configuration from parmtrain.compose, got {type(cfg).__name__}")
    known = {one.name for one in fields(Config)}
    for key in cfg:
        if key not in known:
            yield Fault(str(key), f"unknown key {key!s}; choose from {', '.join(sorted(known))}")
    for key in sorted(known - {str(key) for key in cfg}):
        yield Fault(key, f"{key} must be in the configuration; make it with parmtrain.compose")


def outside_limits(cfg: DictConfig) -> Iterator[Fault]:
    """Yield a fault for each number out of its bounds.

    Args:
        cfg: A composed configuration whose keys name objects where they must.
    """
    there = {key: OTHERS[key] for key in OTHERS if _states(cfg, key)}
    for key, bounds in (LIMITS | there).items():
        value = OmegaConf.select(cfg, key)
        wrong = bounds.wrong(value)
        if wrong is not None:
            yield Fault(key, f"{key} {wrong}, got {value}")
    for name in cfg.objectives or [None]:
        if name not in OBJECTIVES:
            yield Fault("objectives", f"objectives must be a list of {', '.join(OBJECTIVES)}, got {name or 'none'}")
    for share in cfg.unavailable:
        if Bounds(least=0, most=1).wrong(share):
            yield Fault("unavailable", f"unavailable must hold fractions from 0 to 1, got {share}")


def _states(cfg: DictConfig, key: str) -> bool:
    """Return whether a configuration has a value of its own at a key: no null, and no other key's value."""
    above, _, name = key.rpartition(".")
    node = OmegaConf.select(cfg, above)
    return isinstance(node, DictConfig) and node.get(name) is not None and not OmegaConf.is_interpolation(node, name)


def _trainer_faults(cfg: DictConfig) -> Iterator[Fault]:
    precision = str(cfg.trainer.get("precision", "32"))
    if precision not in ("32", *PRECISIONS):
        key = "trainer.precision"
        yield Fault(key, f"{key} must be {', '.join(PRECISIONS[:2])} or {PRECISIONS[2]}, got {precision}")
    steps = cfg.trainer.get("max_steps", -1)
    if not isinstance(steps, int) or (steps < 1 and steps != -1):
        yield Fault("trainer.max_steps", f"trainer.max_steps must be 1 or more, or -1 for no limit, got {steps}")
    every, epochs = cfg.trainer.get("check_val_every_n_epoch"), cfg.trainer.get("max_epochs")
    if isinstance(every, int) and isinstance(epochs, int) and every > epochs >= 1:
        key = "trainer.check_val_every_n_epoch"
        yield Fault(key, f"{key} must be {epochs} (trainer.max_epochs) or less, got {every}")


def _set_twice(cfg: DictConfig) -> Iterator[Fault]:
    """Yield a fault for each argument that parmtrain sets itself and would silently override."""
    for key, own in assemble.SET_HERE.items():
        node = OmegaConf.select(cfg, key)
        for name in own.keys() & (node or {}).keys():
            yield Fault(f"{key}.{name}", f"{key}.{name} must not be set, since parmtrain sets it; {own[name]}")


def _other_models(cfg: DictConfig) -> Iterator[Fault]:
    """Yield a fault for each part that has another k, r, shape or number of outputs than the task or the run."""
    for key, other in (
        *((f"{part}.{name}", f"task.{name}") for part in SHAPED for name in ("query_shape", "outputs")),
        *((f"{part}.{name}", name) for part in ("code", "code.code") for name in ("k", "r")),
    ):
        above, _, name = key.rpartition(".")
        node = OmegaConf.select(cfg, above)
        if not isinstance(node, DictConfig) or name not in node:
            continue
        value, wanted = node[name], OmegaConf.select(cfg, other)
        if value != wanted:
            yield Fault(key, f"{key} must be {wanted}, as {other} says, got {value}")


def _folder_faults(cfg: DictConfig, folder: RunFolder) -> Iterator[Fault]:
    for key, advice in FOLDERS.items():
        if OmegaConf.select(cfg, key) == "":
            kind = "file" if key.endswith("path") else "folder"
            yield Fault(key, f"{key} must be a {kind}, got an empty one{advice}")
    cache = assemble.cache_folder(cfg)
    for key, name, path in (("cache", f"cache={cache}", cache), ("hydra.run.dir", named(folder.path), folder.path)):
        why = cannot_write(path)
        if why:
            yield Fault(key, f"{name} cannot be written: {why}")
    yield from _foreign_files(cfg, folder)
    if folder.finished and not cfg.overwrite:
        yield Fault(
            "hydra.run.dir",
            f"{named(folder.path)} holds a finished run; name another folder, or replace it with overwrite=true",
        )


def _foreign_files(cfg: DictConfig, folder: RunFolder) -> Iterator[Fault]:
    """Yield a fault for each file of the user's that the run would replace or remove."""
    if any(path.exists() for path in (folder.config, folder.metrics, folder.checkpoints)):
        why = folder.no_run
        if why:
            sentence = f"{named(folder.path)} holds files that are no run's, since {why}; name another folder"
            yield Fault("hydra.run.dir", sentence)
    path = cfg.deployed.path
    clears = cfg.overwrite and cfg.ckpt_path is None
    if clears and path and Path(path).expanduser().absolute().is_relative_to(folder.path.absolute()):
        sentence = f"deployed.path={path} must not be in {folder.path}, which overwrite=true clears; move it elsewhere"
        yield Fault("deployed.path", sentence)
