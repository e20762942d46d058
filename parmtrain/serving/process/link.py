"""A link to one of several versions of a bundle, which is read again as it leads elsewhere."""

import asyncio
import logging
import os
from collections.abc import Callable
from typing import Generic, TypeVar

from parmtrain.errors import ParmtrainError

T = TypeVar("T")
LOOK = 0.5  # seconds between two looks at the link
log = logging.getLogger(__name__)


class Link(Generic[T]):
    """Follow a link: what it leads to is read by a thread, and handed over whole.

    What cannot be read is logged, and what was read before stays.

    Args:
        path: The link; a folder that is none never changes.
        read: Reads what it leads to.
        take: Takes what was read.
        wait: Seconds until it is read, for those who should not be the first to know.
    """

    def __init__(self, path: str, read: Callable[[], T], take: Callable[[T], None], wait: float = 0.0) -> None:
        self.path, self.read, self.take, self.wait = os.path.expanduser(path), read, take, wait
        self._known = self._leads_to()

    def _leads_to(self) -> str:
        return os.path.realpath(self.path)

    async def follow(self) -> None:
        """Look at the link again and again."""
        while True:
            await asyncio.sleep(LOOK)
            now = self._leads_to()
            if now == self._known:
                continue
            await asyncio.sleep(self.wait)
            self._known = now = self._leads_to()
            try:
                self.take(await asyncio.to_thread(self.read))
                log.info("%s leads to %s: it is taken", self.path, now)
            except ParmtrainError as fault:
                log.warning("%s leads to %s, which cannot be taken: %s", self.path, now, fault)
