"""Show the progress of long work with its rate and the time left; append the log to a file."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from lenet_paddle.errors import InputError


class Progress:
    """Progress of `total` items; `show` can be called at every step.

    On a terminal one line is redrawn at most ten times per second. Elsewhere a plain line is
    printed every `plain_seconds`, so that the log of a long run stays short.
    """

    def __init__(
        self,
        total: int,
        unit: str,
        done: int = 0,
        stream: TextIO | None = None,
        plain_seconds: float = 10.0,
    ) -> None:
        self.stream = stream or sys.stderr
        self.total, self.unit, self.done = total, unit, done
        self.is_terminal = self.stream.isatty()
        self.interval = 0.1 if self.is_terminal else plain_seconds
        self.started = self.shown = time.monotonic()
        self.first = done

    @property
    def rate(self) -> float:
        """Items per second since the start; 0.0 before any time has passed."""
        elapsed = time.monotonic() - self.started
        return (self.done - self.first) / elapsed if elapsed > 0 else 0.0

    def show(self, done: int, text: str = "") -> None:
        """Set the number of finished items, and print if it is time."""
        self.done = done
        now = time.monotonic()
        if now - self.shown < self.interval:
            return
        self.shown = now
        left = (self.total - done) / self.rate if self.rate else 0.0
        line = f"{text}  {self.rate:,.0f} {self.unit}/s  {format_seconds(left)} left".strip()
        if self.is_terminal:
            print(f"\r\x1b[2K{line}", end="", file=self.stream, flush=True)
        else:
            print(line, file=self.stream, flush=True)

    def clear(self) -> None:
        """Clear the line on a terminal before other output."""
        if self.is_terminal:
            print("\r\x1b[2K", end="", file=self.stream, flush=True)


def format_seconds(seconds: float) -> str:
    """Format seconds as `42s`, `3m05s` or `2h07m`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


class _LogFile(logging.FileHandler):
    """Raise errors of writing, for which logging itself would print a traceback."""

    def handleError(self, record: logging.LogRecord) -> None:
        raise


@contextlib.contextmanager
def log_to(path: Path) -> Iterator[None]:
    """Append what the package logs to the file `path`, with the time.

    Raises `InputError` for a pipe, which would keep the run waiting for a reader.
    """
    if path.is_fifo():
        raise InputError(f"{path}: a pipe; expected a regular file")
    handler = _LogFile(path, encoding="utf-8", errors="backslashreplace")  # names of files
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    logger = logging.getLogger("lenet_paddle")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        handler.close()
