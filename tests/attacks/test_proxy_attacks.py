"""Attacks that docs/nginx.conf holds off, sent through nginx; the next good request is answered.

The server alone does not bound what is listed here; SECURITY.md says so.
"""

import contextlib
import json
import re
import resource
import shutil
import socket
import ssl
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from serve_help import (
    Server,
    http,
    http_pictures,
    httpx,
    multipart,
    read_memory,
    to_png,
    write_model,
)
from tools_help import wait_for

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("nginx"), reason="nginx is not installed"),
    pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not installed"),
]
SECONDS = 2  # the timeouts of nginx and the server
CONF = Path(__file__).parents[2] / "docs" / "nginx.conf"
GET = b"GET /v2 HTTP/1.1\r\nhost: x\r\n"
POST = b"POST /predict HTTP/1.1\r\nhost: x\r\n"
CHUNKED = POST + b"transfer-encoding: chunked\r\n"
PICTURE = to_png(np.zeros((28, 28), np.uint8))


class Proxy:
    """nginx with docs/nginx.conf, its ports and seconds changed, in front of a server."""

    def __init__(self, folder, server):
        self.server = server
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
        command += " -addext subjectAltName=IP:127.0.0.1 -keyout key.pem -out cert.pem"
        subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
        text = CONF.read_text(encoding="utf-8")
        text = text.replace("127.0.0.1:8443", f"127.0.0.1:{self.port}")
        text = text.replace("127.0.0.1:8000", f"127.0.0.1:{server.port}")
        text, count = re.subn(r"_timeout 10s;", f"_timeout {SECONDS}s;", text)
        assert count == 4
        (folder / "nginx.conf").write_text(text, encoding="utf-8")
        command = ["nginx", "-p", folder, "-c", folder / "nginx.conf", "-e", "stderr"]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        self.context = ssl.create_default_context(cafile=folder / "cert.pem")
        self.client = httpx.Client(
            base_url=f"https://127.0.0.1:{self.port}", verify=self.context, timeout=20
        )
        wait_for(self.is_up)

    def is_up(self):
        try:
            return self.client.get("/v2/health/live").status_code == 200
        except httpx.TransportError:
            return False

    def raw(self, text):
        """A connection on which `text` has been sent."""
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        connection = self.context.wrap_socket(plain, server_hostname="127.0.0.1")
        connection.sendall(text)
        return connection

    def stop(self):
        self.client.close()
        self.process.terminate()
        self.process.wait(20)


@pytest.fixture(scope="module")
def proxy(tmp_path_factory):
    model = write_model(tmp_path_factory.mktemp("model"))
    server = Server(model, "--max-seconds", SECONDS)
    started = Proxy(tmp_path_factory.mktemp("nginx"), server)
    yield started
    started.stop()
    status, errors = server.stop()
    assert status == 0 and errors == ""


@pytest.fixture(autouse=True)
def survives(proxy):
    """After each attack the next good request is answered, by the worker that was there."""
    [worker] = proxy.server.workers()
    before, _ = read_memory(worker)
    yield
    # nginx needs a moment to notice that an attacker's connections are closed
    wait_for(lambda: post_picture(proxy).status_code == 200, 20)
    assert proxy.server.workers() == [worker]
    now, _ = read_memory(worker)
    assert now - before < 50


def post_picture(proxy):
    try:
        return proxy.client.post("/predict", files={"files": PICTURE})
    except httpx.TransportError:
        return httpx.Response(503)


def receive(connection):
    """All bytes until the connection ends."""
    received = b""
    with contextlib.suppress(OSError):
        while part := connection.recv(65_536):
            received += part
    return received


def statuses(received):
    return [int(found) for found in re.findall(rb"HTTP/1\.1 (\d{3}) ", received)]


@pytest.mark.parametrize(
    ("start", "piece", "expected"),
    [
        (b"", b"", []),
        (b"\r\n", b"\r\n", []),
        (GET + b"a: ", b"b", []),
        (GET + b"\r\n" + GET + b"a: ", b"b", [200]),
        (GET + b"\r\n", b"\r\n", [200]),
    ],
    ids=["nothing", "empty lines", "a head", "a second head", "empty lines after an answer"],
)
def test_slow_heads_end(proxy, start, piece, expected):
    started = time.monotonic()
    with proxy.raw(start) as connection:
        connection.settimeout(0.25)
        received, is_open = b"", True
        while is_open and time.monotonic() - started < 4 * SECONDS + 5:
            try:
                connection.sendall(piece)
                part = connection.recv(65_536)
                received, is_open = received + part, bool(part)
            except TimeoutError:
                pass
            except OSError:
                is_open = False
    assert not is_open
    assert [status for status in statuses(received) if status not in (400, 408)] == expected


def test_slow_bodies_take_no_place_in_the_queue(proxy):
    slow = [proxy.raw(POST + b"content-length: 9999\r\n\r\nabc") for _ in range(60)]
    metrics = proxy.server.client.get("/metrics").text
    assert "lenet_requests_in_work 1.0" in metrics  # the request for the metrics
    assert post_picture(proxy).status_code == 200
    for connection in slow:
        connection.close()


def test_clients_that_do_not_read_are_cut_off(proxy):
    [worker] = proxy.server.workers()
    files = Path(f"/proc/{worker}/fd")
    before = len(list(files.iterdir()))
    large = http(b"/docs/static/swagger-ui-bundle.js")
    connections = []
    for _ in range(20):
        plain = socket.socket()
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        plain.connect(("127.0.0.1", proxy.port))
        connection = proxy.context.wrap_socket(plain, server_hostname="127.0.0.1")
        connection.sendall(large * 4)
        connections.append(connection)
    assert post_picture(proxy).status_code == 200
    wait_for(lambda: len(list(files.iterdir())) <= before + 4, 4 * SECONDS + 10)
    for connection in connections:
        connection.close()


@pytest.mark.parametrize(
    ("start", "piece"),
    [
        (b"GET /v2 HTTP/1.1\r\na: ", b"b"),
        (b"GET /", b"b"),
        (b"GET /v2 HTTP/1.1\r\n", b"a: b\r\n"),
        (POST + b"content-length: 9\r\n\r\nabcdefghi" + GET + b"a: ", b"b"),
        (CHUNKED + b"\r\n1;", b"b"),
        (CHUNKED + b"\r\n", b"1;" + b"b" * 60_000 + b"\r\nb\r\n"),
        (CHUNKED + b"\r\n0\r\na: ", b"b"),
        (CHUNKED + b"\r\n0\r\n", b"a: b\r\n"),
        (GET + b"content-length: 99999999999\r\n\r\n", b"b"),
    ],
)
def test_an_endless_flood_does_not_reach_the_server(proxy, start, piece):
    """nginx ends it, or reads it without memory while others are answered."""
    piece *= 65_536 // len(piece)
    started = time.monotonic()
    with proxy.raw(start) as connection, contextlib.suppress(OSError):
        connection.settimeout(1)
        while time.monotonic() - started < 2 * SECONDS:
            connection.sendall(piece)
    assert post_picture(proxy).status_code == 200


def test_a_head_has_at_most_16_kb(proxy):
    for request in (http(b"/v2", b"", b"a: " + b"b" * 17_000), http(b"/v2?" + b"a" * 17_000)):
        with proxy.raw(request) as connection:
            assert statuses(receive(connection)) in ([400], [414])
    assert proxy.client.get("/v2", headers=[("a", "b" * 100)] * 90).status_code == 200


def test_requests_sent_ahead_are_answered_in_order(proxy):
    last = http(b"/v2", b"", b"connection: close")
    with proxy.raw(http(b"/v2/health/live") * 99 + last) as connection:
        received = receive(connection)
    assert statuses(received) == [200] * 100 and received.count(b'{"live": true}') == 99


def test_an_address_has_at_most_64_connections(proxy):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 1100:
        pytest.skip("a process may not have 1,000 open files here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1100), hard))
    # A connection counts from its first whole head on.
    connections = [proxy.raw(POST + b"content-length: 9\r\n\r\n") for _ in range(300)]
    [worker] = proxy.server.workers()
    assert len(list(Path(f"/proc/{worker}/fd").iterdir())) < 150
    found = [statuses(receive(connection)) for connection in connections]
    for connection in connections:
        connection.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert sum(status == [503] for status in found) >= 200
    assert {tuple(status) for status in found} <= {(503,), (408,), ()}


@pytest.mark.parametrize("size", [1, 7, 10**6])
@pytest.mark.parametrize("is_chunked", [False, True])
def test_an_offered_upgrade_is_ignored_and_the_body_read(proxy, size, is_chunked):
    """Java's client offers one with every request over plain HTTP."""
    body = multipart(PICTURE)
    offer = POST + b"content-type: multipart/form-data; boundary=x\r\nconnection: Upgrade\r\n"
    offer += b"Upgrade: h2c\r\n"
    if is_chunked:
        offer += b"transfer-encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    else:
        offer += b"content-length: %d\r\n\r\n%s" % (len(body), body)
    last = http(b"/v2", b"", b"connection: upgrade, close", b"upgrade: h2c")
    text = offer + GET + b"connection: upgrade\r\nupgrade: a\r\n\r\n" + offer + last
    with proxy.raw(b"") as connection:
        for start in range(0, len(text), size):
            connection.sendall(text[start : start + size])
        received = receive(connection)
    assert statuses(received) == [200, 200, 200, 200]
    assert received.count(b'"predictions"') == 2


def test_a_body_behind_a_tunnel_is_no_request(proxy):
    head = b"CONNECT / HTTP/1.1\r\nhost: x\r\ncontent-length: 99\r\n\r\n"
    with proxy.raw(head + http(b"/v2")) as connection:
        found = statuses(receive(connection))
    assert found in ([400], [405])


def test_a_refusal_does_not_stand_within_an_answer(proxy):
    file = proxy.client.get("/static/drawing.js").content
    for _ in range(20):
        with proxy.raw(http(b"/static/drawing.js")) as connection:
            received = connection.recv(65_536)
            connection.sendall(b"\0\r\n\r\n")
            received += receive(connection)
        body = received.partition(b"\r\n\r\n")[2]
        assert file.startswith(body[: len(file)])
        assert not body[len(file) :] or body[len(file) :].startswith(b"HTTP/1.1 400")


def test_answers_keep_their_status_and_headers(proxy):
    """JSON errors of the server, security headers, binary tensors pass unchanged."""
    damaged = proxy.client.post("/predict", files={"files": b"damaged"})
    assert damaged.status_code == 400 and list(json.loads(damaged.content)) == ["error"]
    assert "default-src 'self'" in damaged.headers["content-security-policy"]
    with proxy.raw(http_pictures(b"/predict", PICTURE)) as connection:
        assert b'"predictions"' in connection.recv(65_536)
    tensor = np.zeros(784, "<f4").tobytes()
    headers = {"Inference-Header-Content-Length": "0"}
    answer = proxy.client.post("/v2/models/lenet/infer", content=tensor, headers=headers)
    length = int(answer.headers["inference-header-content-length"])
    assert len(answer.content) == length + 12


def test_tls_is_required(proxy):
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=20) as connection:
        connection.sendall(http(b"/v2", b"", b"connection: close"))
        assert statuses(receive(connection)) == [400]
