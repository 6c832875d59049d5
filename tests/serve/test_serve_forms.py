"""The server of a model for colour pictures, and of one for large ones."""

import base64
import io
import json
import re

import numpy as np
import pytest
from PIL import Image
from serve_help import (
    CLASSES,
    Server,
    assert_error,
    draw_weights,
    encode,
    forget_peak,
    infer_request,
    read_memory,
    to_png,
    write_model,
)

from lenet_paddle import normalise
from lenet_paddle.data.folder import load_folder
from lenet_paddle.data.preprocess import prepare_picture
from lenet_paddle.serve import schemas

INFER = "/v2/models/lenet/infer"
SIDE, LARGE = 64, 224


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    started = Server(write_model(tmp_path_factory.mktemp("model"), 3, SIDE), "--max-batch", 8)
    yield started
    assert started.stop() == (0, "")


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    started = Server(write_model(tmp_path_factory.mktemp("model"), 3, LARGE))
    yield started
    assert started.stop() == (0, "")


@pytest.fixture(scope="module")
def pictures():
    return np.random.default_rng(1).integers(0, 256, (5, SIDE, SIDE, 3)).astype(np.uint8)


def reference_logits(pictures):
    flat = normalise(pictures, pictures.shape[1]).reshape(len(pictures), -1)
    return flat.astype(np.float64) @ draw_weights(3, pictures.shape[1])


def ask(server, *files, path="/predict"):
    response = server.client.post(path, files=[("files", ("a", file)) for file in files])
    assert response.status_code == 200, response.text
    return response.json()


def seen_of(row):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(row["seen"]))))


def assert_predictions(rows, pictures):
    powers = np.exp(reference_logits(pictures))
    expected = powers / powers.sum(1, keepdims=True)
    for row, picture, probs in zip(rows, pictures, expected, strict=True):
        np.testing.assert_array_equal(seen_of(row), picture)
        assert row["class"] == CLASSES[probs.argmax()]
        np.testing.assert_allclose(list(row["probabilities"].values()), probs, atol=1e-5)


def test_colour_pictures_are_answered_as_numpy_computes_them(server, pictures):
    rows = ask(server, *map(to_png, pictures))["predictions"]
    assert_predictions(rows, pictures)
    assert_predictions(ask(server, to_png(pictures[0]))["predictions"], pictures[:1])


def test_any_picture_becomes_colour_of_the_models_size(server, rng):
    grey = rng.integers(0, 256, (SIDE, SIDE), dtype=np.uint8)
    photo = rng.integers(0, 256, (90, 150, 3), dtype=np.uint8)
    small = rng.integers(0, 256, (20, 9, 3), dtype=np.uint8)
    clear = np.dstack([photo, np.full(photo.shape[:2], 255, np.uint8)])
    expected = [np.dstack([grey] * 3)]
    expected += [prepare_picture(each, "resize", SIDE) for each in (photo, small, photo)]
    rows = ask(server, *map(to_png, (grey, photo, small, clear)))["predictions"]
    assert_predictions(rows, np.stack(expected))
    jpeg = encode(Image.fromarray(photo), "JPEG")
    decoded = np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"))
    assert_predictions(
        ask(server, jpeg)["predictions"], prepare_picture(decoded, "resize", SIDE)[None]
    )


def test_a_large_jpeg_is_prepared_as_for_training(server, rng, tmp_path):
    """The pictures of a folder are decoded at reduced size; so are those of the server."""
    small = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    for name in ("a/1", "a/2", "b/1"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        small.resize((500, 375)).save(tmp_path / f"{name}.jpg")
    trained = load_folder("train", tmp_path, test_size=1, channels=3, image_size=SIDE)
    rows = ask(server, (tmp_path / trained.names[0]).read_bytes())["predictions"]
    assert_predictions(rows, trained.images[:1])


def test_a_picture_of_one_colour_has_a_class(server):
    red = np.zeros((1, SIDE, SIDE, 3), np.uint8)
    red[..., 0] = 255
    assert_predictions(ask(server, to_png(red[0]))["predictions"], red)


def test_feature_maps_have_the_models_size(server, pictures):
    answer = ask(server, to_png(pictures[0]), path="/features")
    schemas.Features.model_validate(answer)
    [feature] = answer["features"]
    assert feature["shape"] == [3, SIDE, SIDE]
    maps = np.frombuffer(base64.b64decode(feature["data"]), np.uint8).reshape(feature["shape"])
    positive = np.maximum(pictures[0].transpose(2, 0, 1) - 127.5, 0)
    expected = positive / positive.max(axis=(1, 2), keepdims=True) * 255
    np.testing.assert_allclose(maps, expected, atol=0.51)


def test_the_page_learns_the_form(server):
    described = server.client.get("/model.json").json()
    schemas.ModelDescription.model_validate(described)
    assert described["image_size"] == SIDE and described["input"]["shape"] == [-1, 3, SIDE, SIDE]


def test_metadata_give_channels_and_size(server):
    about = server.client.get("/v2/models/lenet").json()
    assert about["inputs"][0]["shape"] == [-1, 3, SIDE, SIDE]
    assert about["parameters"]["image_channels"] == "RGB"
    config = server.client.get("/v2/models/lenet/config").json()
    assert config["input"][0]["dims"] == [3, SIDE, SIDE] and config["max_batch_size"] == 8


def test_tritonclient_sends_colour_tensors(server, pictures):
    client_of = pytest.importorskip("tritonclient.http")
    client = client_of.InferenceServerClient(f"127.0.0.1:{server.port}")
    batch = normalise(pictures, SIDE)
    tensor = client_of.InferInput("image", list(batch.shape), "FP32")
    for sends_binary in (True, False):
        tensor.set_data_from_numpy(batch, binary_data=sends_binary)
        logits = client.infer("lenet", [tensor]).as_numpy("logits")
        np.testing.assert_allclose(logits, reference_logits(pictures), atol=1e-3)


def test_a_body_that_is_one_colour_tensor_is_answered_in_binary(server, pictures):
    body, headers = (
        normalise(pictures[:1], SIDE).tobytes(),
        {"Inference-Header-Content-Length": "0"},
    )
    response = server.client.post(INFER, content=body, headers=headers)
    length = int(response.headers["inference-header-content-length"])
    logits = np.frombuffer(response.content[length:], "<f4")
    np.testing.assert_allclose(logits, reference_logits(pictures[:1])[0], atol=1e-3)


@pytest.mark.parametrize(
    "shape", [[2, 1, SIDE, SIDE], [2, 3, 28, 28], [2, SIDE, SIDE, 3], [3, SIDE, SIDE], [1] * 99_999]
)
def test_a_batch_of_another_form_is_one_line_that_says_what_came_and_the_mend(server, shape):
    request = infer_request(shape=shape, data=[0.5, -0.5])
    response = server.client.post(INFER, json=request)
    came = re.sub(r", \d+\]$", "", str(shape[:6]))
    words = (came, f"expected the shape [B, 3, {SIDE}, {SIDE}]", "RGB pictures", "POST /predict")
    assert_error(response, 400, *words)
    assert len(response.json()["error"]) < 300


@pytest.mark.parametrize(
    ("low", "high", "warns"),
    [(-1, 1, False), (0, 1, True), (0, 255, True), (-2.1, 2.64, True)],
    ids=["normalised", "0 to 1", "0 to 255", "by ImageNet's mean and deviation"],
)
def test_colour_tensors_that_do_not_seem_normalised_are_answered_with_a_warning(
    server, low, high, warns
):
    values = np.linspace(low, high, 3 * SIDE * SIDE, dtype=np.float32)
    request = infer_request(shape=[1, 3, SIDE, SIDE], data=values.tolist())
    response = server.client.post(INFER, json=request)
    assert response.status_code == 200 and ("warning" in response.headers) == warns


def test_a_batch_of_large_pictures_is_run_in_parts(large, rng):
    name = re.compile(r"^lenet_batch_size_(count|sum) (\S+)$", re.MULTILINE)
    before = dict(name.findall(large.client.get("/metrics").text))
    pictures = rng.integers(0, 256, (12, LARGE, LARGE, 3), dtype=np.uint8)
    files = [encode(Image.fromarray(picture), "WEBP", lossless=True) for picture in pictures]
    assert_predictions(ask(large, *files)["predictions"], pictures)
    after = dict(name.findall(large.client.get("/metrics").text))
    grown = {key: float(value) - float(before.get(key, 0)) for key, value in after.items()}
    assert grown == {"count": 3, "sum": 12}


def test_as_many_large_tensors_as_fit_a_body_are_taken(large, rng):
    config = large.client.get("/v2/models/lenet/config").json()
    count = config["max_batch_size"]
    assert count == 10_000_000 // (4 * 3 * LARGE * LARGE)
    pictures = rng.integers(0, 256, (count, LARGE, LARGE, 3), dtype=np.uint8)
    batch = normalise(pictures, LARGE)

    def post(batch):
        changes = {"shape": batch.shape, "parameters": {"binary_data_size": batch.nbytes}}
        head = json.dumps(infer_request(data=None, **changes)).encode()
        headers = {"inference-header-content-length": str(len(head))}
        return large.client.post(INFER, content=head + batch.tobytes(), headers=headers)

    logits = np.reshape(post(batch).json()["outputs"][0]["data"], (count, 3))
    np.testing.assert_allclose(logits, reference_logits(pictures), atol=1e-2)
    assert_error(post(np.concatenate([batch, batch[:1]])), 413, "send several requests")
    zeros = infer_request(shape=[count + 1, 3, LARGE, LARGE], data=[])
    assert_error(large.client.post(INFER, json=zeros), 413, f"B from 1 to {count}")


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_the_largest_pictures_take_less_than_a_gigabyte(large, mode):
    [worker] = large.workers()
    forget_peak(worker)
    before, _ = read_memory(worker)
    assert ask(large, encode(Image.new(mode, (5000, 5000), "teal"), "PNG"))["predictions"]
    assert read_memory(worker)[1] - before < 1000
