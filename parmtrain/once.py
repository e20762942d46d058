"""What every run of a comparison would tell again is told once: messages that are marked so."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

TELLING = ("parmtrain.parity_training", "parmtrain.training.deployed")
ONCE = {"once": True}  # extra= of a message that does not depend on the code


@contextmanager
def telling_once() -> Iterator[None]:
    """Have each message with ``extra=ONCE`` logged once inside a block.

    Example:
        >>> import sys
        >>> log, shown = logging.getLogger(TELLING[0]), logging.StreamHandler(sys.stdout)
        >>> log.addHandler(shown)
        >>> with telling_once():
        ...     for code in ("sum", "stack"):
        ...         log.warning("deployed model: A_a %.4f", 0.9, extra=ONCE)
        ...         log.warning("code=%s", code)
        deployed model: A_a 0.9000
        code=sum
        code=stack
        >>> log.removeHandler(shown)
    """
    told: set[str] = set()

    def new(record: logging.LogRecord) -> bool:
        if not getattr(record, "once", False):
            return True
        sentence = record.getMessage()
        known = sentence in told
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
