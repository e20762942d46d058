"""Serving a bundle on this machine, or on a Ray cluster: ``python -m parmtrain.serve bundle=RUN k=2 replicas=4``."""

import logging
import os
import signal
import sys
import threading
from contextlib import suppress
from importlib.util import find_spec

from parmtrain.errors import ParmtrainError

LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"  # 0 keeps Ray's own ports off the network, on Linux too
HELP = """Serve an exported bundle: python -m parmtrain.serve bundle=FOLDER [key=value …]

  bundle             folder of a run, or its export folder; the run's config.yaml says what its deployed model is
  k                  the bundle's k, to be sure of it
  deployed           file of the deployed model, if not where it was
  coded              false serves the deployed model alone; copy_after=0 then asks two instances, more hedges
  replicas           instances of the deployed model, m
  parity_replicas    instances of each parity model; m/k where nothing is said
  host, port         where to listen; other hosts than this machine itself only if told
  metrics_port       where Ray's metrics are, for Prometheus
  cpus               CPUs that Ray reserves for each instance
  deadline           seconds after which a default answer goes out
  copy_after         seconds after which a query whose group is not full is sent once more
  reconstruct_after  seconds that the deployed model's own prediction is waited for before a reconstruction is taken
  hung_after         seconds after which an instance that does not return is replaced
  waiting            queries that may wait; more are refused with status 503

TorchScript archives are programs: serve only bundles that you would run.
"""


def main(arguments: list[str] | None = None) -> int:
    """Serve until the user stops it; return the exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    if any(argument in ("-h", "--help") for argument in given):
        print(HELP)
        return 0
    if find_spec("ray") is None:
        print("serving needs Ray: pip install 'parmtrain[serve]'", file=sys.stderr)
        return 1
    from parmtrain.serving.served import ServeSettings, pools, read_served
    from parmtrain.serving.settings import read

    try:
        settings = read(ServeSettings, given)
        settings.check()
        served = read_served(settings)  # what is wrong is said before anything starts
    except ParmtrainError as fault:
        print(fault, file=sys.stderr)
        return 1
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
    serve.start(http_options={"host": settings.host, "port": settings.port}, logging_config={"log_level": "WARNING"})
    about = served.bundle.about
    serve.run(application(settings), name="parmtrain", route_prefix="/")
    code = f"code={about['code']}, k={about['k']}" if settings.coded else "uncoded"
    print(
        f"{about['task']}, {code}: instances {pools(settings, served)}\n"
        f"http://{settings.host}:{settings.port}/ takes POST, /healthz GET; "
        f"metrics for Prometheus: http://127.0.0.1:{settings.metrics_port}/metrics",
        flush=True,
    )
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    with suppress(KeyboardInterrupt):
        stopped.wait()
    serve.shutdown()
    ray.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
