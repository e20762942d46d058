"""Explain every invalid override of a command line, each in one sentence."""

from collections.abc import Callable, Iterator
from difflib import get_close_matches
from functools import partial
from typing import Any

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException, ValidationError

from parmtrain.config.schema import compose, config_folder, options
from parmtrain.errors import first_line


def override_faults(arguments: list[str]) -> list[str]:
    """Compose the overrides one after another, and return one sentence for each that fails.

    Args:
        arguments: The command line after ``python -m parmtrain``.

    Example:
        >>> for fault in override_faults(["k=two", "optim.rl=1", "optim=sun"]):
        ...     print(fault)
        optim=sun: unknown optim 'sun'; choose from adam, adamw, sgd
        k=two: Value 'two' of type 'str' could not be converted to Integer
        optim.rl=1: unknown key optim.rl; did you mean optim.lr?
    """
    faults: list[str] = []
    accepted: list[str] = []
    given = get_args_parser().parse_args(arguments)
    composed = partial(compose, config_dir=given.config_dir)
    choices = partial(options, config_dir=given.config_dir)
    for override in sorted(given.overrides, key=_order):
        try:
            values = list(each_value(override))
        except HydraException:
            faults.append(f"{override}: must be key=value")
            continue
        wrong = [fault for single in values if (fault := _fault(single, accepted, composed, choices))]
        faults += wrong
        accepted += [] if wrong else values[:1]
    return faults


def _fault(
    override: str,
    accepted: list[str],
    composed: Callable[..., DictConfig],
    choices: Callable[[str], list[str]],
) -> str | None:
    try:
        composed(*accepted, override)
    except (HydraException, OmegaConfBaseException) as fault:
        return f"{override}: {_reason(override, fault, composed(*accepted), choices)}"
    return None


def _order(override: str) -> int:
    """Return 0 for what says where to look, 1 for a choice of a group, 2 for values."""
    return 0 if override.startswith("hydra.") else 1 if _is_group(override) else 2


def _is_group(override: str) -> bool:
    return (config_folder() / _key(override).partition("@")[0]).is_dir()


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")


def each_value(override: str) -> Iterator[str]:
    """Yield one override for each value of a multirun, or the override itself."""
    parsed = OverridesParser.create().parse_override(override)
    if not parsed.is_sweep_override():
        yield override
        return
    for value in parsed.sweep_string_iterator():
        yield f"{override.partition('=')[0]}={value}"


def _reason(override: str, fault: Exception, composed: DictConfig, choices: Callable[[str], list[str]]) -> str:
    key = _key(override)
    if isinstance(fault, MissingConfigException):
        missing, group = (fault.missing_cfg_file or override).rpartition("/")[2], key.partition("@")[0]
        return f"unknown {group} '{missing}'; choose from {', '.join(fault.options or choices(group))}"
    cause = fault.__cause__
    if isinstance(cause, ValidationError):
        return first_line(cause)
    if isinstance(cause, ConfigKeyError | ConfigAttributeError):
        close = get_close_matches(key, _keys(OmegaConf.to_container(composed)), n=1)
        return f"unknown key {key}" + (f"; did you mean {close[0]}?" if close else "")
    return first_line(fault)


def _keys(node: Any, path: str = "") -> list[str]:
    if not isinstance(node, dict):
        return []
    return [key for name, value in node.items() for key in (f"{path}{name}", *_keys(value, f"{path}{name}."))]
