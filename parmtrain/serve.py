"""Serve a bundle on this machine or on a Ray cluster: ``python -m parmtrain.serve bundle=RUN k=2 replicas=4``."""

import os
import signal
import sys
from importlib.util import find_spec

if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))  # while it imports, nothing has started that must end

from parmtrain.command import FAILED, ending_quietly, say, settings_command
from parmtrain.serving.serve_settings import ServeSettings

if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

INSTANCE = "--instance"
HELP = """Serve an exported bundle: python -m parmtrain.serve bundle=FOLDER [key=value …]

{settings}

One instance of a fleet: python -m parmtrain.serve --instance --help

TorchScript archives are programs: serve only bundles that you would run.
"""
INSTANCE_HELP = """Serve one model of a bundle: python -m parmtrain.serve --instance bundle=FOLDER [key=value …]

{settings}

It speaks the Open Inference Protocol. TorchScript archives are programs: serve only bundles that you would run.
"""


@ending_quietly
def main(arguments: list[str] | None = None) -> int:
    """Serve what the command line asks for; return the exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    asks = bool({"-h", "--help"} & set(given))
    if find_spec("aiohttp") is None and not asks:
        say("serving needs more packages: pip install 'parmtrain[serve]'")
        return FAILED
    if INSTANCE in given:
        from parmtrain.serving.model_server import InstanceSettings, serve_instance

        rest = [argument for argument in given if argument != INSTANCE]
        return settings_command(InstanceSettings, INSTANCE_HELP, serve_instance, rest)
    if any(argument.startswith("fleet=") for argument in given):
        from parmtrain.serving.standalone import serve_alone

        return settings_command(ServeSettings, HELP, serve_alone, given)
    if find_spec("ray") is None and not asks:
        say("serving without fleet=… needs Ray: pip install 'parmtrain[ray]'")
        return FAILED
    from parmtrain.serving.ray_host import serve_on_ray

    return settings_command(ServeSettings, HELP, serve_on_ray, given)


if __name__ == "__main__":
    sys.exit(main())
