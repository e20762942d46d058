"""Where the YAML files are, and what Hydra composes from them, with Hydra's own errors."""

import os
from collections.abc import Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig

from parmtrain.config.folder import config_folder, require_folder
from parmtrain.config.schema import register
from parmtrain.errors import ConfigError

CHOSEN = ("deployed.model", "code.model")  # nodes of an architecture and its arguments, of an option of the group model
ARCHITECTURES = (*CHOSEN, "parity.model")
LISTS = ("callbacks", "metrics")  # groups of which several options may be chosen


def composed(*overrides: str, config_dir: str | Path | None = None) -> DictConfig:
    """Compose a configuration.

    Args:
        overrides: Overrides, as on the command line.
        config_dir: A folder with YAML files of your own.

    Raises:
        ConfigError: If the folder does not exist.
        HydraException, OmegaConfBaseException: If an override does not fit.
    """
    register()
    with initialize_config_dir(config_dir=os.fspath(config_folder()), version_base="1.3"):
        return compose("config", overrides=[*all_for_hydra(overrides), *searched_too(config_dir)])


def all_for_hydra(overrides: Sequence[str]) -> list[str]:
    """Return overrides as Hydra takes them.

    Raises:
        ConfigError: If two of them choose the architecture of the deployed model, or of a code's student.
    """
    taken = {override: for_hydra(override) for override in overrides}
    for key in CHOSEN:
        choosing = [override for override, ours in taken.items() if ours[0].startswith(f"model@{key}=")]
        if len({key_of(override) for override in choosing}) > 1:
            raise ConfigError([f"{key} must be chosen once, got {' and '.join(choosing)}"])
    return [one for override in overrides for one in taken[override]]


def for_hydra(override: str) -> list[str]:
    """Return an override as Hydra takes it.

    ``logger=null`` removes a group, a number is an option's name, and an architecture with its own arguments replaces
    the task's.

    Example:
        >>> for_hydra("logger=null"), for_hydra("optim=3"), for_hydra("k=3")
        (['~logger'], ["optim='3'"], ['k=3'])
        >>> for_hydra("deployed.model={_target_: mine.Net, width: 3}")
        ['model@deployed.model=own', '++deployed.model={_target_: mine.Net, width: 3}']
    """
    key = override.partition("=")[0].lstrip("+")
    try:
        parsed = OverridesParser.create().parse_override(override)
    except HydraException:
        return [override]
    if parsed.is_sweep_override() or parsed.is_delete():
        return [override]
    value = parsed.value()
    if key in ARCHITECTURES and isinstance(value, dict) and "_target_" in value:
        chosen = [f"model@{key}=own"] if key in CHOSEN else []
        return [*chosen, f"++{override.lstrip('+')}"]
    return [_option(override, value) if is_group(override) else override]


def _option(override: str, value: object) -> str:
    """Return an override that chooses an option, or several, as Hydra takes it."""
    key = override.partition("=")[0]
    if value is None:
        return f"{key_of(override)}=[]" if key_of(override) in LISTS else f"~{key_of(override)}"
    if isinstance(value, list):
        listed = ",".join(str(one) if isinstance(one, str) else f"'{one}'" for one in value)
        return f"{key}=[{listed}]"
    return override if isinstance(value, str) else f"{key}='{str(value).lower()}'"


def quoted(key: str, value: object) -> str:
    """Return an override, with its value in quotes if Hydra takes it only so.

    Example:
        >>> quoted("ckpt_path", "runs/last.ckpt"), quoted("ckpt_path", "a=b/last.ckpt")
        ('ckpt_path=runs/last.ckpt', 'ckpt_path="a=b/last.ckpt"')
    """
    plain = f"{key}={value}"
    try:
        if OverridesParser.create().parse_override(plain).value() == str(value):
            return plain
    except HydraException:
        pass
    escaped = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'{key}="{escaped}"'


def is_group(override: str) -> bool:
    """Return whether an override chooses an option of a group."""
    group = key_of(override).partition("@")[0]
    return bool(group) and (config_folder() / group).is_dir()


def key_of(override: str) -> str:
    """Return the key of an override.

    Example:
        >>> key_of("+trainer.max_steps=3")
        'trainer.max_steps'
    """
    return override.partition("=")[0].lstrip("+~")


def options(group: str, config_dir: str | Path | None = None) -> list[str]:
    """Return the options of a configuration group, including those in your own folder.

    Example:
        >>> options("optim")
        ['adam', 'adamw', 'sgd']
    """
    if GlobalHydra.instance().is_initialized():  # inside a run of the command line
        return GlobalHydra.instance().config_loader().get_group_options(group)
    register()
    with initialize_config_dir(config_dir=os.fspath(config_folder()), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        return loader.get_group_options(group, config_name="config", overrides=searched_too(config_dir))


def searched_too(config_dir: str | Path | None) -> list[str]:
    """Return the override that has Hydra look into your own folder, too; none without one."""
    require_folder(config_dir)
    return [] if config_dir is None else [f"hydra.searchpath=['file://{Path(config_dir).absolute()}']"]
