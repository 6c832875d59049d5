"""Answer requests that arrive together by one run of the model."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class _Part(NamedTuple):
    """Rows of a request that wait for the model."""

    rows: np.ndarray
    until: float
    result: asyncio.Future[np.ndarray]


class Batcher:
    """Join the batches of concurrent requests into one run, without waiting for more requests.

    The event loop first reads from all connections that have sent something, then runs the model
    once for everything that those requests asked for in this turn of the loop. A lone request is
    answered without delay. This mostly saves the fixed cost of a call, in NumPy, ONNX Runtime and
    the metrics. The model runs on the event loop only, so an engine may be limited to one thread;
    between two runs the loop looks at the other connections.
    """

    def __init__(self, run: Callable[[np.ndarray], np.ndarray], max_batch: int) -> None:
        """`run` maps (B, ...) to (B, C), row by row. It gets at most `max_batch` rows."""
        self._run, self._max_batch = run, max_batch
        self._waiting: list[_Part] = []

    async def run(self, batch: np.ndarray, until: float = math.inf) -> np.ndarray:
        """Return the results for the rows of `batch`, which are run in parts if they are many.

        Raises what the model raises, and `TimeoutError` if its turn has not come by `until`, of
        `time.monotonic()`.
        """
        parts = [
            await self._run_part(batch[start : start + self._max_batch], until)
            for start in range(0, len(batch), self._max_batch)
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    async def _run_part(self, rows: np.ndarray, until: float) -> np.ndarray:
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._run_next)
        part = _Part(rows, until, loop.create_future())
        self._waiting.append(part)
        return await part.result

    def _run_next(self) -> None:
        """Run what has waited longest, together with what follows it."""
        together: list[_Part] = []
        now, num_rows, taken = time.monotonic(), 0, 0
        for part in self._waiting:
            if together and num_rows + len(part.rows) > self._max_batch:
                break
            taken += 1
            if part.result.done():  # its request was cancelled
                continue
            if part.until < now:
                part.result.set_exception(TimeoutError())
                continue
            together.append(part)
            num_rows += len(part.rows)
        del self._waiting[:taken]
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._run_next)
        if together:
            self._run_together(together)

    def _run_together(self, together: list[_Part]) -> None:
        try:
            results = self._run(np.concatenate([part.rows for part in together]))
        except Exception as error:
            for part in together:
                part.result.set_exception(error)
            return
        start = 0
        for part in together:
            part.result.set_result(results[start : start + len(part.rows)])
            start += len(part.rows)
