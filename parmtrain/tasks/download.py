"""Downloads through torchvision that fail with one clear sentence."""

import contextlib
import io
from collections.abc import Callable
from typing import Any

from parmtrain.errors import DataError


def attempt(download: Callable[[], Any], locate: Callable[[], None]) -> None:
    """Run ``download``; if it fails, say so behind what ``locate`` finds missing.

    Raises:
        DataError: If the download is impossible.
    """
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            download()
    except Exception as fault:  # URLError, RuntimeError, OSError …: torchvision wraps none of them
        reason = str(fault).splitlines()[0] if str(fault) else type(fault).__name__
        try:
            locate()
        except DataError as missing:
            raise DataError(f"{missing}; a download was tried and failed ({reason[:160]})") from fault
        raise DataError(f"the download failed: {reason[:160]}") from fault
    locate()
