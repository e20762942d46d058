"""Code of the user's own that a configuration names: what was trained with it changes when it changes."""

import hashlib
import inspect
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

INSTALLED = tuple(Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib"))
PACKAGE = Path(__file__).resolve().parents[1]


def own_sources(node: Any) -> dict[str, str]:
    """Return a digest of the file of each class or function that is neither installed nor parmtrain's.

    Args:
        node: A configuration, or a part of it, as plain values.

    Example:
        >>> own_sources({"model": {"_target_": "torch.nn.Linear"}, "code": {"_target_": "parmtrain.codes.Sum"}})
        {}
    """
    files = {name: _file(name) for name in sorted(set(_targets(node)))}
    return {name: hashlib.sha256(file.read_bytes()).hexdigest()[:16] for name, file in files.items() if file}


def _targets(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("_target_"), str):
            yield node["_target_"]
        for value in node.values():
            yield from _targets(value)
    elif isinstance(node, list):
        for value in node:
            yield from _targets(value)


def _file(name: str) -> Path | None:
    """Return the file of a class or function, if it is the user's own."""
    if name.partition(".")[0] == PACKAGE.name:
        return None
    try:
        source = inspect.getsourcefile(resolve_name(name))
    except Exception:  # what cannot be imported is a fault that others find
        return None
    file = Path(source).resolve() if source else None
    own = file is not None and file.is_file() and not any(file.is_relative_to(one) for one in (*INSTALLED, PACKAGE))
    return file if own else None
