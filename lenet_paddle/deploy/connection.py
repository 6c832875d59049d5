"""uvicorn's HTTP connection with limits on a request's head, of which uvicorn has none."""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD = 65_536  # bytes of a request line and its headers


class BoundedHttp(HttpToolsProtocol):
    """A connection that is closed when a request's head is too long or takes too long.

    What uvicorn itself says of a request that is no HTTP is JSON, too.
    """

    def __init__(self, *args: Any, head_seconds: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_seconds = head_seconds
        self._timer: asyncio.TimerHandle | None = None  # runs while a head is awaited
        self._head_bytes = 0

    def _await_head(self) -> None:
        self._stop_timer()
        message = f"no complete request came within {self._head_seconds:g} s"
        self._timer = self.loop.call_later(self._head_seconds, self._refuse, 408, message)
        self._head_bytes = 0

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def connection_made(self, transport: Any) -> None:
        """The first head must come soon."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is awaited any more."""
        self._stop_timer()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """A further head has begun, and must be complete soon."""
        super().on_message_begin()
        if self._timer is None:
            self._await_head()

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._stop_timer()
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """Count what is no complete head yet."""
        super().data_received(data)
        if self._timer is not None:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD:
                self._refuse(431, f"a request's head is longer than {MAX_HEAD:,} bytes")

    def send_400_response(self, msg: str) -> None:
        """What uvicorn calls for a request that is no HTTP."""
        self._refuse(400, msg)

    def _refuse(self, status: int, reason: str) -> None:
        self._stop_timer()
        body = json.dumps({"error": reason}).encode()
        head = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()
