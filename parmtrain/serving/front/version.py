"""Another version of the bundle in service: parity models that were adapted, with their confidence and its promises."""

import asyncio
from typing import Any

from parmtrain.errors import ConfigError
from parmtrain.serving.front.served import Served
from parmtrain.serving.service.driver import Service
from parmtrain.serving.settings import ServeSettings

GRACE = 30.0  # seconds in which instances may still run the version before


class Version:
    """Which version of a bundle a front serves.

    Versions differ in their parity models and in how far these can be trusted. Encoder and decoder are the same, so
    outputs of the old and the new parity model give predictions alike while instances change from one to the other.

    Args:
        service: The service.
        served: The version that it serves.
        settings: What to serve and how.

    Attributes:
        fingerprints: What the model of each pool may be; instances look at it.
    """

    def __init__(self, service: Service, served: Served, settings: ServeSettings) -> None:
        self.service, self.served, self.settings = service, served, settings
        self.fingerprints = [{one} for one in served.fingerprints]

    def take(self, other: Served) -> None:
        """Serve another version from now on.

        Raises:
            ConfigError: If it is of another deployed model, or another code.
        """
        for name, (own, given) in _stated(self.served, other).items():
            if own != given:
                raise ConfigError([f"it must have the {name} of the bundle that is served, {own}, got {given}"])
        thresholds = other.acceptance(self.settings).thresholds
        self.service.coding.confidence = other.confidence
        self.service.frontend.trust.begin(thresholds)
        for allowed, old, new in zip(self.fingerprints, self.served.fingerprints, other.fingerprints, strict=True):
            allowed.add(new)
            if old != new:
                asyncio.get_running_loop().call_later(GRACE, allowed.discard, old)
        self.served = other


def _stated(one: Served, other: Served) -> dict[str, tuple[Any, Any]]:
    """Return what versions of a bundle must have in common, as two of them state it."""
    about, given = one.bundle.about, other.bundle.about
    same = {name: (about.get(name), given.get(name)) for name in ("code", "k", "r", "shapes", "scheme")}
    return {"deployed model": (about["deployed"]["fingerprint"], given["deployed"]["fingerprint"]), **same}
