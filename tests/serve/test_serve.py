"""The server's answers: pictures, the protocol of KServe and Triton, limits."""

import base64
import gzip
import io
import json
import math
import re
import signal
import subprocess
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from serve_help import (
    CLASSES,
    WEIGHTS,
    Server,
    assert_error,
    encode,
    infer_request,
    multipart,
    read_answer,
    to_png,
    write_model,
)
from tools_help import assert_refused, tool, wait_for

from lenet_paddle.serve import app, protocol, schemas

LIMITS = [
    *("--max-body-mb", 0.2, "--max-megapixels", 0.5, "--max-batch", 8),
    *("--max-seconds", 2, "--max-queue", 4),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    started = Server(write_model(tmp_path_factory.mktemp("model")), "--workers", 2, *LIMITS)
    yield started
    status, errors = started.stop()
    assert status == 0 and errors == ""


@pytest.fixture(scope="module")
def digits():
    return np.random.default_rng(1).integers(0, 256, (5, 28, 28)).astype(np.uint8)


def reference_logits(digits):
    return ((digits.astype(np.float64) - 127.5) / 127.5).reshape(-1, 784) @ WEIGHTS


def reference_probs(digits):
    powers = np.exp(reference_logits(digits))
    return powers / powers.sum(1, keepdims=True)


def assert_predictions(predictions, digits):
    assert len(predictions) == len(digits)
    for row, digit, probs in zip(predictions, digits, reference_probs(digits), strict=True):
        assert row["class"] == CLASSES[probs.argmax()]
        assert list(row["probabilities"]) == list(CLASSES)
        np.testing.assert_allclose(list(row["probabilities"].values()), probs, atol=1e-5)
        assert row["probability"] == max(row["probabilities"].values())
        assert row["is_digit"] is None  # this model has no threshold
        seen = Image.open(io.BytesIO(base64.b64decode(row["seen"])))
        np.testing.assert_array_equal(np.asarray(seen), digit)


def test_pictures_by_multipart_are_answered_as_numpy_computes_them(server, digits):
    files = [("files", (f"{i}.png", to_png(digit))) for i, digit in enumerate(digits)]
    response = server.client.post("/predict", files=files[:1])
    assert_predictions(response.json()["predictions"], digits[:1])
    response = server.client.post("/predict", files=files, data={"note": "no file"})
    assert_predictions(response.json()["predictions"], digits)


def test_pictures_by_json_get_the_same_answers(server, digits):
    texts = [base64.b64encode(to_png(digit)).decode() for digit in digits]
    response = server.client.post("/predict", json={"images": texts})
    assert_predictions(response.json()["predictions"], digits)


def test_base64_may_have_line_breaks_and_be_a_data_url(server, digits):
    png = to_png(digits[0])
    plain, lines = base64.b64encode(png).decode(), base64.encodebytes(png).decode()
    texts = [lines, lines.replace("\n", "\r\n"), f"data:image/png;base64,{plain}"]
    texts += [f"data:;base64,{lines}", f" DATA:image/png;name=a.png;base64,{plain}"[1:]]
    response = server.client.post("/predict", json={"images": texts})
    assert_predictions(response.json()["predictions"], digits[[0] * 5])
    for text in (f"data:image/png,{png!r}", f"image/png;base64,{plain}", "data:", plain[:-1], "ä"):
        response = server.client.post("/predict", json={"images": [text]})
        assert_error(response, 400)


def pack(body, encoding):
    return zlib.compress(body) if encoding == "deflate" else gzip.compress(body)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "GZIP", "x-gzip"])
def test_compressed_requests_are_answered_like_others(server, digits, encoding):
    headers = {"content-encoding": encoding}
    body = json.dumps(infer_request()).encode()
    post = server.client.post
    packed = pack(body, encoding.lower())
    chunks = (packed[i : i + 40] for i in range(0, len(packed), 40))
    plain = post("/v2/models/lenet/infer", content=body).json()
    for content in (packed, chunks):
        assert post("/v2/models/lenet/infer", content=content, headers=headers).json() == plain
    headers["content-type"] = "multipart/form-data; boundary=x"
    packed = pack(multipart(to_png(digits[0])), encoding.lower())
    response = post("/predict", content=packed, headers=headers)
    assert_predictions(response.json()["predictions"], digits[:1])


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_tritonclient_may_compress(server, digits, algorithm):
    client_of = pytest.importorskip("tritonclient.http")
    client = client_of.InferenceServerClient(f"127.0.0.1:{server.port}")
    batch = ((digits[:, None].astype(np.float32) - 127.5) / 127.5).astype(np.float32)
    tensor = client_of.InferInput("image", list(batch.shape), "FP32")
    tensor.set_data_from_numpy(batch)
    ways = {"request_compression_algorithm": algorithm, "response_compression_algorithm": algorithm}
    logits = client.infer("lenet", [tensor], **ways).as_numpy("logits")
    np.testing.assert_allclose(logits, reference_logits(digits), atol=1e-4)


def test_requests_that_arrive_together_each_get_their_own_answer(server, digits):
    def ask(number):
        files = [("files", ("a.png", to_png(digits[i]))) for i in (number % 5, (number + 1) % 5)]
        return server.client.post("/predict", files=files)

    with ThreadPoolExecutor(4) as threads:
        responses = list(threads.map(ask, range(40)))
    for number, response in enumerate(responses):
        chosen = digits[[number % 5, (number + 1) % 5]]
        assert_predictions(response.json()["predictions"], chosen)


def test_a_large_picture_is_brought_to_28_pixels(server):
    picture = np.kron(np.eye(7, dtype=np.uint8) * 255, np.ones((40, 40), np.uint8))
    [row] = server.client.post("/predict", files={"files": to_png(picture)}).json()["predictions"]
    seen = np.asarray(Image.open(io.BytesIO(base64.b64decode(row["seen"]))))
    assert seen.shape == (28, 28) and seen[2, 2] > 200 and seen[2, 20] < 50


@pytest.mark.parametrize("value", [0, 128, 255])
def test_a_picture_in_which_nothing_is_written_has_no_class(server, digits, value):
    nothing = {"class": None, "probability": None, "probabilities": {}, "is_digit": None}
    for side in (28, 300):
        empty = to_png(np.full((side, side), value, np.uint8))
        files = [("files", ("a.png", file)) for file in (to_png(digits[0]), empty)]
        response = server.client.post("/predict", files=files)
        assert response.status_code == 200
        digit, row = response.json()["predictions"]
        assert_predictions([digit], digits[:1])
        assert {key: row[key] for key in nothing} == nothing and row["seen"]
        response = server.client.post("/features", files={"files": empty})
        answer = response.json()
        assert {key: answer[key] for key in nothing} == nothing and answer["features"]
        schemas.Features.model_validate(answer)


def test_feature_maps_come_scaled_to_uint8(server, digits):
    answer = server.client.post("/features", files={"files": to_png(digits[0])}).json()
    assert_predictions([answer], digits[:1])
    [feature] = answer["features"]
    maps = np.frombuffer(base64.b64decode(feature["data"]), np.uint8).reshape(feature["shape"])
    expected = np.maximum(digits[0] - 127.5, 0) / (digits[0].max() - 127.5) * 255
    np.testing.assert_allclose(maps[0], expected, atol=0.51)


def test_the_model_is_described_for_the_page(server):
    described = server.client.get("/model.json").json()
    assert described["classes"] == list(CLASSES) and described["preprocess"] == "resize"
    assert described["features"] == [{"name": "feature_1", "shape": [1, 28, 28]}]


def test_tritonclient_works_unchanged(server, digits):
    client_of = pytest.importorskip("tritonclient.http")
    client = client_of.InferenceServerClient(f"127.0.0.1:{server.port}")
    config = client.get_model_config("lenet")
    assert (config["name"], config["max_batch_size"]) == ("lenet", 8)
    assert config["input"] == [{"name": "image", "data_type": "TYPE_FP32", "dims": [1, 28, 28]}]
    assert config == client.get_model_config("lenet", "1")
    [listed] = client.get_model_repository_index()
    assert listed == {"name": "lenet", "version": "1", "state": "READY", "reason": ""}
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("lenet")
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    batch = ((digits[:, None].astype(np.float32) - 127.5) / 127.5).astype(np.float32)
    tensor = client_of.InferInput("image", list(batch.shape), "FP32")
    metadata = client.get_model_metadata("lenet")
    assert metadata["parameters"]["image_min"] == -1 and metadata["parameters"]["image_max"] == 1
    assert metadata["inputs"] == [{"name": "image", "datatype": "FP32", "shape": [-1, 1, 28, 28]}]
    for sends_binary in (True, False):
        tensor.set_data_from_numpy(batch, binary_data=sends_binary)
        outputs = [client_of.InferRequestedOutput("logits", binary_data=not sends_binary)]
        for wanted in (None, outputs):
            result = client.infer("lenet", [tensor], outputs=wanted, request_id="five")
            np.testing.assert_allclose(
                result.as_numpy("logits"), reference_logits(digits), atol=1e-4
            )
            assert result.get_response()["id"] == "five"
    result = client.infer("lenet", [tensor], model_version="1")
    assert result.as_numpy("logits").shape == (5, 3)
    tensor = client_of.InferInput("image", [1, 784], "FP32")
    tensor.set_data_from_numpy(np.zeros((1, 784), np.float32))
    with pytest.raises(Exception, match="expected the shape"):
        client.infer("lenet", [tensor])


def test_tritons_statistics_add_up_over_the_workers(server, digits):
    client_of = pytest.importorskip("tritonclient.http")
    client = client_of.InferenceServerClient(f"127.0.0.1:{server.port}")

    def read():
        names = ((), ("lenet",), ("lenet", "1"))
        answers = [client.get_inference_statistics(*name) for name in names]
        assert answers[0] == answers[1] == answers[2]
        return answers[0]["model_stats"][0]

    before = read()
    started = time.time()
    headers = {"connection": "close"}  # so that both workers answer some
    for _ in range(10):
        request = infer_request(shape=[2, 1, 28, 28], data=[0.5, -0.5] * 784)
        server.client.post("/v2/models/lenet/infer", json=request, headers=headers)
        server.client.post("/predict", files={"files": to_png(digits[0])}, headers=headers)
        server.client.post("/v2/models/lenet/infer", json={}, headers=headers)
    after = read()
    assert after["inference_count"] - before["inference_count"] == 30
    assert after["execution_count"] - before["execution_count"] == 20
    assert started - 1 <= after["last_inference"] / 1000 <= time.time() + 1
    stats = {
        name: {key: row[key] - before["inference_stats"][name][key] for key in row}
        for name, row in after["inference_stats"].items()
    }
    counts = {name: row["count"] for name, row in stats.items() if row["count"]}
    assert counts == {"success": 20, "fail": 10, "compute_infer": 20}
    assert all(0 < stats[name]["ns"] < (time.time() - started) * 1e9 for name in counts)
    assert stats["compute_infer"]["ns"] < stats["success"]["ns"]


RANGES = {  # what is sent, and whether the answer warns of it
    "normalised": ((-1, 1), False),
    "rounded": ((-1.0001, 1.0001), False),
    "0 to 1": ((0, 1), True),
    "0 to 255": ((0, 255), True),
    "standardised by mean and deviation": ((-0.42, 2.8), True),
    "below": ((-128, 0.5), True),
    "grey": ((0, 0), True),
}


@pytest.mark.parametrize("case", RANGES)
@pytest.mark.parametrize("is_binary", [False, True])
def test_tensors_that_do_not_seem_normalised_are_answered_with_a_warning(server, case, is_binary):
    bounds, warns = RANGES[case]
    values = np.linspace(*bounds, 784, dtype=np.float32)
    name = "lenet_range_warnings_total"
    before = read_metrics(server).get(name, 0)
    request = infer_request(data=values.tolist())
    request["parameters"] = {"binary_data_output": is_binary}
    response = server.client.post("/v2/models/lenet/infer", json=request)
    length = response.headers.get("inference-header-content-length")
    answer = json.loads(response.content[: int(length)] if is_binary else response.content)
    assert response.status_code == 200 and read_metrics(server).get(name, 0) == before + warns
    if not warns:
        assert "warning" not in response.headers and "parameters" not in answer
        return
    warning = answer["parameters"]["warning"]
    assert f"values from {bounds[0]:g} to {bounds[1]:g}; expected -1 to 1" in warning
    assert response.headers["warning"] == f'299 - "{warning}"'
    schemas.InferAnswer.model_validate(answer)


def test_with_strict_range_such_tensors_are_400(tmp_path):
    strict = Server(write_model(tmp_path), "--strict-range")
    post = strict.client.post
    request = infer_request(data=[0.0, 255.0] * 392)
    assert_error(post("/v2/models/lenet/infer", json=request), 400, "from 0 to 255; expected -1")
    request = infer_request(data=[-1.0, 1.0] * 392)
    response = post("/v2/models/lenet/infer", json=request)
    assert response.status_code == 200 and "parameters" not in response.json()
    assert read_metrics(strict)["lenet_range_warnings_total"] == 1
    assert strict.stop() == (0, "")


def test_tensors_may_be_nested_lists(server):
    flat = server.client.post("/v2/models/lenet/infer", json=infer_request()).json()
    nested = infer_request(data=np.full((1, 1, 28, 28), 0.5).tolist())
    assert server.client.post("/v2/models/lenet/infer", json=nested).json() == flat
    expected = np.full(784, 0.5) @ WEIGHTS
    np.testing.assert_allclose(flat["outputs"][0]["data"], expected, atol=1e-4)


@pytest.mark.parametrize(
    "changes",
    [
        {"data": [float("nan")] * 784},
        {"data": [float("inf")] * 784},
        {"data": [1e39] * 784},
        {"data": [3e38] * 784},
        {"data": [10**400] + [0] * 783},
        {"data": ["0.5"] * 784},
        {"data": [True] * 784},
        {"data": [0.5] * 783},
        {"data": [[0.5], [0.5, 0.5]]},
        {"data": None},
        {"data": {"a": 1}},
        {"shape": [1, 784]},
        {"shape": [0, 1, 28, 28], "data": []},
        {"shape": [-1, 1, 28, 28]},
        {"shape": [1.0, 1, 28, 28]},
        {"shape": [True, 1, 28, 28]},
        {"shape": "1,1,28,28"},
        {"datatype": "FP16"},
        {"datatype": ["FP32"]},
        {"name": "picture"},
        {"parameters": []},
        {"parameters": {"binary_data_size": 3136}},
        {"parameters": {"shared_memory_region": "x"}},
    ],
)
def test_tensors_that_do_not_fit_are_400(server, changes):
    body = json.dumps(infer_request(**changes))
    assert_error(server.client.post("/v2/models/lenet/infer", content=body), 400)


@pytest.mark.parametrize(
    ("body", "length"),
    [
        (b"", None),
        (b"{", None),
        (b"[]", None),
        (b"\xff\xfe", None),
        (b"[" * 100_000, None),
        (b'{"inputs": 3}', None),
        (b'{"inputs": [3]}', None),
        (json.dumps(infer_request() | {"id": 3}).encode(), None),
        (json.dumps(infer_request() | {"outputs": [{"name": "x"}]}).encode(), None),
        (json.dumps(infer_request() | {"parameters": {"binary_data_output": 1}}).encode(), None),
        (b"{}", "99"),
        (b"{}", "-1"),
        (b"{}", "two"),
        (b"{}", "9" * 5000),
        (json.dumps(infer_request()).encode() + b"more", str(len(json.dumps(infer_request())))),
    ],
)
def test_a_damaged_inference_request_is_400(server, body, length):
    headers = {} if length is None else {"Inference-Header-Content-Length": length}
    response = server.client.post("/v2/models/lenet/infer", content=body, headers=headers)
    assert_error(response, 400)


def test_a_body_that_is_one_tensor_is_answered_in_binary(server, digits):
    """The "raw binary request" of Triton's extension."""
    image = ((digits[0].astype(np.float32) - 127.5) / 127.5).reshape(1, 1, 28, 28)
    url, headers = "/v2/models/lenet/infer", {"Inference-Header-Content-Length": "0"}
    response = server.client.post(url, content=image.tobytes(), headers=headers)
    assert response.headers["content-type"] == "application/octet-stream"
    length = int(response.headers["inference-header-content-length"])
    [output] = json.loads(response.content[:length])["outputs"]
    assert output["shape"] == [1, 3] and output["parameters"] == {"binary_data_size": 12}
    logits = np.frombuffer(response.content[length:], "<f4")
    np.testing.assert_allclose(logits, image.ravel() @ WEIGHTS, rtol=1e-4, atol=1e-5)
    assert_error(server.client.post(url, content=image.tobytes()[:-4], headers=headers), 400)


def test_a_batch_above_the_limit_is_413(server, digits):
    shape = {"shape": [9, 1, 28, 28], "data": [0] * 784 * 9}
    response = server.client.post("/v2/models/lenet/infer", json=infer_request(**shape))
    assert_error(response, 413, "B from 1 to 8")
    files = [("files", ("a.png", to_png(digits[0])))] * 9
    assert_error(server.client.post("/predict", files=files), 413, "more than 8 pictures")
    texts = [base64.b64encode(to_png(digits[0])).decode()] * 9
    assert_error(server.client.post("/predict", json={"images": texts}), 413)
    assert_error(server.client.post("/features", files=files[:2]), 413, "more than one picture")


@pytest.mark.parametrize("kind", ["TIFF", "AVIF"])
def test_a_format_that_is_not_accepted_is_named(server, kind):
    file = encode(Image.new("L", (64, 64)), kind)
    response = server.client.post("/predict", files={"files": file})
    expected = f"picture 1: a file of format {kind}; expected PNG, JPEG, WEBP, GIF, BMP, HEIC"
    assert_error(response, 400, expected)


def test_heic_pictures_of_iphones_are_read(server):
    pytest.importorskip("pillow_heif").register_heif_opener()
    picture = Image.fromarray(np.kron(np.eye(7), np.ones((40, 40))) * 255).convert("L")
    responses = [
        server.client.post("/predict", files={"files": encode(picture, kind)})
        for kind in ("PNG", "HEIF")
    ]
    png, heic = [response.json()["predictions"][0] for response in responses]
    assert png["class"] == heic["class"]
    assert png["probability"] == pytest.approx(heic["probability"], abs=0.02)
    large = encode(Image.new("L", (1000, 600)), "HEIF")
    assert_error(server.client.post("/predict", files={"files": large}), 413, "1000 x 600")


def test_a_request_without_a_readable_picture_is_400_or_415(server, digits):
    png = to_png(digits[0])
    post = server.client.post
    assert_error(post("/predict", files={"files": b"not a picture"}), 400, "picture 1")
    assert_error(post("/predict", files={"files": png[:100]}), 400, "damaged")
    assert_error(post("/predict", files={"files": b"%!PS-Adobe-3.0 EPSF-3.0\n"}), 400)
    assert_error(post("/predict", json={"images": []}), 400, "no picture")
    assert_error(post("/predict", json={"images": ["%%%"]}), 400, "base64")
    assert_error(post("/predict", json={"images": "abc"}), 400)
    assert_error(post("/predict", content=png), 415)
    assert_error(post("/predict", content=png, headers={"content-encoding": "br"}), 415, "gzip")
    kinds = ("multipart/form-data", "multipart/form-data; boundary=x", "multipart/form-data; a")
    for kind in kinds:
        assert_error(post("/predict", content=b"--y\r\n", headers={"content-type": kind}), 400)


def test_a_picture_with_too_many_pixels_is_413_before_it_is_decoded(server):
    file = io.BytesIO()
    Image.new("1", (9000, 9000)).save(file, "PNG")
    response = server.client.post("/predict", files={"files": file.getvalue()})
    assert_error(response, 413, "9000 x 9000 pixels", "at most 0.5 million")


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_body_above_the_limit_is_413(server, is_chunked):
    body = bytes(300_000)
    content = (body[i : i + 50_000] for i in range(0, 300_000, 50_000)) if is_chunked else body
    assert_error(server.client.post("/predict", content=content), 413, "200,000 bytes")


def test_a_compressed_body_above_the_limit_or_damaged_is_refused(server):
    def post(content, encoding="gzip"):
        headers = {"content-encoding": encoding, "content-type": "application/json"}
        return server.client.post("/predict", content=content, headers=headers)

    whole = gzip.compress(b'{"images": []}')
    assert_error(post(whole), 400, "no picture")
    at_limit = gzip.compress(b'{"images": []}'.ljust(200_000))
    assert_error(post(at_limit), 400, "no picture")
    assert_error(post(gzip.compress(bytes(200_001))), 413, "200,000 bytes")
    assert_error(post(gzip.compress(bytes(100_000_000))), 413, "200,000 bytes")
    for damaged in (whole[:-1], whole[:-8], b"x" + whole, whole + b"x", whole * 2, b"{}", b""):
        assert_error(post(damaged), 400, "not gzip")
    assert_error(post(whole[:12] + b"\xff" * 9), 400, "damaged")


def test_an_endless_chunked_body_is_cut_off(server):
    head = b"POST /predict HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    with server.raw(head) as connection:
        sent = 0
        try:
            while sent < 50_000_000:
                connection.sendall(b"10000\r\n" + bytes(65_536) + b"\r\n")
                sent += 65_536
        except OSError:  # the server has closed it
            pass
    assert sent < 10_000_000


def test_a_slow_body_is_408(server):
    body = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nabc"
    with server.raw(body) as slow_body:
        assert read_answer(slow_body)[0] == 408


def test_a_request_that_is_not_http_is_400(server):
    with server.raw(b"Good morning\r\n\r\n") as connection:
        assert connection.recv(65_536).startswith(b"HTTP/1.1 400 ")


def test_a_full_queue_is_503_with_retry_after(server, digits):
    head = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\nconnection: close\r\n\r\n"
    waiting = [server.raw(head) for _ in range(12)]  # the two workers hold 4 each
    answers = [read_answer(connection) for connection in waiting]
    refused = [(top, answer) for status, top, answer in answers if status == 503]
    assert len(refused) >= 4 and {status for status, _, _ in answers} == {408, 503}
    for top, answer in refused:
        assert "retry-after: 1" in top and list(answer) == ["error"]
    response = server.client.post("/predict", files={"files": to_png(digits[0])})
    assert response.status_code == 200  # and all places are free again


def test_unknown_paths_and_methods_are_json_errors(server):
    assert_error(server.client.get("/v2/models/other"), 404)
    assert_error(server.client.get("/static/../app.py"), 404)
    assert_error(server.client.get("/static/%2e%2e/app.py"), 404)
    response = server.client.get("/predict")
    assert_error(response, 405)
    assert response.headers["allow"] == "POST"


def test_every_answer_has_the_security_headers(server):
    for response in (
        server.client.get("/v2"),
        server.client.get("/no"),
        server.client.get("/docs"),
    ):
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["x-frame-options"] == "DENY"
        assert "default-src 'self'" in response.headers["content-security-policy"]
        assert "server" not in response.headers
    assert "unsafe" not in server.client.get("/v2").headers["content-security-policy"]


@pytest.mark.parametrize("cors", ["https://example.org", "*"])
def test_pages_of_the_origin_named_with_cors_can_ask_and_no_others(tmp_path, server, cors):
    origin, allowed = {"origin": "https://example.org"}, "access-control-allow-origin"
    ask = {**origin, "access-control-request-method": "POST"}
    ask["access-control-request-headers"] = "content-type,inference-header-content-length"
    assert allowed not in server.client.get("/v2", headers=origin).headers
    assert server.client.options("/predict", headers=ask).status_code == 405
    open_server = Server(write_model(tmp_path), "--cors", cors)
    client = open_server.client
    preflight = client.options("/predict", headers=ask)
    assert preflight.status_code == 200 and preflight.headers[allowed] == cors
    asked = ask["access-control-request-headers"].split(",")
    assert set(asked) <= set(preflight.headers["access-control-allow-headers"].split(","))
    for response in (
        client.get("/v2", headers=origin),
        client.post("/predict", files={"files": b"no picture"}, headers=origin),
        client.post("/v2/models/lenet/infer", json=infer_request(), headers=origin),
    ):
        assert response.headers[allowed] == cors and "content-security-policy" in response.headers
        assert "warning" in response.headers["access-control-expose-headers"]
        assert "access-control-allow-credentials" not in response.headers
    elsewhere = client.get("/v2", headers={"origin": "https://example.org.evil.example"})
    assert elsewhere.headers.get(allowed) == ("*" if cors == "*" else None)
    status, errors = open_server.stop()
    assert status == 0 and ("every site" in errors) == (cors == "*")


def test_the_docs_need_nothing_from_elsewhere(server):
    page = server.client.get("/docs").text
    sources = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert sources and all(source.startswith("/docs/static/") for source in sources)
    assert all(server.client.get(source).status_code == 200 for source in sources)
    paths = server.client.get("/openapi.json").json()["paths"]
    assert {"/predict", "/features", "/v2", "/v2/models/lenet/infer"} <= set(paths)
    kinds = set(paths["/predict"]["post"]["requestBody"]["content"])
    assert kinds == {"multipart/form-data", "application/json"}


def test_answers_fit_the_documented_models(server, digits):
    document = server.client.get("/openapi.json").json()
    references = re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document))
    assert references and set(references) <= set(document["components"]["schemas"])
    png = to_png(digits[0])
    for model, path, files in (
        (schemas.Predictions, "/predict", {"files": png}),
        (schemas.Features, "/features", {"files": png}),
        (schemas.ModelDescription, "/model.json", None),
        (schemas.ServerMetadata, "/v2", None),
        (schemas.ModelMetadata, "/v2/models/lenet", None),
        (schemas.ModelConfig, "/v2/models/lenet/config", None),
        (schemas.Statistics, "/v2/models/lenet/stats", None),
        (schemas.Error, "/predict", {"files": b"damaged"}),
    ):
        response = server.client.request("POST" if files else "GET", path, files=files)
        model.model_validate(response.json())
    answer = server.client.post("/v2/models/lenet/infer", json=infer_request())
    schemas.InferAnswer.model_validate(answer.json())


def read_metrics(server):
    text = server.client.get("/metrics").text
    return {
        name: float(value) for name, value in re.findall(r"^(lenet\S+) (\S+)$", text, re.MULTILINE)
    }


def test_metrics_add_up_over_the_workers(server, digits):
    before = read_metrics(server)

    def ask(number):  # each on a connection of its own
        file = to_png(digits[0]) if number % 4 else b"damaged"
        headers = {"connection": "close"}
        return server.client.post("/predict", files={"files": file}, headers=headers)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(ask, range(40)))
    # An answer is counted before it is sent; the place that it held is free a little later.
    wait_for(lambda: read_metrics(server)["lenet_requests_in_work"] == 1)
    after = read_metrics(server)

    def grown(name):
        return after[name] - before.get(name, 0)

    assert grown('lenet_requests_total{endpoint="/predict",status="200"}') == 30
    assert grown('lenet_requests_total{endpoint="/predict",status="400"}') == 10
    assert grown('lenet_errors_total{endpoint="/predict"}') == 10
    assert grown('lenet_request_seconds_count{endpoint="/predict"}') == 40
    assert grown('lenet_request_seconds_bucket{endpoint="/predict",le="+Inf"}') == 40
    assert grown("lenet_batch_size_sum") == 30
    assert after["lenet_requests_in_work"] == 1  # the request for them itself


def test_unknown_paths_are_counted_as_one(server):
    for number in range(20):
        server.client.get(f"/nowhere/{number}")
    endpoints = {re.search(r'endpoint="([^"]*)"', name) for name in read_metrics(server)}
    assert {found[1] for found in endpoints if found} <= {
        *("/predict", "/features", "/model.json", "/metrics", "/docs", "/docs/static", "/static"),
        *("/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/lenet", "/openapi.json"),
        *("/v2/models/lenet/ready", "/v2/models/lenet/infer", "other", "/"),
        *(f"/v2/models/lenet/{end}" for end in ("config", "stats")),
        *(f"/v2/models/lenet/versions/1/{end}" for end in ("infer", "config", "stats")),
        *("/v2/models/stats", "/v2/repository/index"),
    }


def test_paddle_is_not_loaded(server):
    workers = server.workers()
    assert len(workers) == 2
    for pid in workers:
        assert "libpaddle" not in Path(f"/proc/{pid}/maps").read_text(encoding="utf-8")


def test_a_worker_that_dies_is_replaced_and_sigterm_lets_requests_end(tmp_path, digits):
    server = Server(write_model(tmp_path), "--max-seconds", 20)
    [worker] = server.workers()
    subprocess.run(["kill", "-9", str(worker)], check=True)
    wait_for(lambda: server.workers() not in ([], [worker]))
    body = b'--x\r\ncontent-disposition: form-data; name="a"; filename="a"\r\n\r\n'
    body += to_png(digits[0]) + b"\r\n--x--\r\n"
    head = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: multipart/form-data; boundary=x\r\n"
    head += b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
    assert server.client.get("/v2/health/live").json() == {"live": True}
    with server.raw(head + body[:50]) as connection:
        time.sleep(0.5)  # the worker has begun to read
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        connection.sendall(body[50:])
        status, _, answer = read_answer(connection)
    assert status == 200
    assert_predictions(answer["predictions"], digits[:1])
    status, errors = server.stop()
    assert status == 0 and errors.splitlines() == ["a worker died (status -9); starting another"]


def test_of_all_addresses_the_one_that_browsers_open_is_printed_first(tmp_path):
    open_server = Server(write_model(tmp_path), "--host", "0.0.0.0")
    said = f"http://127.0.0.1:{open_server.port} (listens on 0.0.0.0)"
    assert open_server.said == said
    assert open_server.client.get("/v2/health/live").json() == {"live": True}
    status, errors = open_server.stop()
    assert status == 0 and errors.count("\n") == 1 and "no password" in errors


def test_an_answer_holds_null_instead_of_nan():
    request = protocol.Inference(np.zeros((1, 1, 28, 28), np.float32), "é", False, None)
    body, _ = protocol.write_answer(request, np.ones((1, 10), np.float32))
    assert json.loads(body)["id"] == "é"
    answer = app._to_json({"probability": math.nan, "probabilities": {"猫": math.inf}})
    assert json.loads(answer.body) == {"probability": None, "probabilities": {"猫": None}}
    assert answer.headers["content-length"] == str(len(answer.body))


def test_what_cannot_be_served_is_one_line(tmp_path, server):
    assert_refused(tool("serve", "--model", tmp_path), "inference.yml")
    model = write_model(tmp_path)
    assert_refused(tool("serve", "--model", model, "--port", server.port), "in use")
    assert_refused(tool("serve", "--model", model, "--workers", 0), "workers is 0")
    for origin in ("example.org", "https://example.org/", "null", "https://a\nb", ""):
        done = tool("serve", "--model", model, "--cors", origin)
        assert_refused(done, "cors is", "such as https://example.org")
    (model / "model.onnx").write_bytes(b"damaged")
    done = tool("serve", "--model", model, "--host", "0.0.0.0", "--port", 0)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 2
    assert "no password" in done.stderr and "damaged exported model" in done.stderr


def test_a_calibrated_model_says_which_pictures_are_digits(tmp_path, digits):
    path = write_model(tmp_path) / "inference.yml"
    scores = np.sort(reference_logits(digits).max(axis=1))
    threshold = float(scores[1:3].mean())
    calibration = {"temperature": 2.0, "threshold": threshold, "num_images": 100}
    text = path.read_text()
    path.write_text(text + yaml.safe_dump({"calibration": calibration}))
    server = Server(tmp_path)
    empty = np.zeros((28, 28), np.uint8)
    files = [("files", ("a.png", to_png(picture))) for picture in (*digits, empty)]
    response = server.client.post("/predict", files=files)
    rows = schemas.Predictions.model_validate(response.json()).predictions
    expected = [bool(s >= threshold) for s in reference_logits(digits).max(axis=1)]
    assert [row.is_digit for row in rows] == [*expected, False] and sum(expected) == 3
    assert all(row.class_ is not None for row in rows[:-1])
    for digit, wanted in zip(digits, expected, strict=True):
        answer = server.client.post("/features", files={"files": to_png(digit)}).json()
        assert answer["is_digit"] is wanted
    status, errors = server.stop()
    assert status == 0 and errors == ""
    path.write_text(text + "calibration: {temperature: .nan, threshold: 1, num_images: 1}\n")
    done = tool("serve", "--model", tmp_path)
    assert_refused(done, "inference.yml: calibration: temperature is nan")


@pytest.mark.slow
def test_the_paddle_engine_is_served_by_several_workers(tmp_path):
    from lenet_paddle import Predictor, build_model, load_dataset
    from lenet_paddle.export.export import export_inference

    images = load_dataset("mnist", "test").take(slice(0, 64))
    info = {"preprocess": "digit", "dataset": "mnist"}
    export_inference(build_model("lenet_builtin"), tmp_path / "model", images, 28, info)
    server = Server(tmp_path / "model", "--engine", "paddle", "--workers", 2)
    digits = images.images[:5]
    expected = Predictor(tmp_path / "model", "paddle").predict(digits)
    for digit, probs in zip(digits, expected, strict=True):
        response = server.client.post("/predict", files={"files": to_png(digit)})
        [row] = response.json()["predictions"]
        np.testing.assert_allclose(list(row["probabilities"].values()), probs, atol=1e-6)
    response = server.client.post("/features", files={"files": to_png(digits[0])})
    assert_error(response, 404, "without its feature maps")
    status, errors = server.stop()
    assert status == 0 and errors == ""


@pytest.mark.slow
def test_schemathesis_finds_nothing(server, tmp_path):
    pytest.importorskip("schemathesis")
    from sys import executable

    command = [str(Path(executable).with_name("schemathesis")), "run", "--max-examples", "30"]
    # No schema can say which texts are the base64 of a picture.
    command += ["--exclude-checks", "positive_data_acceptance", "--seed", "1"]
    command += [f"{server.url}/openapi.json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
