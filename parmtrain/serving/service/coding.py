"""Encode and decode the groups of a frontend, and check what is decoded."""

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from parmtrain.codes import Coder
from parmtrain.serving.frontend.events import Decode, Group, Job
from parmtrain.serving.service.tracing import Tracer

ConfidenceProgram = Callable[[Tensor, Tensor], Tensor]
"""Maps predictions ``[g, k, c]`` and the workers that arrived ``[g, n]`` (bool) to how far each can be trusted."""
log = logging.getLogger(__name__)


class Decoded(NamedTuple):
    """A decoded prediction.

    Args:
        prediction: The prediction ``[c]``; None if the outputs give none.
        confidence: How far it can be trusted, from 0 to 1; 1 where nothing says so.
    """

    prediction: Tensor | None
    confidence: float


class Coding:
    """Encode and decode with the code of a service; encoders and decoders are programs of others and may fail.

    Args:
        coder: Encoder and decoder; None if nothing is coded.
        confidence: Says how far decoded predictions can be trusted; None trusts all of them.
        own: Number of workers of a group that run its queries themselves.
        width: Length of the longest output of a worker.
        tracer: Is told how long they take.
        clock: Time in seconds.
    """

    def __init__(
        self,
        coder: Coder | None,
        confidence: ConfidenceProgram | None,
        own: int,
        width: int,
        tracer: Tracer,
        clock: Callable[[], float],
    ) -> None:
        self.coder, self.confidence, self.own, self.width = coder, confidence, own, width
        self.tracer, self.clock = tracer, clock

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

    def decoded(self, decode: Decode) -> Decoded:
        """Return the prediction of a query that the outputs of its group give, and how far it can be trusted."""
        began, position = self.clock(), decode.query.position
        arrived = torch.tensor([[output is not None for output in decode.outputs]])
        try:
            predictions = self._decoded(decode.outputs, arrived)
            prediction = well_formed(predictions[0, position : position + 1], 1, predictions.size(2))[0]
        except Exception:
            log.exception("a group cannot be decoded")
            return Decoded(None, 0.0)
        confidence = 0.0 if prediction is None else self._trusted(predictions, arrived, position)
        self.tracer.decoded(decode, began, self.clock())
        return Decoded(prediction, confidence)

    def _decoded(self, outputs: tuple[Tensor | None, ...], arrived: Tensor) -> Tensor:
        """Return predictions ``[1, k, c]`` from the outputs of the workers, None where missing."""
        assert self.coder is not None
        together = torch.zeros(1, len(outputs), self.width)
        for worker, output in enumerate(outputs):
            if output is not None:
                together[0, worker, : len(output)] = output
        with torch.inference_mode():
            return self.coder.decode(together, arrived)

    def _trusted(self, predictions: Tensor, arrived: Tensor, position: int) -> float:
        """Return how far one of some predictions ``[1, k, c]`` can be trusted; not at all if that cannot be said."""
        if self.confidence is None:
            return 1.0
        try:
            with torch.inference_mode():
                return float(self.confidence(predictions, arrived)[0, position].nan_to_num(0.0).clamp(0, 1))
        except Exception:
            log.exception("the confidence in a prediction cannot be calculated")
            return 0.0


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
