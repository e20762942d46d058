"""The command that serves on Ray: it keeps Ray in a process of its own, tells what that says, and outlives it.

Ray's libraries write to the terminal, take signals, and end the process that they run in when Ray dies. So the command
itself runs none of it: it starts a child that does, and whatever becomes of that, all of Ray's processes end with it.
"""

import os
import signal
import sys
import tempfile
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

from parmtrain.errors import ServiceError
from parmtrain.serving.front.served import instance_counts, read_served
from parmtrain.serving.on_ray.life import FAULT, JOINED, LOGS, READY, live_on_ray
from parmtrain.serving.process.descendants import ended, named, none_left, stop_with_parent
from parmtrain.serving.protocol.listening import taken
from parmtrain.serving.settings import ServeSettings

VITAL = {"raylet": "its raylet", "gcs_server": "its control store (GCS)"}  # Ray's programs, of which each has one
LOOK = 0.5  # seconds between two looks at them
GRACE = 45.0  # seconds in which Ray answers what is in flight, and ends
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def serve_on_ray(settings: ServeSettings) -> None:
    """Serve until the user stops it.

    Raises:
        ConfigError: If the settings do not fit the bundle, or a port is taken; nothing has started then.
        ServiceError: If Ray or the service on it has died.
    """
    served = read_served(settings)
    counts = instance_counts(settings, served)
    for name in ("port", "metrics_port"):  # Ray would share one silently, or fail late
        taken(settings.host, getattr(settings, name), name).close()
    about = served.bundle.about
    code = f"code={about['code']}, k={settings.k or about['k']}" if settings.coded else "uncoded"
    url = f"http://{settings.host}:{settings.port}"
    shown = (
        f"{about['task']}, {code}: instances {counts}\n"
        f"{url}/v2/models/{settings.name or about['task']}/infer and {url}/ take POST requests; "
        f"metrics for Prometheus: http://127.0.0.1:{settings.metrics_port}/metrics"
    )
    with none_left(), tempfile.NamedTemporaryFile() as output:
        Host(settings, counts, output).work(shown)


class Host:
    """A child process that runs Ray.

    Args:
        settings: What to serve and how.
        counts: Instances of each pool.
        output: Temporary file with a name, for all that Ray writes to its outputs.
    """

    def __init__(self, settings: ServeSettings, counts: list[int], output: Any) -> None:
        # a fork has imported everything already; systems other than Linux have libraries that do not survive one
        context: Any = get_context("fork" if sys.platform == "linux" else "spawn")
        self.output, self.ready, self.joined = output, False, False
        self.heard, told = context.Pipe(duplex=False)
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)  # until the child has its own answer to them
        try:
            self.process: SpawnProcess = context.Process(
                target=_child, args=(settings, counts, output.name, told), name="Ray"
            )
            self.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
        told.close()

    def work(self, shown: str) -> None:
        """Tell ``shown`` once queries are answered; return when the user stops the service.

        Raises:
            KeyboardInterrupt: If the user stops it before.
            ServiceError: If Ray has died.
        """
        try:
            self._follow(shown)
        except KeyboardInterrupt:
            if self.ready or self.joined:  # a cluster that was there before must not keep what is half started
                self.process.terminate()
                self.process.join(GRACE)
            if not self.ready:
                raise

    def _follow(self, shown: str) -> None:
        vital: dict[int, str] = {}
        while True:
            for kind, text in self._said():
                if kind == JOINED:
                    self.joined = True
                elif kind == READY:
                    self.ready = True
                    print(shown, flush=True)
                elif kind == FAULT:
                    if self.joined:
                        self.process.join(GRACE)
                    raise ServiceError(text)
            dead = sorted(what for one, what in vital.items() if ended(one))
            if dead:
                raise ServiceError(f"Ray has died: {' and '.join(dead)} ended; {LOGS}")
            if not self.process.is_alive():
                raise ServiceError(f"Ray's process has ended{self._last_words()}; {LOGS}")
            if len(vital) < len(VITAL) and not self.joined:
                for name, what in VITAL.items():
                    vital |= dict.fromkeys(named(os.getpid(), name), what)

    def _said(self) -> list[tuple[str, str]]:
        """Return what the child has said within some time."""
        try:
            return [self.heard.recv()] if wait([self.heard], LOOK) else []
        except (EOFError, OSError):  # it ends
            self.process.join(LOOK)
            return []

    def _last_words(self) -> str:
        self.output.seek(max(0, self.output.seek(0, os.SEEK_END) - 2000))
        lines = self.output.read().decode(errors="replace").split("\n")
        said = [line.strip() for line in lines if line.strip()]
        return f" ({said[-1][:200]})" if said else ""


def _child(settings: ServeSettings, counts: list[int], output: str, told: Connection) -> None:
    """Run Ray, out of reach of the terminal: its signals are for the parent, and its screen, too."""
    os.setsid()
    try:
        written = os.open(output, os.O_WRONLY | os.O_APPEND)
    except FileNotFoundError:  # the parent ends already
        written = os.open(os.devnull, os.O_WRONLY)
    for number in (1, 2):
        os.dup2(written, number)
    for one in STOPS:
        signal.signal(one, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    stop_with_parent()  # for one that is killed cannot ask for it
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)

    def tell(kind: str, text: str) -> None:
        with suppress(OSError):  # nobody hears it any more
            told.send((kind, text))

    with none_left():
        live_on_ray(settings, counts, tell)
