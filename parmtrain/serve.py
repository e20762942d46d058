"""Serve a bundle on this machine or on a Ray cluster: ``parmtrain serve bundle=RUN k=2 replicas=4``."""

import os
import signal
import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))  # while it imports, nothing has started that must end

from parmtrain.command import FAILED, ending_quietly, say, settings_command, stopping_at_once
from parmtrain.errors import ConfigError
from parmtrain.serving.settings import ServeSettings

INSTANCE, CURVE = "--instance", "--curve"
HELP = """Serve an exported bundle: parmtrain serve bundle=FOLDER [key=value …]

{settings}

Example: parmtrain serve bundle=runs/mine fleet=fleet.yaml port=8000

One instance of a fleet: parmtrain serve --instance --help
How long a model takes by batch size: parmtrain serve --curve --help

TorchScript archives are programs: serve only bundles that you would run.
"""
INSTANCE_HELP = """Serve one model of a bundle: parmtrain serve --instance bundle=FOLDER [key=value …]

{settings}

It speaks the Open Inference Protocol. TorchScript archives are programs: serve only bundles that you would run.
"""
CURVE_HELP = """Measure batches of a model: parmtrain serve --curve bundle=FOLDER [key=value …]

{settings}

The table of seconds by batch size is for batch_curve=… of parmtrain simulate.
"""


@ending_quietly
def main(arguments: list[str] | None = None) -> int:
    """Serve what the command line asks for; return the exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    asks = bool({"-h", "--help"} & set(given))
    if not asks and any(find_spec(name) is None for name in ("starlette", "uvicorn", "aiohttp", "prometheus_client")):
        say("serving needs more packages: pip install 'parmtrain[serve]'")
        return FAILED
    if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    with stopping_at_once():
        kind, text, work = _asked(given)
    return settings_command(kind, text, work, [one for one in given if one not in (INSTANCE, CURVE)])


def _asked(given: list[str]) -> tuple[type[Any], str, Callable[[Any], None]]:
    """Import what the arguments ask for; return its settings, its help and what does it."""
    if INSTANCE in given:
        from parmtrain.serving.instances.model_server import InstanceSettings, serve_instance

        return InstanceSettings, INSTANCE_HELP, serve_instance
    if CURVE in given:
        from parmtrain.serving.instances.curve import CurveSettings, measure_curve

        return CurveSettings, CURVE_HELP, measure_curve
    if any(argument.startswith("fleet=") for argument in given):
        from parmtrain.serving.front.standalone import serve_alone

        return ServeSettings, HELP, serve_alone
    if find_spec("ray") is None:
        return ServeSettings, HELP, _require_ray
    from parmtrain.serving.on_ray.host import serve_on_ray

    return ServeSettings, HELP, serve_on_ray


def _require_ray(settings: ServeSettings) -> None:
    raise ConfigError(
        ["serving needs fleet=…, a file that names your servers, or Ray to start them: pip install 'parmtrain[ray]'"]
    )


if __name__ == "__main__":
    sys.exit(main())
