"""Settings of a command as a dataclass: ``key=value`` arguments with help texts and bounds."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field, fields
from typing import Any, TypeVar, get_origin, get_type_hints

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException, ValidationError
from yaml import YAMLError

from parmtrain.bounds import Bounds
from parmtrain.errors import ConfigError
from parmtrain.mistakes import did_you_mean, wrong_type

S = TypeVar("S")
WIDTH = 18


def setting(
    default: Any,
    help: str,
    above: float | None = None,
    least: float | None = None,
    most: float | None = None,
    infinite: bool = False,
) -> Any:
    """Return a dataclass field with a default, a help text and bounds.

    Args:
        default: Default value; a list is copied.
        help: Text that ``--help`` prints.
        above: Exclusive lower bound.
        least: Inclusive lower bound.
        most: Inclusive upper bound; needs ``least``.
        infinite: Whether the value may be infinite.
    """
    about = {"help": help, "bounds": Bounds(above, least, most, infinite=infinite)}
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=about)
    return field(default=default, metadata=about)


def read_settings(kind: type[S], arguments: Sequence[str]) -> S:
    """Parse command-line arguments into settings; a list may be written ``2,3,4``.

    Args:
        kind: A dataclass whose fields all have defaults.
        arguments: Arguments of the form ``key=value``.

    Raises:
        ConfigError: If arguments are invalid; it lists all of them.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass
        ... class Settings:
        ...     k: list[int] = setting([2], "queries in a coding group")
        ...     rate: float = setting(1.0, "queries per second", above=0)
        >>> read_settings(Settings, ["k=3,4", "rate=2"])
        Settings(k=[3, 4], rate=2.0)
    """
    names, hints = {one.name for one in fields(kind)}, get_type_hints(kind)  # type: ignore[arg-type]
    config, faults, given = OmegaConf.structured(kind), [], dict[str, str]()
    for argument in arguments:
        key, equals, text = argument.partition("=")
        if not equals or key not in names:
            wrong = f"unknown key {key}" if equals else "must be key=value"
            faults.append(
                f"{argument}: {wrong}; choose a key from {', '.join(sorted(names))}{did_you_mean(key, names)}"
            )
            continue
        if key in given:
            faults.append(f"{key} must be given once, got {given[key]} and {argument}")
            continue
        given[key] = argument
        try:
            config[key] = _value(hints[key], key, text)
        except OmegaConfBaseException as fault:
            faults.append(f"{argument}: {wrong_type(fault)}")
    if faults:
        raise ConfigError(faults)
    made: S = OmegaConf.to_object(config)  # type: ignore[assignment]
    return made


def _value(hint: Any, key: str, text: str) -> Any:
    """Return the value of a setting: text as it is, a list with or without brackets, or a YAML scalar."""
    if hint in (str, str | None):
        return text
    is_list = get_origin(hint) is list
    written = f"[{text}]" if is_list and not text.startswith("[") else text
    try:
        value = OmegaConf.select(OmegaConf.create(f"{key}: {written}"), key)
        if any(OmegaConf.is_config(one) for one in (value if is_list else [value])):
            raise ValidationError(f"Value '{text}' must be plain")
        return value
    except YAMLError as fault:
        raise ValidationError(f"Value '{text}' cannot be read") from fault


def keyed(arguments: Sequence[str], keys: Sequence[str]) -> dict[str, str]:
    """Return ``key=value`` arguments by their keys.

    Raises:
        ConfigError: If one is not of these keys, or is given twice.

    Example:
        >>> keyed(["data.root=mine"], ["data.root"])
        {'data.root': 'mine'}
    """
    found: dict[str, str] = {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals or key not in keys:
            meant = did_you_mean(key, keys)
            raise ConfigError([f"{argument}: must be key=value with a key from {', '.join(keys)}{meant}"])
        if key in found:
            raise ConfigError([f"{key} must be given once, got {found[key]} and {value}"])
        found[key] = value
    return found


def switch(given: Mapping[str, str], key: str) -> bool:
    """Return whether something that is on by itself is.

    Raises:
        ConfigError: If its value is neither true nor false.

    Example:
        >>> switch({}, "progress"), switch({"progress": "false"}, "progress")
        (True, False)
    """
    text = given.get(key, "true")
    if text.lower() not in ("true", "false"):
        raise ConfigError([f"{key} must be true or false, got {text}"])
    return text.lower() == "true"


def out_of_bounds(settings: Any) -> Iterator[str]:
    """Yield a message for each setting that is outside its bounds.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass
        ... class Settings:
        ...     rate: float = setting(0.0, "queries per second", above=0)
        >>> list(out_of_bounds(Settings()))
        ['rate must be more than 0, got 0.0']
    """
    for one in fields(settings):
        value, bounds = getattr(settings, one.name), one.metadata["bounds"]
        if isinstance(value, bool | str | None | list):
            continue
        wrong = bounds.wrong(value)
        if wrong is not None:
            yield f"{one.name} {wrong}, got {value}"


def require_valid(settings: Any) -> None:
    """Raise a ``ConfigError`` that lists every invalid setting.

    Args:
        settings: A dataclass instance; a method ``faults`` may yield more faults than its bounds give.
    """
    found = [*out_of_bounds(settings), *getattr(settings, "faults", list)()]
    if found:
        raise ConfigError(found)


def help_of(kind: type) -> str:
    """Return one line of help per setting, with its default.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass
        ... class Settings:
        ...     rate: float = setting(270.0, "queries per second")
        >>> print(help_of(Settings))
          rate              queries per second (270)
    """
    lines = []
    for one in fields(kind):
        default = one.default_factory() if callable(one.default_factory) else one.default
        text = ",".join(map(str, default)) if isinstance(default, list) else _plain(default)
        lines.append(f"  {one.name + ' ':<{WIDTH}}{one.metadata.get('help', '')}" + (f" ({text})" if text else ""))
    return "\n".join(lines)


def at_defaults(settings: Any, names: Sequence[str]) -> list[str]:
    """Return those of some settings that have their default values, as ``name=value``.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass
        ... class Settings:
        ...     rate: float = setting(270.0, "queries per second")
        ...     slow: float = setting(0.0, "probability that an instance is slow")
        >>> at_defaults(Settings(slow=0.5), ["rate", "slow"])
        ['rate=270']
    """
    usual = {one.name: one.default for one in fields(settings)}
    return [f"{name}={_plain(usual[name])}" for name in names if getattr(settings, name) == usual[name]]


def _plain(default: Any) -> str:
    if default is None or default == "":
        return ""
    return f"{default:g}" if isinstance(default, float) else str(default).lower()
