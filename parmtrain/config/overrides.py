"""Explain every invalid override of a command line, each in one sentence."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, ValidationError

from parmtrain.bounds import twice
from parmtrain.config import sources
from parmtrain.errors import ConfigError, reason_of
from parmtrain.mistakes import did_you_mean, wrong_type

SWEEPER = "hydra/sweeper/"  # a part of Hydra that comes in packages of its own
MEANT = {  # where spelling is no guide
    "folder": "hydra.run.dir",
    "epochs": "trainer.max_epochs",
    "batch_size": "groups",
}


def override_faults(overrides: Sequence[str], config_dir: str | Path | None = None) -> list[str]:
    """Compose overrides one after another, and return one sentence for each that fails.

    Args:
        overrides: Overrides, each with one value or several.
        config_dir: A folder with YAML files of your own.

    Example:
        >>> for fault in override_faults(["k=two", "optim.rl=1", "optim=sun"]):
        ...     print(fault)
        optim=sun: unknown optim 'sun'; choose from adam, adamw, sgd
        k=two: must be an integer, got two
        optim.rl=1: unknown key optim.rl; did you mean optim.lr?
    """
    faults: list[str] = []
    accepted: list[str] = []
    composed = partial(sources.composed, config_dir=config_dir)
    choices = partial(sources.options, config_dir=config_dir)
    for override in sorted(overrides, key=_order):
        try:
            values = list(each_value(override)) if sources.key_of(override) else []
        except HydraException:
            values = []
        if not values:
            faults.append(f"{override}: {_unparsed(override)}")
            continue
        wrong = [fault for single in values if (fault := _fault(single, accepted, composed, choices))]
        faults += wrong
        accepted += [] if wrong else values[:1]
    return faults


def several_values(overrides: Sequence[str]) -> list[str]:
    """Return one sentence for each override with several values.

    Example:
        >>> several_values(["k=2,3", "seed=1"])
        ['k=2,3: must be one value, got several; several values need -m, and a text with a comma needs quotes']
    """
    sentence = "must be one value, got several; several values need -m, and a text with a comma needs quotes"
    found = []
    for override in overrides:
        with suppress(HydraException):
            if OverridesParser.create().parse_override(override).is_sweep_override():
                found.append(f"{override}: {sentence}")
    return found


def require_once(overrides: Sequence[str]) -> None:
    """Raise a ``ConfigError`` if a key is given twice, of which only the last would count.

    Args:
        overrides: Overrides, each with one value or several.
    """
    again = twice(sources.key_of(override) for override in overrides)
    if again is not None:
        given = [override for override in overrides if sources.key_of(override) == again]
        raise ConfigError([f"{again} must be given once, got {' and '.join(given)}"])


def _unparsed(override: str) -> str:
    """Return what is wrong with an override that Hydra cannot parse, and its quoted form if that helps."""
    key, _, value = override.partition("=")
    quoted = value.replace("\\", "\\\\").replace('"', '\\"')
    try:
        OverridesParser.create().parse_override(f'{key}="{quoted}"')
    except HydraException:
        return "must be key=value"
    if not key or value[:1] in "[({'\"":
        return "must be key=value"
    return f"must be key=value, with a value such as this one in quotes; write it as '{key}=\"{quoted}\"'"


def _fault(
    override: str,
    accepted: list[str],
    composed: Callable[..., DictConfig],
    choices: Callable[[str], list[str]],
) -> str | None:
    try:
        composed(*accepted, override)
    except Exception as fault:  # beside its own errors, Hydra raises those of Python
        return f"{override}: {_reason(override, fault, composed(*accepted), choices)}"
    return None


def _order(override: str) -> int:
    """Return 0 for what says where to look, 1 for a choice of a group, 2 for values."""
    if override.startswith("hydra.searchpath"):
        return 0
    return 1 if sources.is_group(override) or override.startswith("hydra/") else 2


def each_value(override: str) -> Iterator[str]:
    """Yield one override for each value of a multirun, or the override itself."""
    parsed = OverridesParser.create().parse_override(override)
    if isinstance(parsed.value(), Glob):
        names = parsed.value().filter(sources.options(sources.key_of(override).partition("@")[0]))  # type: ignore[union-attr]
        yield from (f"{override.partition('=')[0]}={name}" for name in names)
        return
    if not parsed.is_sweep_override():
        yield override
        return
    if parsed.is_interval_sweep():  # whose values a search chooses
        interval: Any = parsed.value()
        yield from (f"{override.partition('=')[0]}={end}" for end in (interval.start, interval.end))
        return
    for value in parsed.sweep_string_iterator():
        yield f"{override.partition('=')[0]}={value}"


def _reason(override: str, fault: Exception, composed: DictConfig, choices: Callable[[str], list[str]]) -> str:
    key = sources.key_of(override)
    if isinstance(fault, MissingConfigException):
        return _missing(fault.missing_cfg_file or override, key.partition("@")[0], fault.options, choices)
    if "override 'model@code.model'" in str(fault):
        return "code.model must be given with codes that run a student, such as lowres and backup, and with no other"
    cause = fault.__cause__
    if isinstance(cause, ValidationError):
        return wrong_type(cause)
    if isinstance(cause, ConfigKeyError | ConfigAttributeError):
        key = cause.full_key or key  # of a value in braces, the key that is unknown
        if key in MEANT:
            return f"unknown key {key}; did you mean {MEANT[key]}?"
        known = [other for other in _keys(OmegaConf.to_container(composed)) if not key.startswith(f"{other}.")]
        below = [other for other in known if other.rpartition(".")[2] == key]
        return (
            f"unknown key {key}; did you mean {min(below, key=len)}?"
            if below
            else f"unknown key {key}{did_you_mean(key, known)}"
        )
    empty = _empty_above(key, composed)
    first = f"{empty} is not set; choose one of {', '.join(choices(empty.rpartition('.')[2]))} first" if empty else ""
    return first or reason_of(fault)


def _missing(file: str, group: str, others: Sequence[str] | None, choices: Callable[[str], list[str]]) -> str:
    """Return a sentence about a YAML file that Hydra does not find."""
    if file.startswith(SWEEPER):
        return f"{file} is not installed: pip install 'parmtrain[sweep]'"
    name, known = file.rpartition("/")[2], others or choices(group)
    return f"unknown {group} '{name}'; choose from {', '.join(known)}{did_you_mean(name, known)}"


def _empty_above(key: str, composed: DictConfig) -> str | None:
    """Return the first part of a key that is null, if any."""
    parts = key.split(".")
    above = [".".join(parts[:length]) for length in range(1, len(parts))]
    return next((one for one in above if OmegaConf.select(composed, one, default="") is None), None)


def _keys(node: Any, path: str = "") -> list[str]:
    if not isinstance(node, dict):
        return []
    return [key for name, value in node.items() for key in (f"{path}{name}", *_keys(value, f"{path}{name}."))]
