"""Check plain values, such as those of YAML and JSON files, against type hints, with sentences in one wording."""

import json
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

SHOULD = "Input should "
MESSAGES = {
    "float_type": "must be a number",
    "int_type": "must be an integer",
    "int_from_float": "must be an integer",
    "bool_type": "must be true or false",
    "string_type": "must be text",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "too_short": "must have 1 or more values",
    "missing": "must be there",
    "string_pattern_mismatch": "must be of letters, digits, dots, dashes and underscores alone",
}
"""Sentences for the kinds of errors that pydantic finds, where its own would not do."""


class Wrong(NamedTuple):
    """What is wrong with a value.

    Args:
        where: Path to the wrong part: ``("shapes", "query", 0)``; empty for the value itself.
        sentence: What it must be, and what was given.
    """

    where: tuple[Any, ...]
    sentence: str

    @property
    def key(self) -> str:
        """The path to the wrong part, without numbers of list entries: ``shapes.query``."""
        return ".".join(part for part in self.where if isinstance(part, str) and part.isidentifier())


def first_wrong(hint: Any, value: Any) -> Wrong | None:
    """Return the first part of a value that does not fit a type hint, as JSON would hold it; None if all fit.

    Example:
        >>> first_wrong(list[int], [1, "x"])
        Wrong(where=(1,), sentence='must be an integer, got x')
        >>> first_wrong(dict[str, int], {"a": 1}) is None
        True
    """
    try:
        TypeAdapter(hint).validate_json(json.dumps(value, default=str), strict=True)
    except ValidationError as faults:
        fault = faults.errors()[0]
        kind, where, given = fault["type"], fault["loc"], fault["input"]
        words = MESSAGES.get(kind, fault["msg"].replace(SHOULD, "must "))
        if kind == "missing":
            words, given = ("must have more values", value) if isinstance(where[-1], int) else (words, "nothing")
        if not where and isinstance(value, dict):
            return Wrong(where, words)
        return Wrong(where, f"{words}, got {'none' if given == [] else _short(given)}")
    return None


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
