"""Classes and functions that a configuration names with ``_target_``."""

import re
from pkgutil import resolve_name
from typing import Any

from parmtrain.errors import reason_of

NOT_FOUND = re.compile(r"Error (?:loading|locating target) '([^']+)'")  # as Hydra states it


def target_fault(key: str, target: Any) -> str | None:
    """Return what is wrong with the class or function that a key names; None if it can be imported.

    Example:
        >>> target_fault("code", "parmtrain.codes.Sum")
        >>> print(target_fault("code", "mine.Weighted"))
        code._target_ must be a class or function that can be imported, got mine.Weighted (No module named 'mine'); \
name the folder of mine in PYTHONPATH, as in PYTHONPATH=. parmtrain …
    """
    mend = ""
    try:
        if callable(resolve_name(target)):
            return None
        why = "it cannot be called"
    except Exception as fault:  # an import can raise anything
        why, top = reason_of(fault), str(target).partition(".")[0]
        if isinstance(fault, ModuleNotFoundError) and fault.name == top:
            mend = f"; name the folder of {top} in PYTHONPATH, as in PYTHONPATH=. parmtrain …"
    return f"{key}._target_ must be a class or function that can be imported, got {target} ({why}){mend}"


def not_built(key: str, fault: Exception, cause: BaseException) -> str:
    """Return why what a key names was not built.

    Args:
        key: The key.
        fault: What Hydra raised.
        cause: What it came from.
    """
    missing = NOT_FOUND.search(str(fault))
    return (target_fault(key, missing[1]) if missing else None) or f"{key}: {reason_of(cause)}"
