"""What every run of a comparison would tell again is told once."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

TELLING = ("parmtrain.parity_training", "parmtrain.training.deployed")
SAME = "deployed model: "  # what messages that do not depend on the code begin with


@contextmanager
def telling_once() -> Iterator[None]:
    """Have each sentence about the deployed model logged once inside a block.

    Example:
        >>> import sys
        >>> log, shown = logging.getLogger(TELLING[0]), logging.StreamHandler(sys.stdout)
        >>> log.addHandler(shown)
        >>> with telling_once():
        ...     for code in ("sum", "stack"):
        ...         log.warning("deployed model: A_a %.4f", 0.9)
        ...         log.warning("code=%s", code)
        deployed model: A_a 0.9000
        code=sum
        code=stack
        >>> log.removeHandler(shown)
    """
    told: set[str] = set()

    def new(record: logging.LogRecord) -> bool:
        sentence = record.getMessage()
        known = sentence in told
        if sentence.startswith(SAME):
            told.add(sentence)
        return not known

    loggers = [logging.getLogger(name) for name in TELLING]
    for one in loggers:
        one.addFilter(new)
    try:
        yield
    finally:
        for one in loggers:
            one.removeFilter(new)
