"""Drive a frontend in an asyncio event loop, with instances that may run anywhere."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor

from parmtrain.codes import Coder
from parmtrain.codes.scheme import DEPLOYED
from parmtrain.serving.frontend.events import Action, Answer, Compare, Decode, Dispatch, Jobs, Kind, Overloaded, Restart
from parmtrain.serving.frontend.log import Record, unrecorded
from parmtrain.serving.frontend.machine import Frontend
from parmtrain.serving.service.agreement import Agreement
from parmtrain.serving.service.coding import Coding, ConfidenceProgram, well_formed
from parmtrain.serving.service.keeping import Kept
from parmtrain.serving.service.predictions import Observer, Prediction
from parmtrain.serving.service.ticking import Ticker
from parmtrain.serving.service.tracing import Tracer

AGAIN = 5.0  # seconds between two tries to replace an instance
log = logging.getLogger(__name__)


class Instance(Protocol):
    """An instance, which runs one model, one batch at a time."""

    async def run(self, queries: Tensor) -> Any:
        """Map queries ``[b, *query]`` to outputs ``[b, w]``; any exception means that the instance is gone."""

    async def restart(self) -> None:
        """Replace the instance and wait until the new one is ready."""


class Service:
    """Answer queries through a frontend, an encoder, instances and a decoder.

    Args:
        frontend: The group logic; it must be new.
        coder: Encoder and decoder; None if the frontend's scheme has no coded queries.
        instances: The instances, in the frontend's order.
        outputs: Length of one prediction.
        width: Length of an output of a parity model.
        default: The default answer ``[c]``.
        observer: Is told what happens, for metrics.
        tracer: Is told what becomes of each query, for traces.
        confidence: Says how far reconstructions can be trusted; by default all of them are.
        agreement: Compares reconstructions with the deployed model's own predictions that come later.
        kept: Is given queries and the deployed model's own predictions, to learn from.
        record: Called with every event and the resulting actions.
        clock: Monotonic time in seconds; an event loop's own clock may resolve only milliseconds.

    Example:
        >>> import torch
        >>> class Doubler:
        ...     async def run(self, queries):
        ...         return 2 * queries
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
        coder: Coder | None,
        instances: Sequence[Instance],
        outputs: int,
        width: int,
        default: Tensor | None = None,
        observer: Observer | None = None,
        tracer: Tracer | None = None,
        confidence: ConfidenceProgram | None = None,
        agreement: Agreement | None = None,
        kept: Kept | None = None,
        record: Record = unrecorded,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.frontend, self.coder, self.instances = frontend, coder, list(instances)
        self.outputs, self.width, self.default = outputs, width, default
        self.observer, self.tracer = observer or Observer(), tracer or Tracer()
        self.record, self.clock, self.agreement, self.kept = record, clock, agreement, kept
        self.coding = Coding(coder, confidence, frontend.scheme.own, max(width, outputs), self.tracer, clock)
        self._tasks: set[asyncio.Task[None]] = set()
        self._restarts: dict[int, asyncio.Task[None]] = {}
        self._ticker = Ticker(clock, self._on_tick)

    async def predict(
        self,
        query: Tensor,
        deadline: float | None = None,
        coded: bool = True,
        tenant: str = "",
        trace: Any = None,
    ) -> Prediction:
        """Answer a query ``[*query]``, which must be a valid input of the models.

        Args:
            query: The query.
            deadline: Seconds until a default answer, if fewer than the frontend's.
            coded: Whether it is encoded together with others.
            tenant: Whose it is; queries of different tenants are never encoded together.
            trace: Its trace, as the tracer began it.

        Raises:
            Overloaded: If the queue is full.
        """
        future: asyncio.Future[Prediction] = asyncio.get_running_loop().create_future()
        now = self.clock()
        try:
            with self._telling_fill_times():
                actions = self.frontend.submit(now, (query, future, trace), deadline, coded, tenant)
        except Overloaded:
            self.tracer.refused(trace)
            raise
        self._do(now, "submit", actions)
        return await future

    def add(self, pool: int, instance: Instance) -> int:
        """Add an instance to a pool and return its number; it is used once its ``restart`` says that it is ready."""
        number = self.frontend.pools.join(pool)
        self.instances[number:] = [instance, *self.instances[number + 1 :]]
        self._begin_restart(number)
        return number

    def remove(self, number: int) -> None:
        """Give no more queries to an instance."""
        self.frontend.pools.leave(number)
        if number in self._restarts:
            self._restarts.pop(number).cancel()

    def hold(self, held: bool) -> None:
        """Encode and decode nothing, since instances run another deployed model; or go on."""
        now = self.clock()
        self._do(now, "held", self.frontend.encoding.hold(now, held))

    def close(self) -> None:
        """Give up everything that still runs."""
        for task in self._tasks:
            task.cancel()

    def await_instances(self) -> None:
        """Give queries to each instance only once its ``restart`` says that it is ready."""
        for number in range(len(self.instances)):
            self.frontend.pools.take_down(self.clock(), number)
            self._begin_restart(number)

    @contextmanager
    def _telling_fill_times(self) -> Iterator[None]:
        groups, fill_time = self.frontend.counts["groups"], self.frontend.encoding.fill_time
        yield
        new = self.frontend.counts["groups"] - groups
        for _ in range(new):
            self.observer.filled((self.frontend.encoding.fill_time - fill_time) / new)

    def _do(self, now: float, event: str, actions: list[Action]) -> None:
        self.record(now, event, actions)
        for action in actions:
            if isinstance(action, Dispatch):
                self.observer.dispatched(action.instance, action.jobs)
                self.tracer.dispatched(now, action.instance, action.jobs)
                self._start(self._run(action.instance, action.jobs))
            elif isinstance(action, Decode):
                found = self.coding.decoded(action)
                at = self.clock()
                self._do(at, "decoded", self.frontend.decoded(at, action, found.prediction, found.confidence))
            elif isinstance(action, Compare) and self.agreement is not None:
                self.agreement.tell(self.frontend, now, action)
            elif isinstance(action, Answer):
                self._answer(action)
            elif isinstance(action, Restart):
                self._begin_restart(action.instance)
        self._ticker.at(self.frontend.next_tick)

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)  # the loop holds only weak references to tasks
        task.add_done_callback(self._tasks.discard)
        return task

    def _begin_restart(self, instance: int) -> None:
        if instance not in self.frontend.pools.gone:
            self._restarts[instance] = self._start(self._restart(instance))

    async def _run(self, instance: int, jobs: Jobs) -> None:
        try:
            payloads = [self.coding.query_of(job) for job in jobs]
            queries = payloads[0].unsqueeze(0) if len(payloads) == 1 else torch.stack(payloads)
        except Exception:  # an encoder is a program of others
            log.exception("a group cannot be encoded")
            now = self.clock()
            self._do(now, "finished", self.frontend.finished(now, instance, jobs, [None] * len(jobs)))
            return
        try:
            output = await self.instances[instance].run(queries)
        except asyncio.CancelledError:
            self.tracer.returned(self.clock(), jobs, failed=True)
            raise
        except Exception:  # the instance is replaced after any failed call
            self.tracer.returned(self.clock(), jobs, failed=True)
            if self.frontend.pools.jobs_of(instance) is jobs:  # otherwise it hung and is already being replaced
                now = self.clock()
                self._do(now, "lost", self.frontend.lost(now, instance))
                self._begin_restart(instance)
            return
        length = self.outputs if jobs[0].pool == DEPLOYED else self.width
        outputs = well_formed(output, len(jobs), length)
        if self.kept is not None and jobs[0].pool == DEPLOYED and not self.frontend.breaker.held:
            self.kept.take(queries, outputs)
        now = self.clock()
        self.tracer.returned(now, jobs, failed=False)
        self._do(now, "finished", self.frontend.finished(now, instance, jobs, outputs))

    async def _restart(self, instance: int) -> None:
        while True:
            try:
                await self.instances[instance].restart()
                break
            except Exception as fault:  # it is tried again whatever the reason is
                log.error("instance %d cannot be replaced: %s: %s", instance, type(fault).__name__, fault)
                await asyncio.sleep(AGAIN)
        self._restarts.pop(instance, None)
        now = self.clock()
        self._do(now, "restored", self.frontend.restored(now, instance))

    def _answer(self, answer: Answer) -> None:
        query, kind = answer.query, answer.kind
        output = self.default if kind is Kind.default else answer.output
        now = self.clock()
        prediction = Prediction(kind, output, now - query.at, query.group.number, answer.reason, answer.confidence)
        self.observer.answered(prediction)
        self.tracer.answered(now, answer)
        future: asyncio.Future[Prediction] = answer.payload[1]
        if not future.done():  # the client may have disconnected
            future.set_result(prediction)

    def _on_tick(self) -> None:
        now = self.clock()
        with self._telling_fill_times():
            actions = self.frontend.tick(now)
        self._do(now, "tick", actions)
