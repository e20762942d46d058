"""The file of a fleet, which is read again as it changes."""

import asyncio
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from parmtrain.errors import ConfigError
from parmtrain.serving.fleet.endpoints import Endpoint, read_fleet
from parmtrain.serving.service.driver import Instance, Service
from parmtrain.serving.settings import ServeSettings

LOOK = 1.0  # seconds between two looks at the file
log = logging.getLogger(__name__)


class Fleet:
    """The instances of a service, as a file names them: it is read again when it changes.

    Args:
        path: The file.
        read: Reads it; raises a ``ConfigError`` if it is wrong.
        service: The service; its frontend has the instances that the file names now.
        made: Makes an instance of an endpoint and a pool.
        listed: What the file names now.
        left: Told of each endpoint that is not listed any more.
    """

    def __init__(
        self,
        path: str,
        read: Callable[[], list[tuple[int, Endpoint]]],
        service: Service,
        made: Callable[[int, Endpoint], Instance],
        listed: list[tuple[int, Endpoint]],
        left: Callable[[Endpoint], None] = lambda _: None,
    ) -> None:
        self.path, self.read, self.service, self.made = Path(path).expanduser(), read, service, made
        self.left = left
        self._known: tuple[int, int] | None = None  # it may have changed since it was listed
        self._numbers = dict(enumerate(listed))

    def _changed(self) -> tuple[int, int]:
        with suppress(OSError):
            state = os.stat(self.path)
            return state.st_mtime_ns, state.st_size
        return 0, 0

    async def follow(self) -> None:
        """Look at the file again and again."""
        while True:
            await asyncio.sleep(LOOK)
            now = self._changed()
            if now == self._known:
                continue
            self._known = now
            try:
                self.take(self.read())
            except ConfigError as fault:
                log.warning("%s; the fleet stays as it is", fault)

    def take(self, listed: list[tuple[int, Endpoint]]) -> None:
        """Add the instances that are new, and remove those that are not listed any more."""
        wanted = list(listed)
        for number, one in list(self._numbers.items()):
            if one in wanted:
                wanted.remove(one)
            else:
                log.info("%s leaves the fleet", one[1])
                self.service.remove(number)
                self.left(one[1])
                del self._numbers[number]
        for pool, endpoint in wanted:
            log.info("%s joins the fleet", endpoint)
            self._numbers[self.service.add(pool, self.made(pool, endpoint))] = (pool, endpoint)


def read_share(settings: ServeSettings, pools: list[str], number: int) -> list[tuple[int, Endpoint]]:
    """Return the endpoints of one of several fronts: every so many of each pool.

    Raises:
        ConfigError: If the file of the fleet is wrong, or a pool has fewer endpoints than there are fronts.
    """
    assert settings.fleet is not None
    listed, share = read_fleet(settings.fleet, pools), settings.frontends
    found = []
    for pool, name in enumerate(pools):
        own = [endpoint for one, endpoint in listed if one == pool]
        if len(own) < share:
            raise ConfigError(
                [
                    f"fleet={settings.fleet}: {name} must list {share} servers or more for frontends={share}, got "
                    f"{len(own)}"
                ]
            )
        found += [(pool, endpoint) for endpoint in own[number::share]]
    return found
