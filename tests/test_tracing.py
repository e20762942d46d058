"""Traces of queries, with OpenTelemetry's own kit."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from parmtrain.codes import Sum
from parmtrain.serving import Frontend, Limits, erasure_code
from parmtrain.serving.service.driver import Service
from tests.virtual_time import in_virtual_time, loop_time

pytest.importorskip("opentelemetry.sdk", reason="pip install 'parmtrain[trace]'")
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from parmtrain.serving.service.open_telemetry import Spans

TRACE = "0af7651916cd43dd8448eb211c80319c"
HEADERS = {"Traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}


class Instance:
    """Takes some time, or fails."""

    def __init__(self, seconds: float, fails: bool = False) -> None:
        self.seconds, self.fails = seconds, fails

    async def run(self, queries: Tensor) -> Tensor:
        await asyncio.sleep(self.seconds)
        if self.fails:
            raise RuntimeError("died")
        return queries

    async def restart(self) -> None:
        await asyncio.sleep(1e6)


def traced(instances: list[Instance], ask: Callable[[Service, Spans], Any], **limits: Any) -> list[ReadableSpan]:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))

    async def go() -> None:
        spans = Spans(provider, ["deployed", "parity"], loop_time)
        frontend = Frontend(erasure_code(2, 1), [2, 1], Limits(**limits))
        await ask(Service(frontend, Sum(2), instances, 3, 3, tracer=spans, clock=loop_time), spans)
        await asyncio.sleep(50.0)

    in_virtual_time(go())
    found: list[ReadableSpan] = list(exporter.get_finished_spans())
    return found


def milliseconds(span: ReadableSpan) -> int:
    assert span.start_time is not None
    assert span.end_time is not None
    return round((span.end_time - span.start_time) / 1e6)


def test_a_reconstructed_query_shows_where_its_time_went() -> None:
    async def ask(service: Service, spans: Spans) -> None:
        first = asyncio.ensure_future(service.predict(torch.ones(3), trace=spans.begin(HEADERS)))
        await asyncio.sleep(0.02)
        await asyncio.gather(first, service.predict(torch.ones(3), trace=spans.begin({})))

    spans = traced([Instance(2.0), Instance(0.03), Instance(0.05)], ask)
    late, other = sorted((one for one in spans if one.name == "query"), key=lambda one: -milliseconds(one))
    assert late.context.trace_id == int(TRACE, 16)
    assert other.context.trace_id != int(TRACE, 16)
    assert late.attributes is not None
    assert late.attributes["kind"] == "reconstructed"
    inside = {}
    for one in spans:
        if one.parent is not None and one.parent.span_id == late.context.span_id:
            assert one.attributes is not None
            inside[one.name, one.attributes.get("pool")] = milliseconds(one)
    assert inside == {
        ("fill", None): 20, ("encode", None): 0, ("run", "deployed"): 2000, ("run", "parity"): 50, ("decode", None): 0
    }  # fmt: skip
    assert milliseconds(late) == 70
    (parity,) = (one for one in spans if one.name == "run" and (one.attributes or {})["coded"])
    assert [link.context.span_id for link in parity.links] == [other.context.span_id]


def test_what_fails_is_marked() -> None:
    async def ask(service: Service, spans: Spans) -> None:
        await service.predict(torch.ones(3), trace=spans.begin({}))

    spans = traced([Instance(0.1, fails=True), Instance(0.1, fails=True), Instance(0.1)], ask, attempts=2)
    assert sorted((one.name, one.status.is_ok) for one in spans) == [("query", False), ("run", False), ("run", False)]
