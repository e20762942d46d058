"""Arguments in a configuration against the signatures of what they are given to."""

import inspect
from collections.abc import Iterator
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import torch
from hydra._internal.utils import _locate
from omegaconf import DictConfig, ListConfig

MANY = 12
NUMBERS = {int, float, bool, NoneType, torch.Tensor}


def misnamed(cfg: DictConfig) -> Iterator[str]:
    """Say of each thing that is to be built what it cannot take: arguments it does not have, words for numbers.

    Args:
        cfg: A composed configuration.
    """
    for path, node in _targets(cfg, ""):
        target = node["_target_"]
        try:
            callee = _locate(target)
        except Exception:  # whatever an import raises
            yield f"{path}._target_={target}: no such class or function can be imported"
            continue
        given = {key: value for key, value in node.items() if not str(key).startswith("_")}
        try:
            parameters = inspect.signature(callee).parameters
        except ValueError:  # built-in functions have none
            continue
        takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
        for name in given.keys() - parameters.keys():
            if not takes_all:
                close = get_close_matches(name, parameters, n=1) or list(parameters)[:MANY]
                yield f"{path}.{name}: {target} has no such argument; it has {', '.join(close)}"
        hints = _hints(callee)
        for name, value in given.items():
            wanted = _plain(hints.get(name))
            if isinstance(value, str) and wanted and wanted <= NUMBERS:
                words = " or ".join(sorted(kind.__name__ for kind in wanted & {int, float, bool}))
                yield f"{path}.{name}={value}: {target} takes {words} there"


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
    except Exception:  # annotations that cannot be evaluated say nothing
        return {}


def _plain(hint: Any) -> set[Any]:
    return set(get_args(hint)) if get_origin(hint) in (Union, UnionType) else {hint} - {None}
