"""What is wrong with the overrides of a command line: every one of them, each in one sentence."""

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException, ValidationError

from parmtrain.config.schema import compose, config_folder


def override_faults(arguments: list[str]) -> list[str]:
    """Compose the overrides one after another and say of each that fails what is wrong with it.

    Args:
        arguments: The command line behind ``python -m parmtrain``.

    Example:
        >>> for fault in override_faults(["k=two", "optim.rl=1", "optim=sun"]):
        ...     print(fault)
        optim=sun: there is no such optim; adam, adamw, sgd are there
        k=two: Value 'two' of type 'str' could not be converted to Integer
        optim.rl=1: there is no key optim.rl; did you mean optim.lr?
    """
    faults: list[str] = []
    accepted: list[str] = []
    given = get_args_parser().parse_args(arguments).overrides
    for override in sorted(given, key=lambda text: not _is_group(text)):
        try:
            values = list(_each_value(override))
        except HydraException:
            faults.append(f"{override}: it is no override; key=value is right")
            continue
        wrong = [fault for single in values if (fault := _fault(single, accepted))]
        faults += wrong
        accepted += [] if wrong else values[:1]
    return faults


def _fault(override: str, accepted: list[str]) -> str | None:
    try:
        compose(*accepted, override)
    except (HydraException, OmegaConfBaseException) as fault:
        return f"{override}: {_reason(override, fault, compose(*accepted))}"
    return None


def _is_group(override: str) -> bool:
    return (config_folder() / _key(override).partition("@")[0]).is_dir()


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")


def _each_value(override: str) -> Iterator[str]:
    """Yield an override for each value of a multirun, or the one it is."""
    parsed = OverridesParser.create().parse_override(override)
    if not parsed.is_sweep_override():
        yield override
        return
    for value in parsed.sweep_string_iterator():
        yield f"{_key(override)}={value}"


def _reason(override: str, fault: Exception, composed: DictConfig) -> str:
    key = _key(override)
    if isinstance(fault, MissingConfigException):
        options = ", ".join(fault.options or [])
        return f"there is no such {key.partition('@')[0]}; {options} are there"
    cause = fault.__cause__
    if isinstance(cause, ValidationError):
        return str(cause).splitlines()[0]
    if isinstance(cause, ConfigKeyError | ConfigAttributeError):
        close = get_close_matches(key, _keys(OmegaConf.to_container(composed)), n=1)
        return f"there is no key {key}" + (f"; did you mean {close[0]}?" if close else "")
    return str(fault).splitlines()[0]


def _keys(node: Any, path: str = "") -> list[str]:
    if not isinstance(node, dict):
        return []
    return [key for name, value in node.items() for key in (f"{path}{name}", *_keys(value, f"{path}{name}."))]
