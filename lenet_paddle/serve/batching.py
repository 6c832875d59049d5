"""Answer requests that arrive together by one run of the model."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import numpy as np


class Batcher:
    """Join the batches of concurrent requests into one run, without waiting for more requests.

    The event loop first reads from all connections that have sent something, then runs the model
    once for everything that those requests asked for in this turn of the loop. A lone request is
    answered without delay. This mostly saves the fixed cost of a call, in NumPy, ONNX Runtime and
    the metrics. The model runs on the event loop only, so an engine may be limited to one thread.
    """

    def __init__(self, run: Callable[[np.ndarray], np.ndarray], max_batch: int) -> None:
        """`run` maps (B, ...) to (B, C), row by row. It gets at most `max_batch` rows, unless a
        single request has more."""
        self._run, self._max_batch = run, max_batch
        self._waiting: list[tuple[np.ndarray, asyncio.Future[np.ndarray]]] = []

    async def run(self, batch: np.ndarray) -> np.ndarray:
        """Return the results for the rows of `batch`. Raises what the model raises."""
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
                if not future.done():  # its request may have been cancelled
                    future.set_exception(error)
            return
        start = 0
        for batch, future in together:
            if not future.done():
                future.set_result(results[start : start + len(batch)])
            start += len(batch)
