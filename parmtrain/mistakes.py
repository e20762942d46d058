"""What a user wrote by mistake, in plain words, and what they may have meant."""

import re
from collections.abc import Iterable
from difflib import get_close_matches

from parmtrain.errors import reason_of

KINDS = {"Integer": "a whole number", "Float": "a number", "bool": "true or false"}  # as OmegaConf calls them
_OF_A_KIND = re.compile(r"Value '(.*)' (?:of type '\w+' could not be converted to|is not a valid) (\w+)")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return the end of a sentence that proposes the known word nearest to an unknown one; empty if none is near.

    Example:
        >>> print("unknown key prot" + did_you_mean("prot", ["host", "port"]))
        unknown key prot; did you mean port?
        >>> did_you_mean("temperature", ["host", "port"])
        ''
    """
    near = get_close_matches(word, list(known), 1)
    return f"; did you mean {near[0]}?" if near else ""


def wrong_kind(fault: Exception) -> str:
    """Return OmegaConf's complaint about the kind of a value as what it must be, and others as they are.

    Example:
        >>> wrong_kind(ValueError("Value 'two' of type 'str' could not be converted to Integer"))
        'must be a whole number, got two'
    """
    reason = reason_of(fault)
    found = _OF_A_KIND.match(reason)
    return f"must be {KINDS[found[2]]}, got {found[1]}" if found and found[2] in KINDS else reason
