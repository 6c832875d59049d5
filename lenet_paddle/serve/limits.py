"""What a request may take: bytes, pixels, pictures, seconds, a place in the queue.

`Guard` stands around the whole application: it turns away what finds no place, counts, adds the
security headers, and makes a JSON error of whatever went wrong. `read_body` and `Lane` are what
the endpoints read and work through.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import anyio
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lenet_paddle.serve.metrics import Metrics

_log = logging.getLogger(__name__)
Result = TypeVar("Result")

QUICK_BYTES = 16_384  # a smaller body is answered in the event loop, without a thread
DRAINED = 4  # of a body that is too large, so many times the limit are read before the answer
POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
# Swagger's page starts itself by a script within it; it shows nothing that came from outside.
DOCS_POLICY = f"{POLICY}; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'"
HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-cache"),
]


@dataclass(frozen=True)
class Limits:
    """What one worker process allows."""

    body: int
    """Bytes of a request's body."""
    pixels: int
    """Pixels of a picture."""
    batch: int
    """Pictures or tensors of a request."""
    seconds: float
    """For reading a body, and once more for answering it."""
    queue: int
    """POST requests that are read or answered at a time; more are turned away with 503."""


async def read_body(request: Request, limits: Limits) -> bytes:
    """The whole body of a request; it is never held beyond the limit.

    Raises `HTTPException`: 413 for a body above the limit, as soon as that is seen, 408 for one
    that takes too long, 415 for a compressed one.
    """
    headers = request.headers
    if headers.get("content-encoding", "identity") != "identity":
        raise HTTPException(415, "a compressed body; send it as it is")
    declared = headers.get("content-length", "")
    announced = int(declared) if declared.isdecimal() else 0
    too_large = HTTPException(
        413, f"the body is larger than {limits.body:,} bytes", {"connection": "close"}
    )
    if announced > limits.body and (announced > DRAINED * limits.body or "expect" in headers):
        raise too_large  # who waits for `100 Continue` has sent nothing yet
    chunks: list[bytes] = []
    size = 0
    try:
        with anyio.fail_after(limits.seconds):
            async for chunk in request.stream():
                size += len(chunk)
                if size <= limits.body:
                    chunks.append(chunk)
                else:  # read on for a while: many clients look for an answer only at the end
                    chunks.clear()
                    if size > DRAINED * limits.body:
                        break
    except TimeoutError:
        message = f"the body did not arrive within {limits.seconds:g} s"
        raise HTTPException(408, message, {"connection": "close"}) from None
    if size > limits.body:
        raise too_large
    return b"".join(chunks)


class NotQuick(Exception):
    """Raised by work that turns out to be too much for the event loop."""


@dataclass(frozen=True)
class Turn:
    """What work is told: whether it holds up the event loop, and when it must end."""

    is_quick: bool
    until: float

    def check(self) -> None:
        """Called between the parts of a piece of work; raises `HTTPException` when time is up."""
        if time.monotonic() > self.until:
            raise HTTPException(503, "answering took too long; send fewer or smaller pictures")


class Lane:
    """Runs work: what is small at once in the event loop, the rest in one thread beside it.

    A hop to a thread takes longer than reading a 28x28 picture; a photograph in the loop would
    hold up all others.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._thread = ThreadPoolExecutor(1)

    async def run(self, work: Callable[[Turn], Result], size: int) -> Result:
        """The result of `work`, called with its `Turn`; `size` is that of the request's body.

        Work that raises `NotQuick` is called again in the thread. Raises `HTTPException`, 503,
        when it takes too long.
        """
        until = time.monotonic() + self.seconds
        if size <= QUICK_BYTES:
            try:
                return work(Turn(True, until))
            except NotQuick:
                pass
        loop = asyncio.get_running_loop()
        try:
            with anyio.fail_after(self.seconds):
                return await loop.run_in_executor(self._thread, work, Turn(False, until))
        except TimeoutError:
            raise HTTPException(503, f"no answer within {self.seconds:g} s; try again") from None


class Guard:
    """ASGI middleware around all endpoints; see the module's text."""

    def __init__(
        self, app: ASGIApp, limits: Limits, metrics: Metrics, name_endpoint: Callable[[str], str]
    ) -> None:
        self.app, self.limits, self.metrics = app, limits, metrics
        self.name_endpoint = name_endpoint
        self._in_work = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        started = time.perf_counter()
        endpoint, status, is_counted = self.name_endpoint(scope["path"]), 0, False
        policy = (DOCS_POLICY if endpoint == "/docs" else POLICY).encode()

        def count() -> None:
            nonlocal is_counted
            if not is_counted:
                self.metrics.count(endpoint, status or 500, time.perf_counter() - started)
            is_counted = True

        async def send_guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message["headers"],
                    (b"content-security-policy", policy),
                    *HEADERS,
                ]
            elif not message.get("more_body"):
                count()  # before the client has it all, and may ask for the figures
            await send(message)

        takes_place = scope["method"] == "POST"
        if scope["method"] == "HEAD":  # probes use it; uvicorn leaves the answer's body out
            scope = {**scope, "method": "GET"}
        if takes_place and self._in_work >= self.limits.queue:
            answer = JSONResponse({"error": "too many requests at a time; try again"}, 503)
            answer.headers["retry-after"] = "1"
            await answer(scope, receive, send_guarded)
            return
        self._in_work += takes_place
        self.metrics.in_work.inc()
        try:
            await self.app(scope, receive, send_guarded)
        except ClientDisconnect:
            status = 499  # nobody is left to answer; nginx's number for it
        except Exception:
            _log.exception("%s %s failed", scope["method"], endpoint)
            if status:
                raise  # half of an answer is out: let the connection break
            answer = JSONResponse({"error": "the server failed; its log says why"}, 500)
            await answer(scope, receive, send_guarded)
        finally:
            self._in_work -= takes_place
            self.metrics.in_work.dec()
            count()
