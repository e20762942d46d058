"""Costs of a code: workers, bytes, arithmetic, and the time of its encoder and decoder."""

from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from timeit import Timer
from typing import Any

import torch
from torch import Tensor, nn

from parmtrain.bundle import Bundle
from parmtrain.codes import Code, run_coded
from parmtrain.deployed import DeployedModel
from parmtrain.flops import flops
from parmtrain.programs import Network, weights

REPEATS, SECONDS = 15, 0.005  # each repeat takes so long
WARM_UP = 5  # TorchScript optimizes as it runs
MICROSECONDS = 1e6


@torch.no_grad()
def resources(
    code: Code,
    parity_models: Sequence[nn.Module],
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
        ``extra_workers`` per query, each of which is one dispatch; ``parity_bytes`` ÷ the bytes of a query;
        ``parity_flops`` of all that runs on workers beyond k runs of the deployed model, and ``encoder_flops``, each ÷
        the FLOPs of one run of it (None if those cannot be counted); ``parity_memory``, the bytes of the largest parity
        model's weights ÷ those of F (None if F has none).
    """
    queries = torch.zeros(1, code.k, *query_shape, device=device)
    one_run = deployed.counted_flops(query_shape)
    costs: dict[str, float | None] = {**code.cost(query_shape), "parity_memory": _memory(parity_models, deployed)}
    if not one_run:
        return costs | {"parity_flops": None, "encoder_flops": None}
    coded_queries = code.encode(queries)
    run = flops(partial(run_coded, parity_models), coded_queries) - (0 if code.systematic else code.k * one_run)
    return costs | {"parity_flops": run / one_run, "encoder_flops": flops(code.encode, queries) / one_run}


def _memory(parity_models: Sequence[nn.Module], deployed: DeployedModel) -> float | None:
    """Return the bytes of the largest parity model's weights ÷ those of F, which is 1 where F is the parity model."""
    whole = _bytes(deployed.network)
    every = [whole if deployed in model.modules() else _bytes(model) for model in parity_models]
    return max(every, default=0) / whole if whole else None


def _bytes(network: Network) -> int:
    return sum(value.numel() * value.element_size() for value in weights(network).values())


def timings(bundle: Bundle) -> dict[str, Any]:
    """Return the median times of the exported programs for one group, on this machine.

    The decoder reconstructs the first prediction. A coded query and a query of F are run one at a time, by turns.

    Args:
        bundle: The exported bundle, with the deployed model.

    Returns:
        ``encode_us``, ``decode_us``, ``parity_us`` and ``deployed_us`` in microseconds, the ``parity_latency``, which
        is the third ÷ the fourth (None if there are no coded queries), and the ``threads`` they were measured with.
    """
    queries, outputs = torch.rand(1, bundle.k, *bundle.query_shape), torch.rand(1, bundle.n, bundle.width)
    arrived = torch.ones(1, bundle.n, dtype=torch.bool)
    arrived[0, 0] = False
    assert bundle.deployed is not None
    one = partial(_run, bundle.deployed, queries[:, 0])
    first = next(iter(bundle.parity_models), None)
    parity = partial(_run, first, bundle.encode(queries)[:, 0]) if first is not None and bundle.coded else None
    (encode,) = microseconds(lambda: bundle.encode(queries))
    (decode,) = microseconds(lambda: bundle.decode(outputs, arrived))
    deployed_us, *parity_us = microseconds(one, *([parity] if parity else []))
    return {
        "encode_us": encode,
        "decode_us": decode,
        "deployed_us": deployed_us,
        "parity_us": parity_us[0] if parity_us else None,
        "parity_latency": parity_us[0] / deployed_us if parity_us else None,
        "threads": torch.get_num_threads(),
    }


@torch.no_grad()
def _run(network: Network, queries: Tensor) -> Tensor:
    return network(queries)


def microseconds(*calls: Callable[[], Tensor]) -> list[float]:
    """Return the median time of each call; all are timed by turns."""
    timers = [Timer(call) for call in calls]
    numbers = [max(1, round(SECONDS / min(timer.repeat(WARM_UP, 1)))) for timer in timers]
    turns = [
        [timer.timeit(number) / number for timer, number in zip(timers, numbers, strict=True)] for _ in range(REPEATS)
    ]
    return [median(times) * MICROSECONDS for times in zip(*turns, strict=True)]
