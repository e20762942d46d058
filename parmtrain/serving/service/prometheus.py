"""Metrics of a front for Prometheus."""

from collections.abc import Iterator, Sequence

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from parmtrain.serving.frontend.counts import COUNTS
from parmtrain.serving.frontend.events import Jobs, Kind
from parmtrain.serving.process.event_loop import Watch
from parmtrain.serving.service.driver import Service
from parmtrain.serving.service.predictions import BATCHES, LATENCIES, MEASURES, Observer, Prediction


class PrometheusMetrics(Observer):
    """Count answers and times, and show the state of a frontend.

    Args:
        registry: Where they are registered.
        pools: What the pools are called.
    """

    def __init__(self, registry: CollectorRegistry, pools: Sequence[str]) -> None:
        self.registry, self.pools = registry, pools
        answers = Counter(*_named("answers"), ("kind",), registry=registry)
        latency = Histogram(*_named("latency_seconds"), ("kind",), buckets=LATENCIES, registry=registry)
        sizes = Histogram(*_named("batch_size"), ("pool",), buckets=BATCHES, registry=registry)
        self._answers = {kind: answers.labels(kind.value) for kind in Kind}
        self._latency = {kind: latency.labels(kind.value) for kind in Kind}
        self._sizes = [sizes.labels(pool) for pool in pools]
        self._refused = Counter(*_named("refused"), ("status",), registry=registry)
        self._fill = Histogram(*_named("group_fill_seconds"), buckets=LATENCIES, registry=registry)
        self.route = Route("/metrics", self._show, methods=["GET", "HEAD"])

    def answered(self, prediction: Prediction) -> None:
        """Count an answer."""
        self._answers[prediction.kind].inc()
        self._latency[prediction.kind].observe(prediction.seconds)

    def filled(self, seconds: float) -> None:
        """Count a group that was encoded."""
        self._fill.observe(seconds)

    def dispatched(self, instance: int, jobs: Jobs) -> None:
        """Count a batch."""
        self._sizes[jobs[0].pool].observe(len(jobs))

    def refuse(self, status: int) -> None:
        """Count a request that was refused."""
        self._refused.labels(str(status)).inc()

    def watch(self, service: Service, loop: Watch) -> None:
        """Show the state of a service, and the longest pause of its event loop, whenever metrics are read."""
        self.registry.register(_State(service, self.pools, loop))

    async def _show(self, request: Request) -> Response:
        return Response(generate_latest(self.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


class _State(Collector):
    def __init__(self, service: Service, pools: Sequence[str], loop: Watch) -> None:
        self.service, self.pools, self.loop = service, pools, loop

    def collect(self) -> Iterator[Metric]:
        """Yield what the frontend counts now."""
        frontend = self.service.frontend
        up = GaugeMetricFamily("parmtrain_instances_up", "Instances that can run queries.", labels=["pool"])
        busy = CounterMetricFamily(
            "parmtrain_occupied_seconds", "Seconds that instances were busy, in all.", labels=["pool"]
        )
        for pool, name in enumerate(self.pools):
            up.add_metric([name], frontend.pools.up(pool))
            busy.add_metric([name], frontend.pools.occupied[pool])
        yield up
        yield busy
        yield GaugeMetricFamily("parmtrain_waiting", "Queries that wait for an answer.", frontend.waiting)
        yield GaugeMetricFamily(
            "parmtrain_loop_pause_seconds", "Longest pause of the event loop in the last minute.", self.loop.longest
        )
        encoding = float(frontend.breaker.why is None)
        yield GaugeMetricFamily("parmtrain_encoding", "0 while no group is encoded; /status says why.", encoding)
        yield from self._trust()
        for name, about in COUNTS.items():
            yield CounterMetricFamily(f"parmtrain_{name}", about, frontend.counts[name])

    def _trust(self) -> Iterator[Metric]:
        """Yield how far reconstructions can be trusted."""
        frontend, labels = self.service.frontend, ["source"]
        compared = CounterMetricFamily(
            "parmtrain_agreement_compared", "Reconstructions that were compared with F's own.", labels=labels
        )
        agreed = CounterMetricFamily("parmtrain_agreement_agreed", "Sum of their agreement.", labels=labels)
        for source, means in self.service.agreement.of.items() if self.service.agreement is not None else ():
            compared.add_metric([source], means.overall.count)
            agreed.add_metric([source], means.overall.total)
        yield compared
        yield agreed
        yield GaugeMetricFamily(
            "parmtrain_confidence_raised",
            "By how much more confidence is asked for.",
            frontend.acceptance.raised,
        )
        alarm = frontend.trust.alarm
        yield GaugeMetricFamily(
            "parmtrain_alarm",
            "1 once accepted reconstructions have disagreed more often than promised.",
            float(alarm is not None and alarm.raised is not None),
        )


def _named(measure: str) -> tuple[str, str]:
    """Return the name of a measure, and what it is."""
    return f"parmtrain_{measure}", MEASURES[measure]
