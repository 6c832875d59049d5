"""Limits of a request: bytes and seconds of its body, and its place in the queue.

`LimitsMiddleware` wraps the whole application. It also counts requests, adds the security headers
and turns an unexpected exception into a JSON error.
"""

from __future__ import annotations

import logging
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import anyio
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lenet_paddle.serve.metrics import Metrics

_log = logging.getLogger(__name__)

DRAIN_FACTOR = 4  # read a body up to this many times the limit before answering 413
PACKED = (b"gzip", b"x-gzip", b"deflate")  # Content-Encoding, RFC 9110, section 8.4.1
ZLIB_OR_GZIP = 32 + zlib.MAX_WBITS
POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
# Swagger's page starts with an inline script; it shows nothing that a client sent.
DOCS_POLICY = f"{POLICY}; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'"
SECURITY_HEADERS = [
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
    """Pictures or tensors in a request."""
    seconds: float
    """Time to receive a body, and again to answer it."""
    queue: int
    """POST requests in progress; further ones get 503."""
    strict_range: bool = False
    """Whether tensors that do not seem to be normalised get 400."""


def limit_body(scope: Scope, receive: Receive, limits: Limits) -> Receive:
    """Wrap `receive` so that it never passes on more than `limits.body` bytes, unpacked.

    It raises `HTTPException`: 413 for a larger body, 408 for one that takes longer than
    `limits.seconds`, 415 for one compressed otherwise than by gzip or deflate, 400 for one that is
    not what its Content-Encoding says or that comes with the header Upgrade.
    """
    headers = dict(scope["headers"])
    declared = headers.get(b"content-length", b"")
    content_length = int(declared) if declared.isdigit() else 0
    # A client that waits for `100 Continue` has sent nothing yet: refuse it at once.
    accepted = limits.body * (1 if b"expect" in headers else DRAIN_FACTOR)
    encoding = headers.get(b"content-encoding", b"identity").lower()
    unpacker = zlib.decompressobj(ZLIB_OR_GZIP) if encoding in PACKED else None
    refusal = None
    if b"upgrade" in headers:  # the server's parser loses the body
        refusal = HTTPException(400, "Upgrade is not supported; send HTTP/1.1 without it")
    elif encoding not in (b"identity", *PACKED):
        refusal = HTTPException(415, "a body compressed in another way than gzip or deflate")
    elif content_length > accepted:
        refusal = _too_large(limits.body)
    deadline = anyio.current_time() + limits.seconds
    size = 0

    async def receive_in_time() -> Message:
        try:
            with anyio.fail_after(deadline - anyio.current_time()):
                return await receive()
        except TimeoutError:
            message = f"the body did not arrive within {limits.seconds:g} s"
            raise HTTPException(408, message, {"connection": "close"}) from None

    def unpack(message: Message) -> Message:
        if unpacker is None or message["type"] != "http.request":
            return message
        left = limits.body - size
        try:
            body = unpacker.decompress(message.get("body", b""), left + 1)
        except zlib.error:
            raise _not_packed(encoding) from None
        is_cut = len(body) <= left and not unpacker.eof and not message.get("more_body")
        if is_cut or unpacker.unused_data:
            raise _not_packed(encoding)
        return {**message, "body": body}

    async def receive_limited() -> Message:
        nonlocal size
        if refusal:
            raise refusal
        received = await receive_in_time()
        message = unpack(received)
        size += max(len(received.get("body", b"")), len(message.get("body", b"")))
        if size > limits.body:  # many clients look for an answer only after sending everything
            while message.get("more_body") and size <= DRAIN_FACTOR * limits.body:
                message = await receive_in_time()
                size += len(message.get("body", b""))
            raise _too_large(limits.body)
        return message

    return receive_limited


def _too_large(limit: int) -> HTTPException:
    message = f"the body is larger than {limit:,} bytes; send several requests"
    return HTTPException(413, message, {"connection": "close"})


def _not_packed(encoding: bytes) -> HTTPException:
    message = f"the body is damaged, or not {encoding.decode()} as its head says"
    return HTTPException(400, message, {"connection": "close"})


class LimitsMiddleware:
    """ASGI middleware: the queue, the limits of a body, metrics, security headers, JSON errors."""

    def __init__(
        self, app: ASGIApp, limits: Limits, metrics: Metrics, name_endpoint: Callable[[str], str]
    ) -> None:
        """`name_endpoint` maps a path to the label that the metrics use for it."""
        self.app, self.limits, self.metrics = app, limits, metrics
        self.name_endpoint = name_endpoint
        self._num_queued = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        endpoint = self.name_endpoint(scope["path"])
        answer = _CountedAnswer(scope, send, endpoint, self.metrics)
        is_queued = scope["method"] == "POST"
        if is_queued and self._num_queued >= self.limits.queue:
            body = {"error": "too many requests at a time; try again"}
            await JSONResponse(body, 503, {"retry-after": "1"})(scope, receive, answer.send)
            return
        if is_queued:
            receive = limit_body(scope, receive, self.limits)
        else:
            scope = _simplify(scope)
        self._num_queued += is_queued
        self.metrics.in_work.inc()
        try:
            await self.app(scope, receive, answer.send)
        except ClientDisconnect:
            answer.status = 499  # nginx's number for a client that closed the connection
        except Exception:
            _log.exception("%s %s failed", scope["method"], endpoint)
            if answer.status:
                raise  # the answer has begun: let the server break the connection
            body = {"error": "the server failed; its log says why"}
            await JSONResponse(body, 500)(scope, receive, answer.send)
        finally:
            self._num_queued -= is_queued
            self.metrics.in_work.dec()
            answer.count()


class _CountedAnswer:
    """Send an answer with the security headers, and count it once."""

    def __init__(self, scope: Scope, send: Send, endpoint: str, metrics: Metrics) -> None:
        self.status = 0
        self._send, self._endpoint, self._metrics = send, endpoint, metrics
        self._started, self._is_counted = time.perf_counter(), False
        policy = (DOCS_POLICY if endpoint == "/docs" else POLICY).encode()
        self._headers = [(b"content-security-policy", policy), *SECURITY_HEADERS]
        if any(name == b"upgrade" for name, _ in scope["headers"]):
            self._headers.append((b"connection", b"close"))  # the server's parser stops there

    async def send(self, message: Message) -> None:
        """ASGI's `send`. Raises `ClientDisconnect` if the connection is closed."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message["headers"], *self._headers]
        elif not message.get("more_body"):
            self.count()  # before the client has the whole answer and may read the metrics
        try:
            await self._send(message)
        except RuntimeError as error:  # uvloop's, after uvicorn closed a damaged connection
            raise ClientDisconnect from error

    def count(self) -> None:
        """Count the answer, unless that is done."""
        if not self._is_counted:
            seconds = time.perf_counter() - self._started
            self._metrics.count(self._endpoint, self.status or 500, seconds)
        self._is_counted = True


def _simplify(scope: Scope) -> Scope:
    """Treat HEAD, which probes use, as GET (the server drops the body), and ignore Range."""
    headers = [header for header in scope["headers"] if header[0] != b"range"]
    method = "GET" if scope["method"] == "HEAD" else scope["method"]
    return {**scope, "method": method, "headers": headers}
