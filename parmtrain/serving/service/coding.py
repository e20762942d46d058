"""Encode and decode the groups of a frontend, and check what is decoded."""

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from parmtrain.codes import Coder
from parmtrain.serving.frontend.events import Answer, Group, Job
from parmtrain.serving.service.tracing import Tracer

log = logging.getLogger(__name__)


class Coding:
    """Encode and decode with the code of a service; encoders and decoders are programs of others and may fail.

    Args:
        coder: Encoder and decoder; None if nothing is coded.
        own: Number of workers of a group that run its queries themselves.
        width: Length of the longest output of a worker.
        tracer: Is told how long they take.
        clock: Time in seconds.
    """

    def __init__(self, coder: Coder | None, own: int, width: int, tracer: Tracer, clock: Callable[[], float]) -> None:
        self.coder, self.own, self.width, self.tracer, self.clock = coder, own, width, tracer, clock

    def query_of(self, job: Job) -> Tensor:
        """Return the query that a job runs: a plain one, or a coded one of its group, which is encoded once.

        Raises:
            Exception: If the encoder raises one.
        """
        if job.query is not None:
            query: Tensor = job.query.payload[0]
            return query
        assert job.worker is not None
        group = job.group
        if group.coded_queries is None:
            began = self.clock()
            group.coded_queries = self._encoded(group)
            self.tracer.encoded(group, began, self.clock())
        coded: Tensor = group.coded_queries[job.worker - self.own]
        return coded

    def _encoded(self, group: Group) -> Tensor:
        """Return the coded queries of a group ``[r, *query]``; zeros stand for queries that it does not have."""
        assert self.coder is not None
        given = [query.payload[0] for query in group.queries]
        blank = [torch.zeros_like(given[0])] * (self.coder.k - len(given))
        with torch.inference_mode():
            return self.coder.encode(torch.stack([*given, *blank]).unsqueeze(0))[0]

    def prediction_of(self, answer: Answer) -> Tensor | None:
        """Return the prediction ``[c]`` that the outputs of a group give; None if the decoder gives none."""
        began = self.clock()
        try:
            prediction = self._decoded(answer.output)[answer.query.position]
        except Exception:
            log.exception("a group cannot be decoded")
            return None
        self.tracer.decoded(answer, began, self.clock())
        return well_formed(prediction.unsqueeze(0), 1, len(prediction))[0]

    def _decoded(self, outputs: tuple[Tensor | None, ...]) -> Tensor:
        """Return predictions ``[k, c]`` from the outputs of the workers, None where missing."""
        assert self.coder is not None
        together = torch.zeros(1, len(outputs), self.width)
        arrived = torch.zeros(1, len(outputs), dtype=torch.bool)
        for worker, output in enumerate(outputs):
            if output is not None:
                together[0, worker, : len(output)] = output
                arrived[0, worker] = True
        with torch.inference_mode():
            return self.coder.decode(together, arrived)[0]


def well_formed(output: Any, count: int, length: int) -> list[Tensor | None]:
    """Return the rows of an output ``[count, length]``, None for those that are not finite numbers.

    Args:
        output: What an instance returned; all rows are None if it is no such tensor.
        count: Number of rows.
        length: Length of a row.

    Example:
        >>> import torch
        >>> well_formed(torch.tensor([[0.0, 1.0], [torch.nan, 0.0]]), 2, 2), well_formed("?", 1, 2)
        ([tensor([0., 1.]), None], [None])
    """
    if not (isinstance(output, Tensor) and output.shape == (count, length) and output.is_floating_point()):
        return [None] * count
    finite = np.isfinite(output.numpy()).all(axis=1)  # quicker than PyTorch for so few numbers
    return [row if fine else None for row, fine in zip(output, finite, strict=True)]
