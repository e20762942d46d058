"""What a code costs: workers, bytes, arithmetic, and the time of its encoder and decoder."""

from collections.abc import Callable
from statistics import median
from timeit import Timer
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from parmtrain.bundle import Bundle
from parmtrain.deployed import Network
from parmtrain.training.parity_module import ParityModule

REPEATS = 15
MICROSECONDS = 1e6


def flops(network: Network, *inputs: Tensor) -> int:
    """Return the floating-point operations of matrix products and convolutions in one call, as PyTorch counts them.

    Example:
        >>> flops(torch.nn.Linear(4, 3), torch.ones(2, 4))
        48
    """
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        network(*inputs)
    return int(counter.get_total_flops())


@torch.no_grad()
def resources(module: ParityModule, query_shape: tuple[int, ...]) -> dict[str, float | None]:
    """Return what one coding group costs beyond running the deployed model on its queries.

    Args:
        module: A module on the CPU or any device.
        query_shape: Shape of one query.

    Returns:
        ``extra_workers`` for each query; ``parity_bytes`` ÷ the bytes of a query; ``parity_flops`` of all that runs on
        workers beyond k runs of the deployed model, and ``encoder_flops``, each ÷ the FLOPs of one run of it (None
        where those cannot be counted).
    """
    queries = torch.zeros(1, module.k, *query_shape, device=module.device)
    one_run = flops(module.deployed, queries[:, 0])
    costs: dict[str, float | None] = {**module.code.cost(query_shape)}
    if not one_run:
        return costs | {"parity_flops": None, "encoder_flops": None}
    coded = module.encode(queries)
    run = flops(module.predict, coded) - (0 if module.systematic else module.k * one_run)
    return costs | {"parity_flops": run / one_run, "encoder_flops": flops(module.encode, queries) / one_run}


def timings(bundle: Bundle) -> dict[str, Any]:
    """Return the median times that the exported encoder and decoder take for one group, on this machine.

    The decoder rebuilds the first prediction.

    Args:
        bundle: What was exported.

    Returns:
        ``encode_us`` and ``decode_us`` in microseconds, and the ``threads`` they were measured with.
    """
    shapes = bundle.about["shapes"]
    queries, outputs = torch.rand(1, bundle.k, *shapes["query"]), torch.rand(1, bundle.n, *shapes["worker_output"])
    arrived = torch.ones(1, bundle.n, dtype=torch.bool)
    arrived[0, 0] = False

    def microseconds(call: Callable[[], Tensor]) -> float:
        timer = Timer(call)
        calls, _ = timer.autorange()
        calls = max(1, calls // REPEATS)
        return median(timer.repeat(REPEATS, calls)) / calls * MICROSECONDS

    return {
        "encode_us": microseconds(lambda: bundle.encode(queries)),
        "decode_us": microseconds(lambda: bundle.decode(outputs, arrived)),
        "threads": torch.get_num_threads(),
    }
