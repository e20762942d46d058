"""What a user wrote by mistake, in plain words, and what they may have meant."""

import re
from collections.abc import Iterable
from difflib import get_close_matches

from parmtrain.errors import reason_of

TYPES = {"Integer": "an integer", "Float": "a number", "bool": "true or false"}  # as OmegaConf calls them
SHOWN = 100  # letters of a wrong value
_OF_TYPE = re.compile(r"Value '(.*)' (?:of type '\w+' could not be converted to|is not a valid) (\w+)", re.DOTALL)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return the end of a sentence that proposes the known word nearest to an unknown one; empty if none is near.

    Example:
        >>> print("unknown key prot" + did_you_mean("prot", ["host", "port"]))
        unknown key prot; did you mean port?
        >>> did_you_mean("temperature", ["host", "port"]), did_you_mean("port", ["host", "port"])
        ('', '')
    """
    words = list(known)
    near = [] if word in words else get_close_matches(word, words, 1)
    return f"; did you mean {near[0]}?" if near else ""


def wrong_type(fault: Exception) -> str:
    """Return what a value must be, for OmegaConf's complaint about its type; another complaint as it is.

    Example:
        >>> wrong_type(ValueError("Value 'two' of type 'str' could not be converted to Integer"))
        'must be an integer, got two'
        >>> wrong_type(ValueError("field 'k' is not Optional"))
        'must have a value, got null'
    """
    text, each = str(fault), str(getattr(fault, "full_key", "")).endswith("]")
    found = _OF_TYPE.match(text)
    if found and found[2] in TYPES:
        return f"{'each value ' if each else ''}must be {TYPES[found[2]]}, got {found[1][:SHOWN]}"
    if " is not Optional" in text:
        return "must have a value, got null"
    if " is not a ListConfig" in text:
        return "must be a list, such as [1,2]"
    return reason_of(fault)
