"""A deployed model as a plain deployment of Ray Serve, for ``throughput.py``.

python experiments/serving/ray_plain.py RUN PORT REPLICAS MODE
"""

import os
import signal
import sys
from typing import Any

import numpy as np
import ray
import torch
from ray import serve
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from parmtrain.serving.protocol.open_inference import LENGTH, read, write


class Plain:
    """Answers the Open Inference Protocol with the model."""

    def __init__(self, run: str, batches: bool) -> None:
        from parmtrain.serving.front.served import read_served
        from parmtrain.serving.settings import ServeSettings

        torch.set_num_threads(1)
        self.batches, self.model = batches, read_served(ServeSettings(bundle=run)).deployed

    @serve.batch(max_batch_size=8, batch_wait_timeout_s=0.0)
    async def together(self, queries: list[np.ndarray]) -> list[np.ndarray]:
        return list(self.run(np.concatenate(queries))[:, None])

    def run(self, queries: np.ndarray) -> Any:
        with torch.inference_mode():
            return self.model(torch.from_numpy(np.array(queries, dtype=np.float32))).numpy()

    async def __call__(self, request: Request) -> Response:
        if request.url.path.endswith("/ready"):
            return JSONResponse({"ready": True})
        message = read(await request.body(), request.headers.get(LENGTH), "inputs")
        queries = message.tensors["query"]
        outputs = await self.together(queries) if self.batches else self.run(queries)
        content, headers = write("outputs", {"prediction": (outputs, True)}, {"model_name": "digits"})
        return Response(content, headers=headers)


if __name__ == "__main__":
    run, port, replicas, mode = sys.argv[1:]
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": int(port)}, logging_config={"log_level": "WARNING"})
    deployment = serve.deployment(
        Plain, num_replicas=int(replicas), max_ongoing_requests=100, ray_actor_options={"num_cpus": 0}
    )
    serve.run(deployment.bind(os.path.abspath(run), mode.endswith("batches")), route_prefix="/")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        signal.pause()
    except KeyboardInterrupt:
        serve.shutdown()
        ray.shutdown()
