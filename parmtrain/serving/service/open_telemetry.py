"""Traces of queries for OpenTelemetry: a span of each query, and in it those of its steps.

Where they are sent, how many are kept and what the service is called, the environment says: ``OTEL_EXPORTER_OTLP_…``,
``OTEL_TRACES_SAMPLER``, ``OTEL_SERVICE_NAME``.

Source: https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from opentelemetry import context, propagate, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, Span, Status, StatusCode

from parmtrain.serving.frontend.events import Answer, Decode, Group, Jobs, Kind
from parmtrain.serving.service.tracing import Tracer, trace_of


def exporting() -> TracerProvider:
    """Return a provider that sends spans where the environment says."""
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


class Spans(Tracer):
    """Make spans: ``query`` from arrival to answer, and in it ``fill``, ``encode``, ``run`` of each job and ``decode``.

    The span of a coded query is in that of the first query of its group, and links to those of the others.

    Args:
        provider: Where spans go.
        pools: What the pools are called.
        clock: The clock of the service, in seconds.
    """

    def __init__(self, provider: TracerProvider, pools: list[str], clock: Callable[[], float] = time.monotonic) -> None:
        self.provider, self.pools = provider, pools
        self._tracer = provider.get_tracer("parmtrain")
        self._zero = time.time_ns() - int(clock() * 1e9)
        self._clock = clock
        self._running: dict[int, list[Span]] = {}

    def _at(self, seconds: float) -> int:
        """Return a time of the clock as nanoseconds since 1970."""
        return self._zero + int(seconds * 1e9)

    def _span(
        self, name: str, parent: Span, began: float, about: Mapping[str, Any] | None = None, links: Sequence[Link] = ()
    ) -> Span:
        inside = trace.set_span_in_context(parent, context.Context())
        return self._tracer.start_span(
            name, inside, links=list(links), start_time=self._at(began), attributes=dict(about or {})
        )

    def begin(self, headers: Mapping[str, Any]) -> Span:
        """Start the span of a query, in the trace that its request names (W3C's ``traceparent``)."""
        given = propagate.extract({name.lower(): str(value) for name, value in headers.items()}, context.Context())
        return self._tracer.start_span("query", given, start_time=self._at(self._clock()))

    def refused(self, trace: Any) -> None:
        """End the span of a query that was refused."""
        if trace is not None:
            trace.set_status(Status(StatusCode.ERROR, "refused"))
            trace.end(self._at(self._clock()))

    def encoded(self, group: Group, began: float, ended: float) -> None:
        """Add a span to that of each query of the group, and before it one of the time until the group was encoded."""
        for query in group.queries:
            span = trace_of(query.payload)
            if span is not None and not query.answered:
                about = {"group": group.number, "queries": len(group.queries)}
                self._span("fill", span, query.at, about).end(self._at(began))
                self._span("encode", span, began, about).end(self._at(ended))

    def dispatched(self, now: float, instance: int, jobs: Jobs) -> None:
        """Start a span for each job."""
        spans = []
        for job in jobs:
            queries = [job.query] if job.query is not None else job.group.queries
            every = [span for query in queries if (span := trace_of(query.payload)) is not None]
            if every:
                links = [Link(span.get_span_context()) for span in every[1:]]
                about = {
                    "pool": self.pools[job.pool],
                    "instance": instance,
                    "coded": job.query is None,
                    "batch": len(jobs),
                    "attempt": job.tries,
                }
                spans.append(self._span("run", every[0], now, about, links))
        self._running[id(jobs)] = spans

    def returned(self, now: float, jobs: Jobs, failed: bool) -> None:
        """End the span of each job."""
        for span in self._running.pop(id(jobs), []):
            if failed:
                span.set_status(Status(StatusCode.ERROR, "the instance failed"))
            span.end(self._at(now))

    def decoded(self, decode: Decode, began: float, ended: float) -> None:
        """Add a span to that of the query."""
        span = trace_of(decode.payload)
        if span is not None:
            self._span("decode", span, began).end(self._at(ended))

    def answered(self, now: float, answer: Answer) -> None:
        """End the span of the query."""
        span = trace_of(answer.payload)
        if span is not None:
            span.set_attributes({"kind": answer.kind.value, "group": answer.query.group.number})
            if answer.confidence is not None:
                span.set_attribute("confidence", answer.confidence)
            if answer.kind is Kind.default:
                span.set_status(Status(StatusCode.ERROR, str(answer.reason)))
            span.end(self._at(now))

    def close(self) -> None:
        """Send what is left."""
        self.provider.shutdown()
