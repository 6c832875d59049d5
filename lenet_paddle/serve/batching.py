"""Requests that arrive together are answered by one run of the model."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import numpy as np


class Batcher:
    """Collects the batches of requests and runs them as one, without waiting for more.

    The event loop first reads from all connections that have sent something, then runs what
    those requests have asked for: whatever asks in one turn of the loop goes together. A request
    that comes alone is answered alone, and no later. Most of what this saves is the fixed price
    of a call: NumPy's, ONNX Runtime's, the counting. The model runs in the event loop only, so
    an engine that allows one thread is safe.
    """

    def __init__(self, run: Callable[[np.ndarray], np.ndarray], max_batch: int) -> None:
        """`run` maps (B, ...) to (B, C), row by row; it gets up to `max_batch` rows, or what one
        request has asked for."""
        self._run, self._max_batch = run, max_batch
        self._waiting: list[tuple[np.ndarray, asyncio.Future[np.ndarray]]] = []

    async def run(self, batch: np.ndarray) -> np.ndarray:
        """The rows of the result that are those of `batch`; raises what the model raises."""
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._run_waiting)
        future: asyncio.Future[np.ndarray] = loop.create_future()
        self._waiting.append((batch, future))
        return await future

    def _run_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        while waiting:
            count, rows = 1, len(waiting[0][0])
            while count < len(waiting) and rows + len(waiting[count][0]) <= self._max_batch:
                rows += len(waiting[count][0])
                count += 1
            self._run_together(waiting[:count])
            waiting = waiting[count:]

    def _run_together(self, together: list[tuple[np.ndarray, asyncio.Future[np.ndarray]]]) -> None:
        try:
            results = self._run(np.concatenate([batch for batch, _ in together]))
        except Exception as error:
            for _, future in together:
                if not future.done():  # its request may have been given up
                    future.set_exception(error)
            return
        start = 0
        for batch, future in together:
            if not future.done():
                future.set_result(results[start : start + len(batch)])
            start += len(batch)
