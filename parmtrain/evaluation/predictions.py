"""Predictions of the deployed model on a whole set of queries, computed once and kept."""

import hashlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import track
from torch import Tensor

from parmtrain.deployed import DeployedModel
from parmtrain.files import replacing
from parmtrain.tasks.base import TaskInput
from parmtrain.tasks.queries import QuerySet

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
    """Return the deployed model's predictions on all queries, from the cache if they are there.

    The cache is keyed by the fingerprint of the weights, the content of the data and what is done to it. Since two
    functions may have the same weights, the first predictions found there are compared with the model's own. They are
    read from their file a page at a time. A model without weights of its own has no fingerprint, so nothing is kept for
    it.

    Args:
        deployed: The deployed model, on ``device``.
        queries: What to predict.
        prepare: Turns stored queries into what the model takes.
        cache: Folder that the predictions are kept in.
        title: What the progress bar says.
        device: Where to compute.
        workers: Processes that load queries which stream.

    Returns:
        Predictions ``[n, c]`` on the CPU.
    """
    device = device or torch.device("cpu")
    deployed.to(device)
    prepare.to(device)
    key = {"weights": deployed.fingerprint, "data": queries.digest, "input": prepare.settings}
    path = cache / "predictions" / f"{hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:24]}.npy"
    kept = _read(path) if deployed.has_weights else None
    first = _run(deployed, prepare, queries[torch.arange(min(PROBES, len(queries)))][0], device)
    if kept is not None and len(kept) == len(queries) and torch.allclose(kept[:PROBES], first, rtol=1e-3, atol=1e-3):
        return kept
    loader = torch.utils.data.DataLoader(
        queries,
        batch_size=None,
        sampler=torch.arange(len(queries)).split(BATCH),
        num_workers=workers if queries.streams else 0,
        collate_fn=_as_it_is,
    )
    steps = track(loader, description=title, transient=True)
    batches = (_run(deployed, prepare, stored, device) for stored, _ in steps)
    if not deployed.has_weights:
        return torch.cat(list(batches))
    with replacing(path) as temporary:
        _write(temporary, batches, len(queries), first)
    return torch.from_numpy(np.load(path, mmap_mode="c"))


def _write(path: Path, batches: Iterator[Tensor], count: int, like: Tensor) -> None:
    """Write predictions batch by batch, so that all of them are never in memory."""
    rows = np.lib.format.open_memmap(path, "w+", like.numpy().dtype, (count, *like.shape[1:]))
    written = 0
    for batch in batches:
        rows[written : written + len(batch)] = batch.numpy()
        written += len(batch)
    rows.flush()


def _run(deployed: DeployedModel, prepare: TaskInput, stored: Tensor, device: torch.device) -> Tensor:
    predictions: Tensor = deployed(prepare(stored.to(device))).cpu()
    return predictions.float() if predictions.dtype is torch.bfloat16 else predictions  # which NumPy has not


def _read(path: Path) -> Tensor | None:
    try:
        return torch.from_numpy(np.load(path, mmap_mode="c", allow_pickle=False))
    except FileNotFoundError:
        return None
    except Exception as fault:  # a damaged file is as good as none
        log.warning("%s cannot be read and is made anew (%s)", path, type(fault).__name__)
        return None


def _as_it_is(batch: Any) -> Any:
    return batch
