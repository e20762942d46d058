"""A frontend at work: it runs in one event loop, in front of instances that may be anywhere."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, Protocol

import torch
from torch import Tensor

from parmtrain.serving.events import Action, Answer, Dispatch, Group, Job, Kind, Restart
from parmtrain.serving.frontend import Frontend
from parmtrain.serving.log import Record, unrecorded


class Coding(Protocol):
    """The two halves of a code: a bundle, or a code."""

    def encode(self, queries: Tensor) -> Tensor:
        """Map queries ``[g, k, *query]`` to coded queries ``[g, coded, *parity]``."""

    def decode(self, outputs: Tensor, arrived: Tensor) -> Tensor:
        """Map worker outputs ``[g, n, w]`` and who arrived ``[g, n]`` to predictions ``[g, k, c]``."""


class Instance(Protocol):
    """Something that runs one model, one query at a time."""

    async def run(self, query: Tensor) -> Any:
        """Map a query to an output; whatever it raises means that the instance is gone."""

    async def restart(self) -> None:
        """Return when there is a new one in its place."""


@dataclass(frozen=True)
class Prediction:
    """What a query is answered.

    Args:
        kind: How the answer was made.
        output: ``[c]``; None for a default answer where the service has none.
        seconds: From the query's arrival to its answer.
    """

    kind: Kind
    output: Tensor | None
    seconds: float


class Service:
    """Answers queries through a frontend, an encoder, instances and a decoder.

    Args:
        frontend: The group logic; it must be new.
        coding: Encoder and decoder; None where the frontend's scheme has no coded queries.
        instances: In the frontend's order.
        outputs: Length of one prediction.
        width: Length of an output of a parity model.
        default: What a default answer says ``[c]``.
        happened: Told of every answer, for metrics.
        filled: Told of every full group how many seconds it took to fill.
        record: Told of every event and what was decided.
        clock: Seconds, rising; those of an event loop may be no finer than a millisecond.

    Example:
        >>> class Doubler:
        ...     async def run(self, query):
        ...         return 2 * query
        >>> from parmtrain.codes import Sum
        >>> from parmtrain.serving import erasure_code
        >>> async def ask():
        ...     frontend = Frontend(erasure_code(k=2, r=1), [2, 1])
        ...     service = Service(frontend, Sum(k=2), [Doubler() for _ in range(3)], outputs=3, width=3)
        ...     return await asyncio.gather(*(service.predict(torch.full((3,), x)) for x in (1.0, 4.0)))
        >>> [prediction.output.tolist() for prediction in asyncio.run(ask())]
        [[2.0, 2.0, 2.0], [8.0, 8.0, 8.0]]
    """

    def __init__(
        self,
        frontend: Frontend,
        coding: Coding | None,
        instances: Sequence[Instance],
        outputs: int,
        width: int,
        default: Tensor | None = None,
        happened: Callable[[Prediction], None] = lambda prediction: None,
        filled: Callable[[float], None] = lambda seconds: None,
        record: Record = unrecorded,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.frontend, self.coding, self.instances = frontend, coding, list(instances)
        self.outputs, self.width, self.default = outputs, width, default
        self.happened, self.filled, self.record, self.clock = happened, filled, record, clock
        self._tasks: set[asyncio.Task[None]] = set()
        self._tick: tuple[float, asyncio.TimerHandle] | None = None

    async def predict(self, query: Tensor) -> Prediction:
        """Answer a query ``[*query]``, which must be one that the models can take.

        Raises:
            Overloaded: If too many queries wait.
        """
        future: asyncio.Future[Prediction] = asyncio.get_running_loop().create_future()
        now, groups, fill_time = self.clock(), self.frontend.counts["groups"], self.frontend.fill_time
        actions = self.frontend.submit(now, (query, future))
        if self.frontend.counts["groups"] > groups:
            self.filled(self.frontend.fill_time - fill_time)
        self._do(now, "submit", actions)
        return await future

    def _do(self, now: float, event: str, actions: list[Action]) -> None:
        self.record(now, event, actions)
        for action in actions:
            if isinstance(action, Dispatch):
                self._start(self._run(action.instance, action.job))
            elif isinstance(action, Answer):
                self._answer(action)
            elif isinstance(action, Restart):
                self._start(self._restart(action.instance))
        self._schedule_tick()

    def _start(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)  # the loop itself holds tasks weakly
        task.add_done_callback(self._tasks.discard)

    async def _run(self, instance: int, job: Job) -> None:
        payload = job.query.payload[0] if job.query is not None else self._coded(job.group)[self._which(job)]
        try:
            output = await self.instances[instance].run(payload)
        except asyncio.CancelledError:
            raise
        except Exception:  # whatever ends a call, the instance has to prove itself anew
            if self.frontend.runs(instance, job):  # or it hung, and is being replaced already
                now = self.clock()
                self._do(now, "lost", self.frontend.lost(now, instance))
                await self._restart(instance)
            return
        now = self.clock()
        length = self.outputs if job.query is not None or job.pool == 0 else self.width
        if well_formed(output, length):
            self._do(now, "finished", self.frontend.finished(now, instance, job, output))
        else:
            self._do(now, "garbage", self.frontend.garbage(now, instance, job))

    async def _restart(self, instance: int) -> None:
        await self.instances[instance].restart()
        now = self.clock()
        self._do(now, "restored", self.frontend.restored(now, instance))

    def _which(self, job: Job) -> int:
        return job.worker - self.frontend.scheme.own

    def _coded(self, group: Group) -> Tensor:
        """Encode a full group, once."""
        if group.coded is None:
            assert self.coding is not None
            queries = torch.stack([query.payload[0] for query in group.queries])
            with torch.inference_mode():
                group.coded = self.coding.encode(queries.unsqueeze(0))[0]
        coded: Tensor = group.coded
        return coded

    def _answer(self, answer: Answer) -> None:
        query = answer.query
        output = answer.output
        if answer.kind is Kind.reconstructed:
            output = self._decoded(output)[query.position]
        elif answer.kind is Kind.default:
            output = self.default
        prediction = Prediction(answer.kind, output, self.clock() - query.at)
        self.happened(prediction)
        future: asyncio.Future[Prediction] = query.payload[1]
        if not future.done():  # whoever asked may have gone
            future.set_result(prediction)

    def _decoded(self, outputs: tuple[Tensor | None, ...]) -> Tensor:
        """Decode one group: worker outputs, None where there are none, to predictions ``[k, c]``."""
        width = max(self.width, self.outputs)
        together = torch.zeros(1, len(outputs), width)
        arrived = torch.zeros(1, len(outputs), dtype=torch.bool)
        for worker, output in enumerate(outputs):
            if output is not None:
                together[0, worker, : len(output)] = output
                arrived[0, worker] = True
        assert self.coding is not None
        with torch.inference_mode():
            return self.coding.decode(together, arrived)[0]

    def _schedule_tick(self) -> None:
        at = self.frontend.next_tick
        if at == inf or (self._tick is not None and self._tick[0] <= at):
            return
        if self._tick is not None:
            self._tick[1].cancel()
        handle = asyncio.get_running_loop().call_later(max(at - self.clock(), 0.0), self._on_tick)
        self._tick = (at, handle)

    def _on_tick(self) -> None:
        self._tick = None
        now = self.clock()
        self._do(now, "tick", self.frontend.tick(now))


def well_formed(output: Any, length: int) -> bool:
    """Whether an output is a vector of ``length`` finite numbers.

    Example:
        >>> well_formed(torch.zeros(3), 3), well_formed(torch.tensor([0.0, torch.nan]), 2), well_formed("?", 1)
        (True, False, False)
    """
    return (
        isinstance(output, Tensor)
        and output.shape == (length,)
        and output.is_floating_point()
        and bool(output.isfinite().all())
    )
