"""Count requests in Prometheus' format, summed over all workers.

prometheus_client sums the workers through memory-mapped files in the folder that the environment
variable PROMETHEUS_MULTIPROC_DIR names; set it before importing this module.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Collection, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """Requests, errors and seconds by endpoint and status; size, time and range of batches."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self._requests = Counter(
            "lenet_requests", "Requests answered.", ["endpoint", "status"], registry=registry
        )
        self._errors = Counter(
            "lenet_errors", "Requests answered with 4xx or 5xx.", ["endpoint"], registry=registry
        )
        self._error_seconds = Counter(
            "lenet_error_seconds",
            "The part of lenet_request_seconds that is of 4xx and 5xx.",
            ["endpoint"],
            registry=registry,
        )
        self._seconds = Histogram(
            "lenet_request_seconds",
            "Seconds from a request's head to the end of its answer.",
            ["endpoint"],
            buckets=SECONDS,
            registry=registry,
        )
        self._batch_size = Histogram(
            "lenet_batch_size",
            "Pictures or tensors that were answered as one batch.",
            buckets=BATCHES,
            registry=registry,
        )
        self._model_seconds = Counter(
            "lenet_model_seconds", "Seconds that the model ran.", registry=registry
        )
        self._last = Gauge(
            "lenet_last_batch_timestamp_seconds",
            "When the model last ran.",
            multiprocess_mode="max",
            registry=registry,
        )
        self.range_warnings = Counter(
            "lenet_range_warnings",
            "Inference requests with values that do not seem to be normalised.",
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
        """Count an answered request. Every `endpoint` is kept: pass one of a few."""
        found = self._known.get((endpoint, status))
        if found is None:  # looking up labels takes longer than counting
            found = (
                self._requests.labels(endpoint, str(status)),
                self._seconds.labels(endpoint),
            )
            self._known[endpoint, status] = found
        found[0].inc()
        found[1].observe(seconds)
        if status >= 400:
            self._errors.labels(endpoint).inc()
            self._error_seconds.labels(endpoint).inc(seconds)

    def count_batch(self, size: int, seconds: float) -> None:
        """Count a run of the model."""
        self._batch_size.observe(size)
        self._model_seconds.inc(seconds)
        self._last.set(time.time())

    def sum_up(self, endpoints: Collection[str]) -> Mapping[str, float]:
        """Return each figure by its name in `to_text`, summed over all workers and `endpoints`."""
        registry, totals = CollectorRegistry(), defaultdict[str, float](float)
        MultiProcessCollector(registry)
        for sample in (sample for family in registry.collect() for sample in family.samples):
            if sample.labels.get("endpoint") in (None, *endpoints):
                totals[sample.name] += sample.value
        return totals

    def to_text(self) -> bytes:
        """Return the figures of all workers in Prometheus' text format."""
        registry = CollectorRegistry()
        MultiProcessCollector(registry)
        return generate_latest(registry)
