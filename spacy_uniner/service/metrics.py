"""What Prometheus is told."""

from __future__ import annotations

import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PATHS = ("/", "/entities", "/health", "/metrics", "/openapi.json")
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
TEXTS = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """Counts requests, texts, entities and batches, of one app.

    n_waiting: gives the number of texts that wait.
    """

    def __init__(self, n_waiting: Callable[[], int]) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "uniner_requests", "Requests answered.", ["path", "status"], registry=self.registry
        )  # Prometheus appends _total
        self.seconds = Histogram(
            "uniner_request_seconds",
            "From a request's arrival to its answer.",
            ["path"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.texts = Counter("uniner_texts", "Texts answered.", registry=self.registry)
        self.entities = Counter("uniner_entities", "Entities found.", registry=self.registry)
        self.queue = Gauge("uniner_queue_texts", "Texts that wait for their batch.", registry=self.registry)
        self.queue.set_function(n_waiting)
        self.batch_texts = Histogram("uniner_batch_texts", "Texts of a batch.", buckets=TEXTS, registry=self.registry)
        self.batch_seconds = Histogram(
            "uniner_batch_seconds", "What the pipeline takes for a batch.", buckets=SECONDS, registry=self.registry
        )

    def report_batch(self, n_texts: int, seconds: float) -> None:
        """Count a batch that the pipeline has read."""
        self.batch_texts.observe(n_texts)
        self.batch_seconds.observe(seconds)

    def report_answer(self, n_texts: int, n_entities: int) -> None:
        """Count what a request was given."""
        self.texts.inc(n_texts)
        self.entities.inc(n_entities)

    def write(self) -> bytes:
        """Write all in the text format of Prometheus."""
        return generate_latest(self.registry)


class Measured:
    """Counts and times every request; middleware around all others, so that those turned away count too."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = "500"  # if the app raises before it answers
        started = time.perf_counter()

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        path = scope["path"] if scope["path"] in PATHS else "other"
        try:
            await self._app(scope, receive, watch)
        finally:
            self._metrics.requests.labels(path, status).inc()
            self._metrics.seconds.labels(path).observe(time.perf_counter() - started)
