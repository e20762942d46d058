"""What a call costs a frontend on Ray: an actor, as the service does it, against what Ray Serve's newest offers.

    python experiments/serving/ray_newest.py OUT.csv [calls=300 warm=50]
    python experiments/serving/ray_newest.py OUT.csv ingress=true      # HTTP through Ray's proxy; again with HAProxy:
    RAY_SERVE_ENABLE_HA_PROXY=1 unshare -rn sh -c 'ip link set lo up; python … OUT.csv ingress=true'

A replica of a deployment calls two actors, or two replicas of another deployment (one query at a time each), with a
query of 3×32×32 and an answer of 10 numbers that costs nothing. Latency of each call, and processor time of the caller
alone: one after another, and four at once. ``pairs`` says how many of 50 pairs of slots that were held together were on
two replicas.
"""

import asyncio
import csv
import os
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from parmtrain.settings import read_settings, setting

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
PORT, PAIRS, PATIENCE = 9190, 50, 60
WAYS = (
    "actor",
    "handle",
    "handle, choose_replica",
    "handle, gRPC",
    "handle, gRPC, choose_replica",
    "capacity queue",
    "capacity queue, gRPC",
    "capacity queue, choose_replica",  # the last, since it does not give back what it has taken
)


@dataclass
class Settings:
    """What to measure."""

    calls: int = setting(300, "calls of each kind", above=0)
    warm: int = setting(50, "calls before them", above=0)
    ingress: bool = setting(False, "measure HTTP in place of calls between deployments")


class Instance:
    """Answers at once."""

    def run(self, query: np.ndarray) -> np.ndarray:
        return query.ravel()[:10].copy()

    async def __call__(self, query: Any) -> Any:
        return self.run(query) if isinstance(query, np.ndarray) else "0"


class Caller:
    """Calls instances in each way.

    Args:
        plain: Handle of two replicas, under the default router.
        queued: Handle of two replicas, under the capacity queue.
    """

    def __init__(self, plain: Any, queued: Any) -> None:
        import ray

        self.query = np.zeros((3, 32, 32), dtype=np.float32)
        made: Any = ray.remote(Instance)
        self.actors = [made.options(num_cpus=0).remote() for _ in range(2)]
        self.handles = {"handle": plain, "capacity queue": queued}
        self.handles |= {f"{name}, gRPC": one.options(_by_reference=False) for name, one in list(self.handles.items())}

    def ways(self) -> dict[str, Callable[[int], Awaitable[Any]]]:
        """Return every way to make one call, which is given its number."""

        async def actor(number: int) -> Any:
            return await self.actors[number % 2].run.remote(self.query)

        found: dict[str, Callable[[int], Awaitable[Any]]] = {"actor": actor}
        for name, handle in self.handles.items():

            async def called(number: int, handle: Any = handle) -> Any:
                return await handle.remote(self.query)

            async def chosen(number: int, handle: Any = handle) -> Any:
                async with handle.choose_replica() as selection:
                    return await handle.dispatch(selection, self.query)

            found |= {name: called, f"{name}, choose_replica": chosen}
        return found

    async def measure(self, name: str, calls: int, warm: int) -> dict[str, Any]:
        """Return milliseconds of a call."""
        way, row = self.ways()[name], dict[str, Any](way=name)

        async def timed(number: int) -> float:
            began = time.perf_counter()
            await way(number)
            return 1000 * (time.perf_counter() - began)

        for number in range(warm):
            await timed(number)
        for at_once in (1, 4):
            before, seconds = time.process_time(), list[float]()
            for start in range(0, calls, at_once):
                seconds += await asyncio.gather(*(timed(start + number) for number in range(at_once)))
            row[f"latency {at_once}"] = round(median(seconds), 2)
            row[f"p99 {at_once}"] = round(sorted(seconds)[int(0.99 * len(seconds))], 2)
            row[f"caller {at_once}"] = round(1000 * (time.process_time() - before) / len(seconds), 2)
        return row

    async def pairs(self, name: str) -> int:
        """Return how many pairs of slots, held together, are on two replicas."""
        handle, different = self.handles[name], 0
        for _ in range(PAIRS):
            async with AsyncExitStack() as stack:
                one, other = [await stack.enter_async_context(handle.choose_replica()) for _ in range(2)]
                different += one.replica_id != other.replica_id
        return different

    async def to_all(self) -> tuple[int, float]:
        """Return how many replicas a broadcast has reached, and the milliseconds that it took."""
        began = time.perf_counter()
        answers = await self.handles["handle"].broadcast("run", self.query).results_async()
        return len(answers), round(1000 * (time.perf_counter() - began), 2)


def application() -> Any:
    """Return the caller and the instances as an application of Ray Serve."""
    from ray import serve
    from ray.serve.config import DeploymentActorConfig, RequestRouterConfig
    from ray.serve.experimental.capacity_queue import CapacityQueue

    common: dict[str, Any] = {"num_replicas": 2, "max_ongoing_requests": 1, "ray_actor_options": {"num_cpus": 0}}
    queue = DeploymentActorConfig(
        name="queue", actor_class=CapacityQueue, init_kwargs={"acquire_timeout_s": 10.0, "token_ttl_s": None}
    )
    router = RequestRouterConfig(
        request_router_class="ray.serve.experimental.capacity_queue_router.CapacityQueueRouter",
        request_router_kwargs={"capacity_queue_actor_name": "queue"},
    )
    plain = serve.deployment(Instance, name="plain", **common)
    queued = serve.deployment(
        Instance, name="queued", deployment_actors=[queue], request_router_config=router, **common
    )
    caller = serve.deployment(Caller, name="caller", ray_actor_options={"num_cpus": 0})
    return caller.bind(plain.bind(), queued.bind())


def between_deployments(settings: Settings) -> list[dict[str, Any]]:
    """Return one row for each way to call an instance."""
    from ray import serve

    caller = serve.run(application(), name="newest", route_prefix=None)
    replicas, milliseconds = caller.to_all.remote().result(timeout_s=60)
    rows: list[dict[str, Any]] = [{"way": f"broadcast to {replicas}", "latency 1": milliseconds}]
    print(rows[0])
    for name in WAYS:
        try:
            row = caller.measure.remote(name, settings.calls, settings.warm).result(timeout_s=PATIENCE)
            if name.endswith("choose_replica"):
                row["pairs"] = caller.pairs.remote(name.removesuffix(", choose_replica")).result(timeout_s=PATIENCE)
        except Exception as fault:
            row = {"way": name, "failed": f"{type(fault).__name__}: {fault}".strip().splitlines()[-1][:200]}
        rows.append(row)
        print(row, flush=True)
    return rows


def over_http(settings: Settings) -> list[dict[str, Any]]:
    """Return one row: requests over HTTP on one connection, each answered at once."""
    import http.client

    from ray import serve

    serve.run(serve.deployment(Instance, ray_actor_options={"num_cpus": 0}).bind(), name="newest")
    connection, seconds = http.client.HTTPConnection("127.0.0.1", PORT, timeout=60), list[float]()
    for _ in range(settings.warm + settings.calls):
        began = time.perf_counter()
        connection.request("POST", "/", b"0" * 12_288)
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        answer.read()
        seconds.append(1000 * (time.perf_counter() - began))
    kept = sorted(seconds[settings.warm :])
    way = "HAProxy" if os.environ.get("RAY_SERVE_ENABLE_HA_PROXY") == "1" else "Ray's proxy"
    row = {"way": way, "latency 1": round(median(kept), 2), "p99 1": round(kept[int(0.99 * len(kept))], 2)}
    print(row)
    return [row]


def main() -> None:
    """Measure, and append to a table."""
    import ray
    from ray import serve

    output, *given = sys.argv[1:]
    settings = read_settings(Settings, given)
    ray.init(logging_level="ERROR", log_to_driver=False, include_dashboard=False)
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": PORT}, logging_config={"log_level": "ERROR"})
        rows = over_http(settings) if settings.ingress else between_deployments(settings)
    finally:
        serve.shutdown()
        ray.shutdown()
    columns = [
        "way",
        *(f"{what} {many}" for many in (1, 4) for what in ("latency", "p99", "caller")),
        "pairs",
        "failed",
    ]
    new = not os.path.exists(output)
    with open(output, "a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        if new:
            writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
