"""What the server counts, in Prometheus' format, summed over all of its workers.

prometheus_client adds the workers up through mapped files in the folder that the environment
variable `serve.METRICS_FOLDER` names, which is set before this module is imported.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """Requests, errors, seconds and pictures a batch, by endpoint and status."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self._requests = Counter(
            "lenet_requests", "Requests answered.", ["endpoint", "status"], registry=registry
        )
        self._errors = Counter(
            "lenet_errors", "Requests answered with 4xx or 5xx.", ["endpoint"], registry=registry
        )
        self._seconds = Histogram(
            "lenet_request_seconds",
            "Seconds from a request's head to the end of its answer.",
            ["endpoint"],
            buckets=SECONDS,
            registry=registry,
        )
        self.batch_size = Histogram(
            "lenet_batch_size",
            "Pictures or tensors that were answered as one batch.",
            buckets=BATCHES,
            registry=registry,
        )
        self.in_work = Gauge(
            "lenet_requests_in_work",
            "Requests that are read or answered now.",
            multiprocess_mode="livesum",
            registry=registry,
        )
        self._known: dict[tuple[str, int], tuple[Counter, Histogram]] = {}

    def count(self, endpoint: str, status: int, seconds: float) -> None:
        """One request has been answered. `endpoint` must be one of a few: each is kept."""
        found = self._known.get((endpoint, status))
        if found is None:  # looking labels up takes longer than counting
            found = (
                self._requests.labels(endpoint, str(status)),
                self._seconds.labels(endpoint),
            )
            self._known[endpoint, status] = found
        found[0].inc()
        found[1].observe(seconds)
        if status >= 400:
            self._errors.labels(endpoint).inc()

    def count_refusal(self, status: int) -> None:
        """A connection was refused with 4xx or 5xx before there was a whole head; it took no
        measurable time."""
        self._requests.labels("other", str(status)).inc()
        self._errors.labels("other").inc()

    def to_text(self) -> bytes:
        """All workers' figures in Prometheus' text format."""
        registry = CollectorRegistry()
        MultiProcessCollector(registry)
        return generate_latest(registry)
