"""Check the arguments in a configuration against the signatures of what they are passed to."""

import inspect
from collections.abc import Iterator
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import torch
from hydra.utils import get_object
from omegaconf import DictConfig, ListConfig

from parmtrain.config.faults import Fault

MANY = 12
NUMBERS = {int, float, bool, NoneType, torch.Tensor}


def misnamed(cfg: DictConfig) -> Iterator[Fault]:
    """Yield a fault for each unknown argument, and for each word where a number is expected.

    Args:
        cfg: A composed configuration.
    """
    for path, node in _targets(cfg, ""):
        target = node["_target_"]
        try:
            callee = get_object(target)
        except Exception:  # an import can raise anything
            key = f"{path}._target_"
            yield Fault(key, f"{key} must be a class or function that can be imported, got {target}")
            continue
        given = {key: value for key, value in node.items() if not str(key).startswith("_")}
        try:
            parameters = inspect.signature(callee).parameters
        except ValueError:  # built-in functions have no signature
            continue
        takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
        for name in given.keys() - parameters.keys():
            if not takes_all:
                close = get_close_matches(name, parameters, n=1) or list(parameters)[:MANY]
                key = f"{path}.{name}"
                yield Fault(key, f"{key} must be an argument of {target}; choose from {', '.join(close)}")
        hints = _hints(callee)
        for name, value in given.items():
            wanted = _plain(hints.get(name))
            if isinstance(value, str) and wanted and wanted <= NUMBERS:
                words = " or ".join(sorted(kind.__name__ for kind in wanted & {int, float, bool}))
                key = f"{path}.{name}"
                yield Fault(key, f"{key} must be {words} for {target}, got {value}")


def _targets(node: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(node, DictConfig):
        if node.get("_target_") is not None:
            yield path, {str(key): node[key] for key in node}
        for key in node:
            yield from _targets(node[key], f"{path}.{key!s}" if path else str(key))
    elif isinstance(node, ListConfig):
        for i, item in enumerate(node):
            yield from _targets(item, f"{path}[{i}]")


def _hints(callee: Any) -> dict[str, Any]:
    try:
        return get_type_hints(inspect.unwrap(callee.__init__) if isinstance(callee, type) else callee)  # type: ignore[misc]
    except Exception:  # skip annotations that cannot be evaluated
        return {}


def _plain(hint: Any) -> set[Any]:
    return set(get_args(hint)) if get_origin(hint) in (Union, UnionType) else {hint} - {None}
