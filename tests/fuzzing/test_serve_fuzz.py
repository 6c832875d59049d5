"""Send random requests to a server: damaged bytes, and JSON of every form.

LENET_PADDLE_FUZZ_SECONDS=600 gives each of the two tests that many seconds; the default is 5. A
failure names the seed; earlier findings are in test_serve_attacks.py.
"""

import json
import os
import random
import re
import time
from base64 import b64encode
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from PIL import Image
from serve_help import (
    Server,
    encode,
    http,
    http_pictures,
    infer_request,
    read_memory,
    write_model,
)

SECONDS = float(os.environ.get("LENET_PADDLE_FUZZ_SECONDS", 0)) or 5.0
LIMITS = ["--max-megapixels", 1, "--max-batch", 8, "--max-seconds", 2, "--max-body-mb", 1]
PICTURES = [
    encode(Image.new(mode, size, 50), kind)
    for kind in ("PNG", "JPEG", "GIF", "WEBP", "BMP")
    for mode, size in (("L", (28, 28)), ("RGB", (40, 30)))
]
GOOD = [
    *(http(path) for path in (b"/", b"/v2", b"/metrics", b"/docs", b"/static/page/main.js")),
    *(http_pictures(b"/predict", file) for file in PICTURES),
    http_pictures(b"/predict", *PICTURES[:4]),
    http_pictures(b"/features", PICTURES[0]),
    http(
        b"/predict",
        json.dumps({"images": [b64encode(PICTURES[0]).decode()]}).encode(),
        b"content-type: application/json",
    ),
    http(b"/v2/models/lenet/infer", json.dumps(infer_request()).encode()),
    http(
        b"/v2/models/lenet/infer",
        json.dumps(infer_request(data=None, parameters={"binary_data_size": 3136})).encode()
        + bytes(3136),
        b"inference-header-content-length: 133",
    ),
    b"POST /v2/models/lenet/infer HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    b"2;a=b\r\n{}\r\n0\r\na: b\r\n\r\n",
]
PIECES = [
    *(b"\r\n", b"\r", b"\n", b"\0", b"\xff", b"%00", b"..%2f", b"--x\r\n", b"[" * 50, b"NaN", b'"'),
    *(b"1e999", b"-1", b"0", b"99999999999999999999", b"\xff\xd8", b"\xff\xda", b"IDAT", b"acTL"),
    *(b"transfer-encoding: chunked\r\n", b"content-length: 5\r\n", b"expect: 100-continue\r\n"),
    *(b"connection: upgrade\r\nupgrade: h2c\r\n", b"content-encoding: gzip\r\n", b" HTTP/1.0"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    started = Server(write_model(tmp_path_factory.mktemp("model")), *LIMITS)
    [worker] = started.workers()
    yield started
    assert started.workers() == [worker]
    memory, most = read_memory(worker)
    print(f"memory {memory:.0f}, at most {most:.0f} million bytes")
    assert most < 400
    status, errors = started.stop()
    assert status == 0 and errors == ""


def damage(chance):
    """Return a good request damaged in one to six places."""
    request = chance.choice(GOOD)
    head_size = request.index(b"\r\n\r\n")
    keeps_head = chance.random() < 0.6
    start = head_size + 4 if keeps_head and len(request) > head_size + 4 else 0
    for _ in range(chance.randint(1, 6)):
        at = chance.randint(start, len(request))
        end = min(len(request), at + chance.choice((0, 1, 1, 2, 4, 30)))
        piece = chance.choice(
            (
                *(chance.choice(PIECES), chance.randbytes(chance.randint(1, 4)), request[at:end]),
                *(b"", request[at:end] * 20, chance.choice(GOOD)[-200:]),
            )
        )
        request = request[:at] + piece + request[end:]
    if keeps_head:  # or little but the reading of heads would be tried
        length = b"content-length: %d" % max(0, len(request) - head_size - 4)
        request = re.sub(rb"content-length: \d+", length, request, count=1)
    return request


def ask(server, request):
    """Return everything that the server sends; it must close the connection in time."""
    received = b""
    with server.raw(b"") as connection:
        connection.settimeout(0.05)
        try:
            connection.sendall(request)
            while part := connection.recv(65_536):
                received += part
        except TimeoutError:  # it awaits more, or a further request
            connection.settimeout(10)
            try:
                connection.shutdown(1)
                while part := connection.recv(65_536):
                    received += part
            except ConnectionError:
                pass
        except ConnectionError:
            pass
    return received


def assert_proper(received):
    """Check that there is no answer, or that the first is complete and an error has one line."""
    if not received:
        return None
    head, _, rest = received.partition(b"\r\n\r\n")
    status = int(re.match(rb"HTTP/1\.1 (\d{3}) ", head)[1])
    if status == 100:
        return assert_proper(rest)
    assert status < 500 or status == 503
    assert b"Traceback" not in received
    length = re.search(rb"content-length: (\d+)", head)
    body = rest[: int(length[1])] if length else b""
    is_refusal = (status, body) == (400, b"Invalid HTTP request received.")  # uvicorn's own
    if status >= 400 and len(body) == int(length[1]) and body and not is_refusal:
        assert list(json.loads(body)) == ["error"] and b"\n" not in body
    return status


def test_damaged_requests_get_a_proper_answer_or_none(server):
    def try_one(number):
        request = damage(random.Random(number))
        try:
            return assert_proper(ask(server, request))
        except Exception as error:
            raise AssertionError(f"seed {number}: {request[:2000]!r}") from error

    end, number, statuses = time.monotonic() + SECONDS, 0, Counter()
    with ThreadPoolExecutor(8) as threads:
        while time.monotonic() < end:
            statuses.update(threads.map(try_one, range(number, number + 40)))
            number += 40
            assert server.client.get("/v2/health/live").json() == {"live": True}
    print(f"{number} requests; {dict(statuses)}")
    assert statuses[200] and statuses[400]


numbers = st.one_of(
    st.integers(), st.floats(), st.sampled_from([2**63, -(10**400), 1e308, -0.0, 784, 3136])
)
anything = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, st.text(max_size=20)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=5), st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=20,
)
changes = st.fixed_dictionaries(
    {},
    optional={
        "shape": st.one_of(st.just([2, 1, 28, 28]), st.lists(numbers, max_size=6), anything),
        "data": st.one_of(
            st.lists(numbers, min_size=784, max_size=784),
            anything.map(lambda value: [value] * 784),
            anything,
        ),
        "parameters": st.one_of(
            st.fixed_dictionaries({}, optional={"binary_data_size": anything}), anything
        ),
    },
)
infer_requests = st.fixed_dictionaries(
    {"inputs": st.one_of(changes.map(lambda new: infer_request(**new)["inputs"]), anything)},
    optional={
        "id": st.one_of(st.text(), anything),
        "parameters": st.fixed_dictionaries(
            {"binary_data_output": st.one_of(st.booleans(), anything)}
        ),
        "outputs": st.one_of(st.just([]), st.just([{"name": "logits"}]), anything),
    },
)
texts = st.one_of(
    st.sampled_from(PICTURES).map(lambda file: b64encode(file).decode()),
    st.binary().map(lambda file: b64encode(file).decode()),
    st.text(),
)
picture_requests = st.fixed_dictionaries(
    {"images": st.one_of(st.lists(texts, min_size=1, max_size=9), anything)}
)
requests = st.one_of(
    st.tuples(st.just("/v2/models/lenet/infer"), infer_requests),
    st.tuples(st.sampled_from(["/predict", "/features"]), picture_requests),
    st.tuples(st.sampled_from(["/predict", "/v2/models/lenet/infer"]), anything),
)


@pytest.mark.slow
def test_json_of_every_form_gets_a_proper_answer(server):
    counts = Counter()

    @settings(max_examples=200, deadline=None, database=None, suppress_health_check=HealthCheck)
    @given(
        request=requests,
        length=st.one_of(st.none(), st.integers(), st.just("two"), st.just("whole")),
    )
    def ask_json(request, length):
        path, request = request
        headers = {"content-type": "application/json"}
        body = json.dumps(request).encode()  # with NaN and Infinity, which Python writes and reads
        if length is not None:
            whole = len(body) if length == "whole" else length
            headers["inference-header-content-length"] = str(whole)
        response = server.client.post(path, content=body, headers=headers)
        counts[response.status_code] += 1
        assert response.status_code in (200, 400, 413)
        if response.status_code != 200:
            assert list(response.json()) == ["error"] and "\n" not in response.json()["error"]

    end, number = time.monotonic() + SECONDS, 0
    while time.monotonic() < end:
        number += 1
        seed(number)(ask_json)()
    print(f"{counts.total()} requests; {dict(counts)}")
    assert counts[200] and counts[400]
