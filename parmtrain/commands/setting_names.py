"""Names of the fields of dataclasses, read from their files: importing these would take seconds."""

import ast
from collections.abc import Iterator
from pathlib import Path

ABOVE = Path(__file__).resolve().parents[2]


def setting_names(where: str) -> list[str]:
    """Return the names of the fields of a dataclass and of those that it is made of.

    Args:
        where: Where the class is, as ``module:Class``.

    Example:
        >>> names = setting_names("parmtrain.simulate:SimulationSettings")
        >>> "slow" in names, "strategies" in names, "port" in names
        (True, True, False)
    """
    module, _, name = where.partition(":")
    return list(dict.fromkeys(_fields(module, name)))


def _fields(module: str, name: str) -> Iterator[str]:
    """Yield the fields of a class, wherever the module has it from."""
    for node in ast.parse(_file(module).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.module and name in [one.asname or one.name for one in node.names]:
            yield from _fields(node.module, name)
        elif isinstance(node, ast.ClassDef) and node.name == name:
            for base in node.bases:
                if isinstance(base, ast.Name):
                    yield from _fields(module, base.id)
            for one in node.body:
                if isinstance(one, ast.AnnAssign) and isinstance(one.value, ast.Call):
                    assert isinstance(one.target, ast.Name)
                    yield one.target.id


def _file(module: str) -> Path:
    path = ABOVE.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
