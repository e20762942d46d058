"""The life of a service on Ray, in the process that Ray runs in: its start, its health and its end."""

import logging
import os
import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from parmtrain.errors import ConfigError, ParmtrainError, reason_of
from parmtrain.serving.process.descendants import named
from parmtrain.serving.settings import ServeSettings

LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"  # 0 keeps Ray's own ports off the network, on Linux too
JOINED, READY, FAULT = "joined", "ready", "fault"
NAME = "parmtrain"
LOOK = 2.0  # seconds between two looks at the service
PATIENCE = 60.0  # seconds in which Ray may mend it
LOGS = "Ray's logs are in /tmp/ray/session_latest/logs"
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_RAISED = re.compile(r"^\s*((?:\w+\.)*\w*(?:Error|Exception|Fault|Interrupt)\b.*)$", re.MULTILINE)


def live_on_ray(settings: ServeSettings, counts: list[int], tell: Callable[[str, str], None]) -> None:
    """Serve until ``KeyboardInterrupt``, or until the service cannot be kept up.

    Args:
        settings: What to serve and how.
        counts: Instances of each pool.
        tell: Called with ``JOINED`` if Ray was there before, ``READY`` once queries are answered, and ``FAULT`` with a
            sentence at the end if the user did not ask for it.
    """
    fault, joined, deployed = "", False, False
    try:
        began = time.monotonic()
        joined = start_ray(settings, tell)
        require_room_for(settings, counts)
        deployed = True  # or soon
        deploy(settings)
        tell(READY, "")
        fault = Watch(max(PATIENCE, 3 * (time.monotonic() - began))).work()
    except KeyboardInterrupt:
        pass
    except ParmtrainError as wrong:
        fault = str(wrong)
    except Exception as wrong:
        fault = f"Ray did not start the service: {_told_cause() or cause_of(str(wrong)) or reason_of(wrong)}; {LOGS}"
    if fault and not joined:
        tell(FAULT, fault)  # then nothing of Ray is left
    end(deployed)
    if fault and joined:
        tell(FAULT, fault)


def start_ray(settings: ServeSettings, tell: Callable[[str, str], None]) -> bool:
    """Start Ray, or join the one that ``RAY_ADDRESS`` names; return whether it was joined."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if settings.local and "RAY_ADDRESS" not in os.environ:
        os.environ.setdefault(LOOPBACK, "0")
    import ray

    ray.init(
        logging_level=logging.WARNING,
        log_to_driver=False,
        include_dashboard=False,
        _metrics_export_port=settings.metrics_port,
    )
    joined = not named(os.getpid(), "raylet")
    if joined:
        tell(JOINED, "")
    return joined


def require_room_for(settings: ServeSettings, counts: list[int]) -> None:
    """Raise a ``ConfigError`` if Ray has not what the instances need."""
    import ray

    there = ray.cluster_resources()
    for kind, wanted in (("CPU", settings.cpus), ("GPU", settings.gpus)):
        require_room(kind, wanted * sum(counts), there.get(kind, 0.0))


def deploy(settings: ServeSettings) -> None:
    """Start the service on Ray; raise a ``RuntimeError`` if it does not start."""
    from ray import serve

    from parmtrain.serving.on_ray.app import application

    serve.start(http_options={"host": settings.host, "port": settings.port}, logging_config={"log_level": "WARNING"})
    serve.run(application(settings), name=NAME, route_prefix="/")


def require_room(kind: str, wanted: float, there: float) -> None:
    """Raise a ``ConfigError`` if Ray has less than the instances need: it would wait for it for ever.

    Example:
        >>> require_room("GPU", 2.0, 1.0)
        Traceback (most recent call last):
        parmtrain.errors.ConfigError: gpus must be fewer: the instances need 2 GPUs together, and Ray has 1
    """
    if wanted > there:
        name = kind.lower()
        raise ConfigError(
            [f"{name}s must be fewer: the instances need {wanted:g} {kind}s together, and Ray has {there:g}"]
        )


def cause_of(message: str) -> str:
    r"""Return the line of a message of Ray's that names an error raised in our code: the last one; empty for none.

    Example:
        >>> cause_of("The deployment failed.\n  File x\nparmtrain.errors.ExportError: export is empty\n\n")
        'export is empty'
    """
    found = _RAISED.findall(_COLOUR.sub("", message))
    line = found[-1].strip()[:300] if found else ""
    return re.sub(r"^parmtrain\.[\w.]+: ", "", line)


def end(deployed: bool) -> None:
    """End the service if it was deployed, and Serve with it unless others use it: as far as a Ray that dies allows."""
    import ray
    from ray import serve

    with suppress(Exception, KeyboardInterrupt):
        if deployed and set(serve.status().applications) - {NAME}:
            serve.delete(NAME)
        elif deployed:
            serve.shutdown()
    with suppress(Exception, KeyboardInterrupt):
        ray.shutdown()


class Watch:
    """Look at the service, which Ray mends by itself where it can.

    Args:
        patience: Seconds in which it may do so.
        look: Returns what is wrong now; empty if nothing is. It may raise, or wait for ever.
        pause: Seconds between two looks.
    """

    def __init__(self, patience: float, look: Callable[[], str] | None = None, pause: float = LOOK) -> None:
        self.patience, self.look, self.pause = patience, look or what_is_wrong, pause
        self.wrong, self.since = "its controller does not answer", time.monotonic()

    def work(self) -> str:
        """Return a sentence once something has been wrong for longer than ``patience``."""
        threading.Thread(target=self._looking, daemon=True, name="looking at Ray").start()
        while (seconds := time.monotonic() - self.since) < self.patience:
            time.sleep(self.pause)
        return f"the service on Ray has not been well for {seconds:.0f} s: {self.wrong}; {LOGS}"

    def _looking(self) -> None:
        while True:
            try:
                wrong = self.look()
            except Exception as fault:
                wrong = f"its controller does not answer ({type(fault).__name__})"
            if not wrong:
                self.since = time.monotonic()
            self.wrong = wrong or "its controller does not answer"
            time.sleep(self.pause)


def _cause_in(application: Any) -> str:
    """Return the error that Ray's account of an application names; empty if it names none."""
    return next(filter(None, (cause_of(one.message) for one in application.deployments.values())), "")


def _told_cause() -> str:
    from ray import serve

    with suppress(Exception):
        return _cause_in(serve.status().applications[NAME])
    return ""


def what_is_wrong() -> str:
    """Return what Ray says is wrong with the service; empty if nothing is."""
    from ray import serve

    status: Any = serve.status()
    application = status.applications.get(NAME)
    if application is None:
        return f"the application {NAME} is gone"
    if application.status != "RUNNING":
        cause = _cause_in(application)
        return f"the frontend is {application.status.lower()}" + (f" ({cause})" if cause else "")
    sick = [state for state in status.proxies.values() if state not in ("HEALTHY", "DRAINING")]
    return f"its HTTP proxy is {sick[0].lower()}" if sick else ""
