"""Costs of a code: workers, bytes, arithmetic, and the time of its encoder and decoder."""

from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from timeit import Timer
from typing import Any

import torch
from torch import Tensor

from parmtrain.bundle import Bundle
from parmtrain.codes import Code, run_coded
from parmtrain.deployed import DeployedModel
from parmtrain.flops import flops
from parmtrain.programs import Network

REPEATS, SECONDS = 15, 0.005  # each repeat takes so long
WARM_UP = 5  # TorchScript optimizes as it runs
MICROSECONDS = 1e6


@torch.no_grad()
def resources(
    code: Code,
    parity_models: Sequence[Network],
    deployed: DeployedModel,
    query_shape: tuple[int, ...],
    device: torch.device | None = None,
) -> dict[str, float | None]:
    """Return what one coding group costs beyond running the deployed model on its queries.

    Args:
        code: The code, on ``device``.
        parity_models: The models that run its coded queries, on ``device``.
        deployed: The deployed model, on ``device``.
        query_shape: Shape of one query.
        device: Device to run them on.

    Returns:
        ``extra_workers`` per query; ``parity_bytes`` ÷ the bytes of a query; ``parity_flops`` of all that runs on
        workers beyond k runs of the deployed model, and ``encoder_flops``, each ÷ the FLOPs of one run of it (None
        if those cannot be counted).
    """
    queries = torch.zeros(1, code.k, *query_shape, device=device)
    one_run = flops(deployed, queries[:, 0])
    costs: dict[str, float | None] = {**code.cost(query_shape)}
    if not one_run:
        return costs | {"parity_flops": None, "encoder_flops": None}
    coded_queries = code.encode(queries)
    run = flops(partial(run_coded, parity_models), coded_queries) - (0 if code.systematic else code.k * one_run)
    return costs | {"parity_flops": run / one_run, "encoder_flops": flops(code.encode, queries) / one_run}


def timings(bundle: Bundle) -> dict[str, Any]:
    """Return the median times that the exported encoder and decoder take for one group, on this machine.

    The decoder reconstructs the first prediction.

    Args:
        bundle: The exported bundle.

    Returns:
        ``encode_us`` and ``decode_us`` in microseconds, and the ``threads`` they were measured with.
    """
    queries, outputs = torch.rand(1, bundle.k, *bundle.query_shape), torch.rand(1, bundle.n, bundle.width)
    arrived = torch.ones(1, bundle.n, dtype=torch.bool)
    arrived[0, 0] = False

    def microseconds(call: Callable[[], Tensor]) -> float:
        timer = Timer(call)
        one = min(timer.repeat(WARM_UP, 1))
        calls = max(1, round(SECONDS / one))
        return median(timer.repeat(REPEATS, calls)) / calls * MICROSECONDS

    return {
        "encode_us": microseconds(lambda: bundle.encode(queries)),
        "decode_us": microseconds(lambda: bundle.decode(outputs, arrived)),
        "threads": torch.get_num_threads(),
    }
