"""Have parity models follow what is served: ``parmtrain adapt bundle=RUN versions=FOLDER keep=FOLDER``."""

import json
import logging
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from scipy.special import bdtr

from parmtrain.adaptation import PairFolder, Shadow, Versions
from parmtrain.bundle import Bundle
from parmtrain.command import ending_quietly, log_to_terminal, settings_command
from parmtrain.errors import reason_of
from parmtrain.settings import require_valid, setting

log = logging.getLogger("parmtrain.adapt")  # as __main__, it would not be heard
HELP = """Adapt parity models to what is served: parmtrain adapt bundle=RUN versions=FOLDER keep=FOLDER […]

{settings}

Example: parmtrain adapt bundle=runs/mine versions=versions keep=kept status=http://127.0.0.1:8080/status

A front that serves bundle=VERSIONS/current with keep=… writes what is learned from, and with follow=true takes new
versions, as instances do.
"""
LOOK = 1.0  # seconds between two looks at what is served
SURPRISE = 0.001  # probability of so few agreements, if held-out ones told the truth, at which a version is taken back
SOON = 5.0  # seconds for a front to say how it does


@dataclass
class AdaptSettings:
    """Settings of adaptation."""

    bundle: str = setting("", "folder of a run, or its export folder: version 0")
    versions: str = setting("", "folder of the versions; its link current names the one that serves")
    keep: str = setting("", "folder in which a front keeps served queries, its keep=…")
    every: int = setting(8, "new files of served queries, of 256 each, between two rounds", above=0)
    rounds: int = setting(0, "rounds after which this ends; 0 for none", least=0)
    epochs: int = setting(8, "passes over the kept queries in a round", above=0)
    lr: float = setting(1e-3, "largest learning rate", above=0)
    seed: int = setting(0, "seed of the groups", least=0)
    status: str = setting(
        "", "/status of the front, http://…, by whose audits (audit=…) a version that disappoints is taken back"
    )
    threads: int = setting(1, "threads of PyTorch", above=0)

    def faults(self) -> Iterator[str]:
        """Yield every fault except numbers out of bounds."""
        for name in ("bundle", "versions", "keep"):
            if not getattr(self, name):
                yield f"{name} must be a folder, got none; set {name}=…"
        if self.status and not self.status.startswith(("http://", "https://")):
            yield f"status must be an address, http://…, got {self.status}"


class Adaptation:
    """Learn, promote and take back, one step after the other.

    Args:
        settings: What to learn from, and how.
    """

    def __init__(self, settings: AdaptSettings) -> None:
        self.settings = settings
        self.served, self.versions = PairFolder(Path(settings.keep)), Versions(Path(settings.versions))
        self.versions.begin(Bundle(settings.bundle))
        self.known = 0  # files that had been written when it last learned
        self._before = self._audited()  # what the front had audited when the version began, or this

    def round(self) -> bool:
        """Learn from what is kept, and promote what is better; return whether it is.

        Raises:
            DataError: If what is kept is damaged, or of another model.
            UnsupportedError: If the bundle cannot be adapted.
        """
        settings = self.settings
        written = self.served.written
        learned_from, held_out = self.served.read()
        shadow = Shadow(self.versions.bundle(), settings.seed + written, settings.epochs, settings.lr)
        learned = shadow.learn(learned_from, held_out)
        self.known = written
        words = (
            f"{len(learned_from.queries)} queries: agreement {learned.before:.4f} before, {learned.agreement:.4f} "
            f"after, on {len(held_out.queries)} others (p = {learned.chance:.2g})"
        )
        if not learned.better:
            log.info("%s; nothing is changed", words)
            return False
        number = self.versions.promote(learned, len(learned_from.queries))
        self._before = self._audited()
        log.info("%s; version %d serves", words, number)
        return True

    def watch(self) -> bool:
        """Take back the version that serves if it agrees less than it promised; return whether it was."""
        if not self.settings.status:
            return False
        about = self.versions.bundle().about.get("version")
        if about is None:
            return False
        now = self._audited()
        count, agreed = now[0] - self._before[0], now[1] - self._before[1]
        if count < 0:  # the front has begun anew
            self._before = 0, 0.0
        if count <= 0 or bdtr(round(agreed), count, about["agreement"]) >= SURPRISE:
            return False
        why = (
            f"agreement {agreed / count:.4f} in {count} reconstructions, {about['agreement']:.4f} when it was promoted"
        )
        parent = self.versions.take_back(why)
        self._before = now
        log.warning("version %d is taken back, version %d serves: %s", about["number"], parent, why)
        return True

    def _audited(self) -> tuple[int, float]:
        """Return how many audits the front has made, and how many agreed; none if it cannot be asked.

        Late queries are no fair sample: what is sent is compared less often than what waits for F's own prediction.
        """
        if not self.settings.status:
            return 0, 0.0
        try:
            request = urllib.request.Request(self.settings.status, headers={"Accept": "application/json"})
            with urllib.request.urlopen(request, timeout=SOON) as response:
                state: dict[str, Any] = json.load(response)
            audits = state["agreement"]["audit"]["overall"]
            return audits["count"], audits["count"] * (audits["agreement"] or 0.0)
        except (KeyError, TypeError):
            why = "its answer has no audits"
        except (OSError, ValueError) as fault:
            inner = getattr(fault, "reason", None)  # of what urllib raises
            why = reason_of(inner if isinstance(inner, Exception) else fault)
        log.warning(
            "status=%s must be /status of a front that runs with audit=…, but: %s; no version is taken back meanwhile",
            self.settings.status,
            why,
        )
        return 0, 0.0


def adapt(settings: AdaptSettings) -> None:
    """Adapt until the user stops it, or for as many rounds as were asked for."""
    require_valid(settings)
    torch.set_num_threads(settings.threads)
    adaptation, rounds = Adaptation(settings), 0
    log.info("version %d serves", adaptation.versions.current)
    while not settings.rounds or rounds < settings.rounds:
        adaptation.watch()
        if adaptation.served.written - adaptation.known >= settings.every:
            adaptation.round()
            rounds += 1
        else:
            time.sleep(LOOK)


@ending_quietly
def main(arguments: list[str] | None = None) -> int:
    """Adapt as the command line asks for; return the exit status."""
    log_to_terminal()
    return settings_command(AdaptSettings, HELP, adapt, arguments)


if __name__ == "__main__":
    sys.exit(main())
