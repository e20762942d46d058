"""Check the arguments in a configuration against the signatures of what they are passed to."""

import inspect
import json
from collections.abc import Iterator
from pkgutil import resolve_name
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import torch
from omegaconf import DictConfig, ListConfig, OmegaConf

from parmtrain.config.faults import Fault
from parmtrain.config.targets import target_fault
from parmtrain.mistakes import did_you_mean
from parmtrain.validation import first_wrong

MANY = 12
PLAIN = {int, float, bool, str, NoneType, dict, Any}


def misnamed(cfg: DictConfig) -> Iterator[Fault]:
    """Yield a fault for each unknown argument, and for each value of another type than its argument.

    Args:
        cfg: A composed configuration.
    """
    seen: set[str] = set()
    for path, node in _targets(cfg, ""):
        target = node["_target_"]
        if (why := target_fault(path, target)) is not None:
            yield Fault(f"{path}._target_", why)
            continue
        callee = resolve_name(target)
        given = {key: value for key, value in node.items() if not str(key).startswith("_")}
        try:
            parameters = inspect.signature(callee).parameters
        except ValueError:  # built-in functions have no signature
            continue
        takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
        for name in given.keys() - parameters.keys():
            if not takes_all:
                key, some = f"{path}.{name}", ", ".join(list(parameters)[:MANY])
                meant = did_you_mean(name, parameters)
                yield Fault(key, f"{key} must be an argument of {target}; choose from {some}{meant}")
        hints = _hints(callee)
        for name, value in given.items():
            wrong = _wrong(hints.get(name, Any), value)
            if wrong is not None and not (wrong in seen and _interpolated(cfg, path, name)):
                seen.add(wrong)
                yield Fault(f"{path}.{name}", f"{path}.{name} {wrong}")


def _targets(node: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(node, DictConfig):
        if node.get("_target_") is not None:
            yield path, {str(key): node[key] for key in node}
        for key in node:
            yield from _targets(node[key], f"{path}.{key!s}" if path else str(key))
    elif isinstance(node, ListConfig):
        for i, item in enumerate(node):
            yield from _targets(item, f"{path}[{i}]")


def _interpolated(cfg: DictConfig, path: str, name: str) -> bool:
    """Return whether a value is another key's."""
    node = OmegaConf.select(cfg, path)
    return isinstance(node, DictConfig) and OmegaConf.is_interpolation(node, name)


def _hints(callee: Any) -> dict[str, Any]:
    try:
        whole = inspect.unwrap(callee.__init__) if isinstance(callee, type) else callee  # type: ignore[misc]
        return get_type_hints(whole, include_extras=True)
    except Exception:  # skip annotations that cannot be evaluated
        return {}


def _wrong(hint: Any, value: Any) -> str | None:
    """Return what a value of a configuration must be and is not; None if it fits or cannot be judged."""
    content = OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
    plain = _plain(hint)
    if plain is None or "_target_" in json.dumps(content, default=str):
        return None
    found = first_wrong(plain, content)
    return None if found is None else found.sentence


def _plain(hint: Any) -> Any:
    """Return the part of a hint that is about plain values; None if the hint admits other objects, too."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is None:
        return hint if any(hint is one for one in PLAIN) else None
    if origin is Annotated:
        inner = _plain(parts[0])
        return None if inner is None else Annotated[inner, *parts[1:]]
    if origin in (Union, UnionType):
        inner = [_plain(part) for part in parts if part is not torch.Tensor]
        return None if None in inner or not inner else Union[tuple(inner)]  # noqa: UP007
    if origin in (tuple, list, dict) or getattr(origin, "__name__", "") == "Sequence":
        inner = [part if part is Ellipsis else _plain(part) for part in parts]
        return None if None in inner else origin[tuple(inner)]
    return None
