"""Compose a configuration from Python, as the command line does."""

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from parmtrain.config.objects import object_faults
from parmtrain.config.overrides import each_value, override_faults, several_values
from parmtrain.config.sources import composed
from parmtrain.errors import ConfigError, reason_of

MULTIRUN = "--multirun"


def compose(*overrides: str, config_dir: str | Path | None = None) -> DictConfig:
    """Compose a configuration as the command line does.

    Args:
        overrides: Overrides, as on the command line; of two for one key, the later one counts.
        config_dir: A folder with YAML files of your own, as ``--config-dir`` takes it.

    Raises:
        ConfigError: With every override that does not fit, or if the folder does not exist.

    Example:
        >>> cfg = compose("task=digits", "k=3")
        >>> cfg.k, cfg.task.name
        (3, 'digits')
    """
    wrong = [override for override in overrides if not isinstance(override, str)]
    if wrong:
        raise ConfigError([f'an override must be text, "key=value", got {wrong[0]!r}'])
    try:
        return composed(*overrides, config_dir=config_dir)
    except ConfigError:
        raise
    except Exception as fault:  # beside its own errors, Hydra raises those of Python
        raise why_not(overrides, fault, config_dir) from fault


def why_not(overrides: Sequence[str], fault: Exception, config_dir: str | Path | None = None) -> ConfigError:
    """Return an error that explains why overrides cannot be composed and resolved.

    Args:
        overrides: The overrides, each with one value or several.
        fault: What Hydra raised.
        config_dir: A folder with YAML files of your own.
    """
    found = override_faults(overrides, config_dir)
    if MULTIRUN in str(fault):  # Hydra's advice where there is none
        found = [*several_values(overrides), *found]
    if not found:
        single = [next(iter(each_value(override))) for override in overrides]
        found = [one.sentence for one in object_faults(composed(*single, config_dir=config_dir))]
    return ConfigError(found or [reason_of(fault)])
