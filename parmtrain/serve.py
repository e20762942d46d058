"""Serve a bundle on this machine or on a Ray cluster: ``python -m parmtrain.serve bundle=RUN k=2 replicas=4``."""

import logging
import os
import signal
import sys
import threading
from contextlib import suppress
from importlib.util import find_spec

from parmtrain.command import FAILED, ending_quietly, say, settings_command
from parmtrain.errors import ConfigError
from parmtrain.serving.served import ServeSettings, instance_counts, read_served

LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"  # 0 keeps Ray's own ports off the network, on Linux too
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


def serve_until_stopped(settings: ServeSettings) -> None:
    """Serve until the user stops it."""
    from parmtrain.serving.listening import taken

    served = read_served(settings)  # reports errors before anything starts
    for name in ("port", "metrics_port"):  # Ray would share one silently, or fail late
        taken(settings.host, getattr(settings, name), name).close()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if settings.local and "RAY_ADDRESS" not in os.environ:
        os.environ.setdefault(LOOPBACK, "0")
    import ray
    from ray import serve

    from parmtrain.serving.app import application

    ray.init(
        logging_level=logging.WARNING,
        log_to_driver=False,
        include_dashboard=False,
        _metrics_export_port=settings.metrics_port,
    )
    counts = instance_counts(settings, served)
    require_gpus(settings.gpus * sum(counts), ray.cluster_resources().get("GPU", 0.0))
    serve.start(http_options={"host": settings.host, "port": settings.port}, logging_config={"log_level": "WARNING"})
    about = served.bundle.about
    serve.run(application(settings), name="parmtrain", route_prefix="/")
    url = f"http://{settings.host}:{settings.port}"
    code = f"code={about['code']}, k={settings.k or about['k']}" if settings.coded else "uncoded"
    print(
        f"{about['task']}, {code}: instances {counts}\n"
        f"{url}/v2/models/{settings.name or about['task']}/infer and {url}/ take POST requests; "
        f"metrics for Prometheus: http://127.0.0.1:{settings.metrics_port}/metrics",
        flush=True,
    )
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    with suppress(KeyboardInterrupt):
        stopped.wait()
    serve.shutdown()
    ray.shutdown()


def require_gpus(wanted: float, there: float) -> None:
    """Raise a ``ConfigError`` if Ray has fewer GPUs than the instances need: it would wait for them for ever."""
    if wanted > there:
        raise ConfigError([f"gpus must be fewer: the instances need {wanted:g} GPUs together, and Ray has {there:g}"])


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
    return settings_command(ServeSettings, HELP, serve_until_stopped, given)


if __name__ == "__main__":
    sys.exit(main())
