"""Attacks on the server: each gets a proper answer or a closed connection.

After each one the same process answers the next good request, and its memory stays bounded.
Attacks that only a proxy holds off are in test_proxy_attacks.py, random damage is in
test_serve_fuzz.py, mistakes of an honest client are in test_serve.py.
"""

import contextlib
import json
import re
import socket
import struct
import time
import zlib

import numpy as np
import pytest
from marks import slow
from PIL import Image
from serve_help import (
    Server,
    assert_error,
    encode,
    forget_peak,
    http,
    http_pictures,
    infer_request,
    multipart,
    read_answer,
    read_memory,
    to_png,
    write_model,
)
from tools_help import wait_for

SECONDS = 2  # the server's --max-seconds
GET = b"GET /v2 HTTP/1.1\r\nhost: x\r\n"
POST = b"POST /predict HTTP/1.1\r\nhost: x\r\n"
CHUNKED = POST + b"transfer-encoding: chunked\r\n"
INFER = "/v2/models/lenet/infer"
MULTIPART = "multipart/form-data; boundary=x"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def server(model):
    started = Server(model, "--max-seconds", SECONDS)
    yield started
    status, errors = started.stop()
    assert status == 0 and errors == ""  # no traceback, and nothing in an attacker's words


@pytest.fixture(autouse=True)
def survives(server, request):
    """After each attack a small and a large picture are answered, by the worker that was there."""
    [worker] = server.workers()
    forget_peak(worker)
    before, _ = read_memory(worker)
    yield
    assert_serves(server)
    assert server.workers() == [worker]
    _, most = read_memory(worker)
    assert most - before < (1000 if request.node.get_closest_marker("slow") else 250)


def assert_serves(server):
    for side in (28, 200):
        file = to_png(np.zeros((side, side), np.uint8))
        assert server.client.post("/predict", files={"files": file}).status_code == 200
    assert server.client.get("/").status_code == server.client.get("/metrics").status_code == 200


def answers(connection):
    """(status, body) of each answer on a connection that is closed after the last."""
    received = b""
    with contextlib.suppress(ConnectionError):
        while part := connection.recv(65_536):
            received += part
    found = []
    while received:
        head, _, rest = received.partition(b"\r\n\r\n")
        length = int(re.search(rb"content-length: (\d+)", head)[1])
        found.append((int(head.split()[1]), rest[:length]))
        received = rest[length:]
    return found


def test_by_default_only_this_machine_can_ask(server):
    assert server.url.startswith("http://127.0.0.1:")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # sends nothing, but finds this machine's other address
        address = probe.getsockname()[0]
    if not address.startswith("127."):
        with pytest.raises(ConnectionError):
            socket.create_connection((address, server.port), timeout=5)


# --- time ---

TRICKLES = {  # what is sent at first, what then over and over, and the statuses of the answers
    "a body": (POST + b"content-length: 9999\r\n\r\n", b"b", [408]),
    "chunks": (CHUNKED + b"\r\n", b"1\r\nb\r\n", [408]),
    "an extension of a chunk": (CHUNKED + b"\r\n1;", b"b", [408]),
    "a trailer": (CHUNKED + b"\r\n0\r\na: ", b"b", [408]),
}


def test_slow_bodies_are_cut_off(server):
    started = time.monotonic()
    slow = {name: server.raw(start) for name, (start, _, _) in TRICKLES.items()}
    for _ in range(round(2.5 * SECONDS / 0.25)):
        time.sleep(0.25)
        for name, connection in slow.items():
            with contextlib.suppress(OSError):  # closed already
                connection.sendall(TRICKLES[name][1])
    for name, connection in slow.items():
        assert [status for status, _ in answers(connection)] == TRICKLES[name][2], name
        connection.close()
    assert time.monotonic() - started < 4 * SECONDS + 5


def test_clients_that_disconnect_leave_no_traceback(server):
    small, large = http(b"/"), http(b"/docs/static/swagger-ui-bundle.js")
    picture = http_pictures(b"/predict", to_png(np.zeros((200, 200), np.uint8)))
    for request in (small * 9, large * 9, picture * 9, picture[:-9], small * 9 + b"garbage\r\n"):
        for _ in range(10):
            server.raw(request).close()
    with server.raw(small + b"garbage\r\n") as connection:
        assert answers(connection)[-1][0] == 400
    # The module's server says at its end that its log is empty.


# --- HTTP that two readers may understand in two ways ---


@pytest.mark.parametrize(
    "request_",
    [
        POST + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        CHUNKED + b"content-length: 5\r\n\r\n0\r\n\r\n",
        CHUNKED + b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        POST + b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
        POST + b"transfer-encoding: identity\r\n\r\n0\r\n\r\n",
        POST + b"content-length: 5\r\ncontent-length: 6\r\n\r\nabcdef",
        POST + b"content-length: 5\r\ncontent-length: 5\r\n\r\nabcde",
        POST + b"content-length: 1, 1\r\n\r\na",
        POST + b"content-length: +1\r\n\r\na",
        POST + b"content-length: -1\r\n\r\na",
        POST + b"content-length: 99999999999999999999999\r\n\r\n",
        CHUNKED + b"\r\nzz\r\n\r\n",
        CHUNKED + b"\r\n-1\r\n\r\n",
        CHUNKED + b"\r\nfffffffffffffffff\r\n\r\n",
        GET + b"a : b\r\n\r\n",
        GET + b"a: b\r\n c\r\n\r\n",
        GET + b"a: b\0c\r\n\r\n",
        b"GET /v2 HTTP/1.1\nhost: x\n\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"CONNECT example.com:80 HTTP/1.1\r\nhost: x\r\n\r\n",
        b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03" + bytes(100),
        b"GET /\xff HTTP/1.1\r\n\r\n",
    ],
)
def test_ambiguous_or_broken_http_is_400_and_the_end_of_the_connection(server, request_):
    with server.raw(request_ + GET + b"\r\n") as connection:
        assert [status for status, _ in answers(connection)] == [400]


def test_a_body_longer_than_it_says_is_no_second_request(server):
    body = multipart(to_png(np.zeros((28, 28), np.uint8)))
    head = POST + b"content-type: multipart/form-data; boundary=x\r\ncontent-length: %d\r\n\r\n"
    with server.raw(head % len(body) + body + b"more") as connection:
        assert [status for status, _ in answers(connection)][-1] == 400


def test_old_and_odd_requests_are_answered_once(server):
    for request in (
        b"GET /v2 HTTP/1.0\r\n\r\n",
        http(b"http://elsewhere.example/v2", b"", b"connection: close"),
        http(b"/v2", b"", b"connection: upgrade, close", b"upgrade: websocket"),
        http(b"/v2", b"", b"connection: upgrade, close", b"upgrade: h2c"),
    ):
        with server.raw(request) as connection:
            assert [status for status, _ in answers(connection)] == [200]


def test_an_offered_upgrade_is_refused_with_the_reason(server):
    """The parser loses the body behind such a head; behind nginx the offer does not arrive."""
    offer = b"connection: Upgrade\r\nupgrade: h2c\r\n"
    body = multipart(to_png(np.zeros((28, 28), np.uint8)))
    head = POST + offer + b"content-type: multipart/form-data; boundary=x\r\n"
    with server.raw(head + b"content-length: %d\r\n\r\n" % len(body) + body) as connection:
        status, head, answer = read_answer(connection)
    assert status == 400 and "Upgrade is not supported" in answer["error"]
    with server.raw(GET + offer + b"\r\n" + GET + b"\r\n") as connection:
        assert [status for status, _ in answers(connection)] == [200]


# --- paths ---


@pytest.mark.parametrize(
    "path",
    [
        *("/static/%00", "/docs/static/%00", "/static/..%2f..%2fapp.py", "/static/%2e%2e/app.py"),
        *("/static//etc/passwd", "/static/..%5c..%5capp.py", "/static/....//app.py", "/static/"),
        *("/static", "/static/" + "a" * 5000, "/static/" + "a/" * 5000, "/static/%ff%fe"),
        *("/static/%ed%a0%80", "/static/%0d%0aa:%20b", "/v2/models/..%2f..%2fetc", "//", "/%2f"),
        *("/predict/", "/docs/static/../../static", "/*"),
    ],
)
def test_odd_paths_are_404(server, path):
    with server.raw(http(path.encode(), b"", b"connection: close")) as connection:
        status, head, answer = read_answer(connection)
    assert status == 404 and list(answer) == ["error"] and "location" not in head


def test_no_answer_names_the_host_that_the_client_names(server):
    for path in (b"/", b"/docs", b"/predict/", b"/v2/", b"/static", b"/openapi.json"):
        for host in (b"evil.example", b"[", b"\xff:99999999"):
            request = b"GET %s HTTP/1.1\r\nhost: %s\r\nconnection: close\r\n\r\n" % (path, host)
            with server.raw(request) as connection:
                [(status, body)] = answers(connection)
            assert status in (200, 404) and b"evil" not in body


@pytest.mark.parametrize("ranges", ["5-2", "9" * 30 + "-", "0-," * 4000, "-" + "9" * 5000, "x"])
def test_a_range_is_ignored(server, ranges):
    whole = server.client.get("/")
    part = server.client.get("/", headers={"range": f"bytes={ranges}"})
    assert part.status_code == 200 and part.content == whole.content


# --- bodies ---


def test_a_body_that_is_announced_too_large_is_413_at_once(server):
    for length in (41_000_000, 10**15):
        with server.raw(POST + b"content-length: %d\r\n\r\n" % length) as connection:
            status, _, answer = read_answer(connection)
        assert status == 413 and list(answer) == ["error"]


@pytest.mark.parametrize(
    "kind",
    [
        *("", "text/plain", "image/png", "application/x-www-form-urlencoded", "multipart/mixed"),
        *("multipart/form-data", "multipart/form-data; boundary=" + "x" * 12_000),
        *("multipart/form-data; boundary*=utf-9'%ff", "multipart/form-data; boundary=\xe9\xff"),
        *("multipart/form-data; boundary*0*=zz''%ff; boundary*x=1", ';"\\' * 4000, "a*1=;" * 3000),
    ],
)
def test_a_wrong_content_type_is_400_or_415(server, kind):
    for path in ("/predict", "/features"):
        headers = {"content-type": kind.encode("latin-1")}
        response = server.client.post(path, content=multipart(b"a"), headers=headers)
        assert_error(response, response.status_code)
        assert response.status_code == (400 if kind.startswith("multipart/form") else 415)


@pytest.mark.parametrize(
    "part",
    [
        *(b'; a="' + b'\\";' * 3_000_000 + b'"', b";" * 9_000_000, b"; a*1=1" * 1_200_000),
        *(b"\r\na: b" * 1_500_000, b"\r\n" * 4_500_000, b'; filename="a"' * 600_000),
    ],
)
def test_damaged_multipart_is_400(server, part):
    body = b"--x\r\ncontent-disposition: form-data" + part + b"\r\n\r\na\r\n--x--\r\n"
    response = server.client.post("/predict", content=body, headers={"content-type": MULTIPART})
    assert_error(response, 400)


@pytest.mark.parametrize(
    "body",
    [
        *(b'{"images":[' + b"{}," * 3_000_000 + b"{}]}", b"[" * 9_000_000, b"9" * 9_000_000),
        *(b'{"images":["' + b"\\ud800" * 1_500_000 + b'"]}', b'{"images":["\xff"]}'),
    ],
)
def test_hostile_json_is_400(server, body):
    response = server.client.post(
        "/predict", content=body, headers={"content-type": "application/json"}
    )
    assert_error(response, 400)


@pytest.mark.parametrize("encoding", ["gzip", slow("deflate")])
def test_a_packed_bomb_is_refused_before_it_is_unpacked(server, encoding):
    packer = zlib.compressobj(9, wbits=31 if encoding == "gzip" else 15)
    zeros = bytes(1_000_000)
    bomb = b"".join(packer.compress(zeros) for _ in range(2000)) + packer.flush()
    assert len(bomb) < 2_000_000  # of two gigabytes
    for kind in ("application/json", MULTIPART):
        headers = {"content-encoding": encoding, "content-type": kind}
        started = time.monotonic()
        response = server.client.post("/predict", content=bomb, headers=headers)
        assert_error(response, 413, "10,000,000 bytes")
        assert time.monotonic() - started < SECONDS


def test_an_endless_body_that_unpacks_to_nothing_is_cut_off(server):
    blocks = b"\0\0\0\xff\xff" * 20_000  # stored, of no byte each
    with server.raw(CHUNKED + b"content-encoding: deflate\r\n\r\n") as connection:
        connection.sendall(b"2\r\n\x78\x01\r\n")
        sent = 0
        with contextlib.suppress(OSError):  # the server has closed it
            while sent < 100_000_000:
                connection.sendall(b"%x\r\n%s\r\n" % (len(blocks), blocks))
                sent += len(blocks)
    assert 10_000_000 < sent < 60_000_000


# --- tensors ---


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1" * 400])
def test_numbers_that_are_none_are_400(server, number):
    body = json.dumps(infer_request()).replace("0.5", number, 1)
    assert_error(server.client.post(INFER, content=body), 400)


@pytest.mark.parametrize(
    "data",
    [
        ["a" * 1_000_000, *[""] * 783],  # NumPy would make it 3 GB
        [0.5] * 783 + ["a" * 5_000_000],
        [[0.5] * 783, [0.5]],  # as many as there should be, but not in rows of one length
        [[0.5] * 392, 0.5],
        [0.5] * 783 + [None],
        [[]] * 784,
        "0" * 784,
        {str(i): 0.5 for i in range(784)},
    ],
)
def test_data_that_are_no_tensor_are_400(server, data):
    assert_error(server.client.post(INFER, json=infer_request(data=data)), 400)


@pytest.mark.parametrize(
    ("values", "changes"),
    [
        (np.full(784, np.nan), {}),
        (np.full(784, np.inf), {}),
        (np.full(784, -np.inf), {}),
        (np.zeros(783), {}),
        (np.zeros(784), {"shape": [2, 1, 28, 28]}),
        (np.zeros(784), {"shape": [2**62, 1, 28, 28]}),
        (np.zeros(784), {"shape": [1, 28, 28]}),
        (np.zeros(784), {"datatype": "FP64"}),
        (np.zeros(784), {"datatype": "BYTES"}),
        (np.zeros(784), {"parameters": {"binary_data_size": -3136}}),
        (np.zeros(784), {"parameters": {"binary_data_size": 3136.0}}),
        (np.zeros(784), {"parameters": {"binary_data_size": "3136"}}),
    ],
)
def test_binary_tensors_that_do_not_fit_are_refused(server, values, changes):
    new = {"data": None, "parameters": {"binary_data_size": values.size * 4}, **changes}
    head = json.dumps(infer_request(**new)).encode()
    response = server.client.post(
        INFER,
        content=head + values.astype("<f4").tobytes(),
        headers={"inference-header-content-length": str(len(head))},
    )
    assert_error(response, 413 if "shape" in changes and changes["shape"][0] > 64 else 400)


# --- pictures ---


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, colour=0, bits=8, extra=b"", zeros=None):
    """A black PNG of any size; `zeros` are the bytes within."""
    bytes_a_pixel = {0: 1, 2: 3, 4: 2, 6: 4}[colour] * bits // 8
    data = bytes((width * bytes_a_pixel + 1) * height if zeros is None else zeros)
    head = png_chunk(b"IHDR", struct.pack(">2I5B", width, height, bits, colour, 0, 0, 0))
    body = png_chunk(b"IDAT", zlib.compress(data, 9)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + head + extra + body


def gif(width, height, extra=b"", frame=(0, 0, 1, 1)):
    head = b"GIF89a" + struct.pack("<HH", width, height) + b"\x80\0\0" + bytes(6) + extra
    return head + b"," + struct.pack("<4H", *frame) + b"\0\x02\x02\x44\x01\0;"


def jpeg_of_scans(count, side=28):
    """A progressive JPEG whose last scan comes again and again."""
    data = encode(Image.new("L", (side, side)), "JPEG", progressive=True)
    start = data.rindex(b"\xff\xda")
    return data[:start] + data[start:-2] * count + b"\xff\xd9"


def encode_heic(width, height):
    pytest.importorskip("pillow_heif").register_heif_opener()
    return encode(Image.new("L", (width, height)), "HEIF")


def post_pictures(server, *files):
    headers = {"content-type": MULTIPART}
    return server.client.post("/predict", content=multipart(*files), headers=headers)


BMP = struct.pack("<2s3I3i2H6I", b"BM", 100, 0, 54, 40, 60_000, -60_000, 1, 8, *[0] * 6)
ZEROS = zlib.compress(bytes(1_000_000), 9)
BOMBS = {  # a picture, and the status of its answer
    "100 million pixels of zeros": (lambda: png(10_000, 10_000), 413),
    "a PNG that says 2 ** 31 a side": (lambda: png(2**31 - 1, 2**31 - 1, zeros=9), 413),
    "a PNG 70,000 wide": (lambda: png(70_000, 1), 413),
    "a PNG 70,000 high": (lambda: png(1, 70_000), 413),
    "a GIF that says 65,535": (lambda: gif(65_535, 65_535), 413),
    "a frame beyond its GIF": (lambda: gif(9, 9, frame=(60_000, 60_000, 65_535, 65_535)), 413),
    "a BMP that says 60,000": (lambda: BMP, 413),
    "a WebP of 26 million pixels": (lambda: encode(Image.new("L", (16_383, 1600)), "WEBP"), 413),
    "more data than pixels": (lambda: png(28, 28, zeros=200_000_000), 200),
    "texts in a PNG": (lambda: png(28, 28, extra=png_chunk(b"zTXt", b"a\0\0" + ZEROS) * 80), 400),
    "a large text in a PNG": (
        lambda: png(28, 28, extra=png_chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(100_000_000)))),
        400,
    ),
    "a large colour profile": (
        lambda: png(28, 28, extra=png_chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(100_000_000)))),
        400,
    ),
    "a HEIC of 26 million pixels": (lambda: encode_heic(6500, 4000), 413),
    "a HEIC cut short": (lambda: encode_heic(64, 64)[:300], 400),
    "a TIFF": (lambda: encode(Image.new("L", (28, 28)), "TIFF"), 400),
    "a JPEG of 101 scans": (lambda: jpeg_of_scans(101), 400),
    "a JPEG of 200,000 scans": (lambda: jpeg_of_scans(200_000, 2000), 400),
    "half a million frames": (lambda: gif(9, 9)[:-1] + gif(9, 9)[19:-1] * 500_000, 200),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_bombs(server, bomb):
    make, status = BOMBS[bomb]
    file = make()
    assert len(file) < 9_900_000  # within the limit of bytes
    response = post_pictures(server, file)
    assert response.status_code == status
    if status != 200:
        assert_error(response, status, "picture 1: ")


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame_is_read(server, kind):
    frames = [Image.new("L", (200, 200), i) for i in range(100)]
    file = encode(frames[0], kind, save_all=True, append_images=frames[1:])
    assert post_pictures(server, file).status_code == 200


@pytest.mark.parametrize(
    "make",
    [
        lambda: gif(9, 9, extra=b"!\xfe\1a\0" * 1_900_000),
        lambda: png(28, 28, extra=png_chunk(b"aaAa", b"") * 800_000),
        lambda: encode(Image.new("L", (9, 9)), "JPEG").replace(
            b"\xff\xdb", b"\xff\xe5\0\2" * 2_400_000 + b"\xff\xdb", 1
        ),
    ],
    ids=["comments of a GIF", "chunks of a PNG", "markers of a JPEG"],
)
def test_a_picture_of_a_million_empty_parts_does_not_stall_others_for_long(server, make):
    started = time.monotonic()
    assert_error(post_pictures(server, make()), 503)
    assert_serves(server)
    assert time.monotonic() - started < 3 * SECONDS + 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("colour", "bits", "count"),
    [(0, 8, 1), (0, 8, 64), (0, 16, 1), (2, 8, 1), (4, 8, 1), (6, 8, 1), (6, 16, 1)],
)
def test_the_largest_pictures_take_less_than_a_gigabyte(server, colour, bits, count):
    response = post_pictures(server, *[png(5000, 5000, colour, bits)] * count)
    assert response.status_code in (200, 503)
    small = to_png(np.zeros((200, 200), np.uint8))  # what takes too long goes on for a while
    wait_for(lambda: post_pictures(server, small).status_code == 200, 20)
