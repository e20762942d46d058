"""Predictions of the deployed model on a whole set of queries, computed once and cached."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from parmtrain.answers import output_of
from parmtrain.cache import intact_array, key_of, write_array
from parmtrain.deployed import DeployedModel
from parmtrain.errors import DeployedModelError, reason_of
from parmtrain.probes import require_alone
from parmtrain.progress import progress
from parmtrain.query_type import AsType
from parmtrain.tasks.base import TaskInput
from parmtrain.tasks.queries import QuerySet
from parmtrain.training.loading import WholeBatches

log = logging.getLogger(__name__)
BATCH = 512
PROBES = 16


def predict_all(
    deployed: DeployedModel,
    queries: QuerySet,
    prepare: TaskInput,
    cache: Path,
    title: str,
    device: torch.device | None = None,
    workers: int = 0,
) -> Tensor:
    """Return the deployed model's predictions on all queries, from the cache if possible.

    The cache key is made of the fingerprint of the weights, the content of the data and its preprocessing. Two
    functions may have the same weights, so the first cached predictions are compared with the model's own. Cached
    predictions are memory-mapped. A model without weights has no fingerprint, so its predictions are not cached.

    Args:
        deployed: The deployed model, on ``device``.
        queries: What to predict.
        prepare: Turns stored queries into the model's input.
        cache: Cache folder.
        title: Text of the progress bar.
        device: Device to compute on.
        workers: Processes that load streamed queries.

    Returns:
        Predictions ``[n, c]`` on the CPU.
    """
    device = device or torch.device("cpu")
    deployed.to(device)
    prepare.to(device)
    identity = {"weights": deployed.fingerprint, "data": queries.digest, "input": prepare.settings}
    key = key_of(identity | _taken(deployed))
    path = cache / "predictions" / f"{key}.npy"
    cached = intact_array(path) if deployed.has_weights else None
    first = _run(deployed, prepare, queries[torch.arange(min(PROBES, len(queries)))][0], device)
    if cached is not None and _same(cached, first, len(queries)):
        return cached
    in_order = torch.arange(len(queries)).split(BATCH)
    loader: WholeBatches[tuple[Tensor, Tensor]] = WholeBatches(queries, in_order, workers if queries.streams else 0)
    steps = progress(loader, title)
    answers = (_run(deployed, prepare, stored, device) for stored, _ in steps)
    batches = _consistent(answers, first)
    if not deployed.has_weights:
        return torch.cat(list(batches))
    return write_array(path, (len(queries), *first.shape[1:]), first.numpy().dtype, batches)


def _taken(deployed: DeployedModel) -> dict[str, Any]:
    """Return how queries are given to a deployed model, and which of its outputs counts, as far as it is stated."""
    output = output_of(deployed.network)
    types = [str(part) for part in deployed.preprocess.modules() if isinstance(part, AsType)]
    return {**({"output": output} if output is not None else {}), **({"takes": types} if types else {})}


def _consistent(batches: Iterator[Tensor], first: Tensor) -> Iterator[Tensor]:
    """Yield batches of predictions; raise a ``DeployedModelError`` if they do not begin like the first ones."""
    for number, batch in enumerate(batches):
        if number == 0:
            require_alone(first, batch[: len(first)], "the deployed model")
        if not batch.isfinite().all():
            query = number * BATCH + int((~batch.isfinite()).flatten(1).any(dim=1).nonzero()[0])
            raise DeployedModelError(
                f"the deployed model must return finite values, got NaN or infinity for query {query}"
            )
        yield batch


def _same(cached: Tensor, first: Tensor, count: int) -> bool:
    same = cached.dtype == first.dtype and cached.shape == (count, *first.shape[1:])
    return same and torch.allclose(cached[:PROBES], first, rtol=1e-3, atol=1e-3)


def _run(deployed: DeployedModel, prepare: TaskInput, stored: Tensor, device: torch.device) -> Tensor:
    queries = prepare(stored.to(device))
    try:
        predictions: Tensor = deployed(queries).cpu()
    except Exception as fault:  # a network can raise anything
        raise DeployedModelError(
            f"the deployed model must accept a batch of {len(queries)} queries, but raised: {reason_of(fault)}"
        ) from fault
    return predictions
