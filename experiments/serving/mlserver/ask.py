"""Ask a front for 300 predictions of the test split of digits, and compare them with F's own.

python experiments/serving/mlserver/ask.py RUN HOST:PORT
"""

import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import torch
import tritonclient.http as triton

from parmtrain import compose
from parmtrain.config import assemble

run, address = sys.argv[1:]
task = assemble.build(compose().task)
stored, labels = task.splits().test[torch.arange(300)]
queries = task.input(stored)
own = torch.jit.load(Path(run) / "export" / "deployed.ts")(queries).detach().numpy()
kinds: Counter[str] = Counter()
seconds, right, largest = [], 0, 0.0
with triton.InferenceServerClient(address) as client:
    for number, query in enumerate(queries.numpy()):
        given = triton.InferInput("query", [1, *query.shape], "FP32")
        given.set_data_from_numpy(query[None])
        began = time.perf_counter()
        answer = client.infer("digits", [given])
        seconds.append(time.perf_counter() - began)
        kind, prediction = answer.get_response()["parameters"]["kind"], answer.as_numpy("prediction")[0]
        kinds[kind] += 1
        right += int(prediction.argmax() == labels[number])
        if kind == "deployed":
            largest = max(largest, float(np.abs(prediction - own[number]).max()))
print(
    f"{dict(kinds)}, largest difference {largest:.2g}, right {right / 300:.3f}, p50 {1e3 * np.median(seconds):.1f} ms"
)
