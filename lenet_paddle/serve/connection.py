"""uvicorn's HTTP connection with limits of bytes and time, of which uvicorn has few.

What a client may send beside a body's bytes, how long it may take over a head, and how long over
reading its answer: whoever goes beyond is told so, or the connection is closed.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from lenet_paddle.serve.limits import HEADERS, POLICY

MAX_HEAD = 16_384  # bytes of a request line and its headers
MAX_HEADERS = 100
MAX_AHEAD = 16  # requests on one connection that wait for their answers
MAX_CONNECTIONS = 4096  # of one worker; fewer where the system allows it fewer open files
SPARE_FILES = 64  # beside the connections: listeners, metrics, the page's files


def allow_connections() -> int:
    """How many connections this process can hold; raises its limit of open files for them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_CONNECTIONS + SPARE_FILES
    if 0 <= soft < wanted:  # infinity is -1
        soft = wanted if hard < 0 else min(hard, wanted)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        return max(1, soft - SPARE_FILES)
    return MAX_CONNECTIONS


class BoundedHttp(HttpToolsProtocol):
    """A connection that is closed when a head is too long or takes too long, or an answer is not
    read. What uvicorn itself says of a request that is no HTTP is JSON, too.

    Trailers, the header Range, and offers of another protocol (Upgrade, which Java's client makes
    with every request) are passed over: nothing here has a use for them.
    """

    def __init__(
        self,
        *args: Any,
        seconds: float,
        max_connections: int,
        count_refusal: Callable[[int], None],
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._seconds, self._max_connections = seconds, max_connections
        self._count_refusal = count_refusal
        self._timer: asyncio.TimerHandle | None = None  # runs while a head is awaited
        self._reading: asyncio.TimerHandle | None = None  # runs while the client does not read
        self._in_head = self._got_on = False
        self._head_bytes = 0
        self._loose_bytes = 0  # since the last that was whole: a head, a part of a body, its end
        self._unanswered: deque[RequestResponseCycle] = deque()
        self._fed = self._again = b""  # what the parser has, and what it is to read again

    def connection_made(self, transport: Any) -> None:
        """The first head must come soon, and every answer must be taken."""
        super().connection_made(transport)
        if len(self.connections) > self._max_connections:
            self._refuse(503, "too many connections; try again")
        else:
            self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is awaited any more."""
        self._give_up()
        self._end_reading()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what is neither a whole head nor part of a body."""
        self._got_on, self._again = False, data
        while self._again:
            self._fed, self._again = self._again, b""
            super().data_received(self._fed)
        self._fed = b""
        self._loose_bytes = 0 if self._got_on else self._loose_bytes + len(data)
        if self._loose_bytes > MAX_HEAD:
            self._refuse(431, f"a request's head is longer than {MAX_HEAD:,} bytes")

    def on_message_begin(self) -> None:
        """A head has begun, and must be complete soon."""
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0
        if not self._unanswered:
            self._await_head()

    def on_url(self, url: bytes) -> None:
        """Keep the request's line, within limits."""
        self._count_head(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header, within limits."""
        self._count_head(len(name) + len(value) + 4)  # ": " and the end of the line
        if self._in_head and name.lower() != b"range":
            super().on_header(name, value)
        if len(self.headers) > MAX_HEADERS:
            self._refuse(431, f"a request has more than {MAX_HEADERS} headers")
            raise ValueError  # the parser stops

    def on_headers_complete(self) -> None:
        """The head is there."""
        if len(self._unanswered) >= MAX_AHEAD:
            self._refuse(400, f"more than {MAX_AHEAD} requests ahead of their answers")
            raise ValueError  # the parser stops
        if self.parser.get_method() == b"CONNECT":
            self._refuse(400, "CONNECT asks a proxy for a tunnel, this is none")
            raise ValueError  # the parser would take a body for a request
        if self.parser.should_upgrade():
            return  # the parser stops behind this head, and is given it again without the offer
        self._stop_timer()
        self._in_head, self._got_on = False, True
        super().on_headers_complete()
        self._unanswered.append(self.cycle)

    def on_body(self, body: bytes) -> None:
        """A part of a body."""
        self._got_on = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The end of a request."""
        self._got_on = True
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """The rest of the request, and the next one's head, must come soon."""
        if self._unanswered:
            self._unanswered.popleft()
        super().on_response_complete()
        if self.transport.is_closing():
            self._await_reading()
        elif not self._unanswered:
            self._await_head()

    def timeout_keep_alive_handler(self) -> None:
        """Nothing came after the last answer."""
        self._close()

    def pause_writing(self) -> None:
        """The client does not read as fast as it is written to."""
        super().pause_writing()
        self._await_reading()

    def resume_writing(self) -> None:
        """The client has read on."""
        super().resume_writing()
        if not self.transport.is_closing():
            self._end_reading()

    def _unsupported_upgrade_warning(self) -> None:
        """What uvicorn calls where the parser, a body or not, has stopped behind a head: RFC 9110,
        7.8, lets a server go on as if the other protocol had not been offered."""
        stopped: Any = sys.exc_info()[1]  # says how far it has read
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        lines = [b"%s %s HTTP/%s" % (method, self.url, version)]
        lines += [b"%s: %s" % header for header in self.headers if header[0] != b"upgrade"]
        self._again = b"\r\n".join([*lines, b"", b""]) + self._fed[stopped.args[0] :]
        self.parser = httptools.HttpRequestParser(self)  # the old one may take it to be closed
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does

    def send_400_response(self, msg: str) -> None:
        """What uvicorn calls for a request that is no HTTP."""
        self._refuse(400, msg)

    def _count_head(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > MAX_HEAD:
            self._refuse(431, f"a request's head is longer than {MAX_HEAD:,} bytes")
            raise ValueError  # the parser stops

    def _await_head(self) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(self._seconds, self._end_wait)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end_wait(self) -> None:
        if self._in_head or self.cycle is None:
            self._refuse(408, f"no complete request came within {self._seconds:g} s")
        else:  # the last request has been answered: there is nothing to say
            self._close()

    def _await_reading(self) -> None:
        self._end_reading()
        self._reading = self.loop.call_later(self._seconds, self.transport.abort)

    def _end_reading(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def _close(self) -> None:
        self.transport.close()
        self._await_reading()

    def _give_up(self) -> None:
        """Whoever still works at an answer is told that nobody waits for it."""
        self._stop_timer()
        for cycle in self._unanswered:
            cycle.disconnected = True
            cycle.message_event.set()
        self._unanswered.clear()

    def _refuse(self, status: int, reason: str) -> None:
        if self.transport.is_closing():
            return
        is_begun = any(cycle.response_started for cycle in self._unanswered)
        is_idle = status == 408 and not self._in_head  # nothing has been asked for
        if not self._unanswered and not is_idle:  # what is unanswered is counted as given up
            self._count_refusal(status)
        self._give_up()
        if not is_begun:  # else it would stand within that answer
            body = json.dumps({"error": reason}).encode()
            headers = [
                (b"content-type", b"application/json"),
                (b"content-length", b"%d" % len(body)),
                (b"connection", b"close"),
                (b"content-security-policy", POLICY.encode()),
                *HEADERS,
                *([(b"retry-after", b"1")] if status == 503 else []),
            ]
            line = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}".encode()
            lines = [line, *(b"%s: %s" % header for header in headers)]
            self.transport.write(b"\r\n".join([*lines, b"", body]))
        self._close()
