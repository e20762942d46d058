"""Settings of the commands around serving: ``key=value`` on the command line, with one sentence for each mistake."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, TypeVar

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from parmtrain.errors import ConfigError

S = TypeVar("S")


def read(settings: type[S], arguments: Sequence[str]) -> S:
    """Return the settings that a command line asks for; a list may be written ``2,3,4``.

    Args:
        settings: A dataclass whose fields have defaults.
        arguments: Of the form ``key=value``.

    Raises:
        ConfigError: With every argument that is not right.

    Example:
        >>> from dataclasses import dataclass, field
        >>> @dataclass
        ... class Settings:
        ...     k: list[int] = field(default_factory=lambda: [2])
        ...     rate: float = 1.0
        >>> read(Settings, ["k=3,4", "rate=2"])
        Settings(k=[3, 4], rate=2.0)
    """
    names = {field.name for field in fields(settings)}  # type: ignore[arg-type]
    config, faults = OmegaConf.structured(settings), []
    for argument in arguments:
        key, equals, text = argument.partition("=")
        if not equals or key not in names:
            faults.append(f"{argument}: key=value is right, with a key of {', '.join(sorted(names))}")
            continue
        value: Any = OmegaConf.from_dotlist([argument])[key]
        if OmegaConf.is_list(config[key]) and not OmegaConf.is_list(value):
            value = OmegaConf.from_dotlist([f"{key}=[{text}]"])[key]
        try:
            config[key] = value
        except OmegaConfBaseException as fault:
            faults.append(f"{argument}: {str(fault).splitlines()[0]}")
    if faults:
        raise ConfigError(faults)
    made: S = OmegaConf.to_object(config)  # type: ignore[assignment]
    return made
