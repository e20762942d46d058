"""Downloads with torchvision that fail with one clear sentence."""

import contextlib
import io
from collections.abc import Callable
from typing import Any

from parmtrain.errors import DataError, MissingDataError, reason_of


def attempt(download: Callable[[], Any], locate: Callable[[], None]) -> None:
    """Run ``download``; if it fails, raise an error that also says what ``locate`` finds missing.

    Raises:
        DataError: If the download fails.
    """
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            download()
    except Exception as fault:  # URLError, RuntimeError, OSError …: torchvision wraps none of them
        reason = reason_of(fault)
        try:
            locate()
        except MissingDataError as missing:
            raise DataError(f"{missing}; the download failed ({reason})") from fault
        raise DataError(f"the download failed: {reason}") from fault
    locate()
