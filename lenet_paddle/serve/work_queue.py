"""Run work with a deadline: small work on the event loop, the rest in one thread."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import anyio
from starlette.exceptions import HTTPException

Result = TypeVar("Result")

SMALL_BYTES = 16_384  # work on a smaller body starts on the event loop


def took_too_long() -> HTTPException:
    """Return the error of a request whose time is up."""
    return HTTPException(503, "answering took too long; send fewer or smaller pictures")


class NeedsThread(Exception):
    """Raised by work that turns out to be too slow for the event loop."""


@dataclass(frozen=True)
class Deadline:
    """A job's deadline, and whether it runs on the event loop."""

    on_loop: bool
    until: float
    """By `time.monotonic()`."""

    def check(self) -> None:
        """Raise `HTTPException`, 503, once the time is up. Call it between the parts of a job."""
        if time.monotonic() > self.until:
            raise took_too_long()


class WorkQueue:
    """Run jobs one after the other, in a thread unless they are small.

    A hop to a thread takes longer than decoding a 28x28 picture; decoding a photograph on the
    event loop would stall all other requests.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._thread = ThreadPoolExecutor(1)

    async def run(self, job: Callable[[Deadline], Result], num_bytes: int) -> Result:
        """Return what `job` returns for its `Deadline`; `num_bytes` is the size of its input.

        A job that raises `NeedsThread` is called again in the thread. Raises `HTTPException`,
        503, when it takes longer than `seconds`.
        """
        until = time.monotonic() + self.seconds
        if num_bytes <= SMALL_BYTES:
            try:
                return job(Deadline(True, until))
            except NeedsThread:
                pass
        loop = asyncio.get_running_loop()
        try:
            with anyio.fail_after(self.seconds):
                return await loop.run_in_executor(self._thread, job, Deadline(False, until))
        except TimeoutError:
            raise HTTPException(503, f"no answer within {self.seconds:g} s; try again") from None
