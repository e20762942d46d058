"""PairFolder queries and F's own answers, kept for whoever learns from them, off the path of queries."""

import asyncio
import logging
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from parmtrain.adaptation.pairs import Keeping, PairFolder
from parmtrain.errors import ParmtrainError, reason_of

log = logging.getLogger(__name__)


class Kept:
    """Write some of the queries that F has answered into a folder of bounded size.

    Files are written by a thread. If one cannot be written, that is logged, and its pairs are lost.

    Args:
        served: The folder.
        share: Share of queries that is kept, evenly.
    """

    def __init__(self, served: PairFolder, share: float = 1.0) -> None:
        self.served, self._keeping = served, Keeping(share)
        self._writing: set[asyncio.Task[None]] = set()
        self._one_by_one = asyncio.Lock()

    def take(self, queries: Tensor, predictions: Sequence[Tensor | None]) -> None:
        """Take queries ``[b, *query]`` and F's own predictions ``[c]``, None where malformed."""
        for query, prediction in zip(queries, predictions, strict=True):
            if prediction is None:
                continue
            full = self._keeping.take(query.numpy(), prediction.numpy())
            if full is not None:
                task = asyncio.create_task(self._write(*full))
                self._writing.add(task)
                task.add_done_callback(self._writing.discard)

    async def _write(self, queries: np.ndarray, predictions: np.ndarray) -> None:
        try:
            async with self._one_by_one:  # files are numbered
                await asyncio.to_thread(self.served.write, queries, predictions)
        except (OSError, ParmtrainError) as fault:
            log.error("%d served queries cannot be kept in %s: %s", len(queries), self.served.folder, reason_of(fault))
