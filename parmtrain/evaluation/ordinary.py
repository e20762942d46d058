"""What ordinary queries look like, measured on some of the training split and of the validation split."""

from collections.abc import Iterator

import numpy as np
import torch

from parmtrain.query_range import QueryRange
from parmtrain.tasks.base import TaskInput
from parmtrain.tasks.queries import QuerySet, Splits

SOME, FEW, BATCH = 8192, 512, 256  # queries in memory, and queries that are decoded when they are read


def ordinary_queries(splits: "Splits[QuerySet]", prepare: TaskInput) -> QueryRange:
    """Return the range of prepared queries of the training split; the validation split decides on its slack.

    Args:
        splits: The queries.
        prepare: Turns stored queries into the deployed model's input.
    """
    prepare = prepare.cpu()
    return QueryRange.of(_batches(splits.train, prepare), _batches(splits.val, prepare))


def _batches(queries: QuerySet, prepare: TaskInput) -> Iterator[np.ndarray]:
    """Yield prepared queries, evenly spaced over a split."""
    count = min(len(queries), FEW if queries.streams else SOME)
    for index in torch.linspace(0, len(queries) - 1, count).long().split(BATCH):
        stored, _ = queries[index]
        with torch.no_grad():
            yield prepare(stored.cpu()).numpy()
