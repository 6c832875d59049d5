"""POST /predict?many=1: the numbers on pictures, its limits, its documentation."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from number_pages import load_digits, make_pages
from serve_help import Server, assert_error, multipart, to_png, write_model

from lenet_paddle.export.pages import join_row
from lenet_paddle.export.predictor import Predictor
from lenet_paddle.serve import schemas


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of handwritten digits."""
    folder = write_model(tmp_path_factory.mktemp("model"))
    path = folder / "inference.yml"
    description = yaml.safe_load(path.read_text()) | {"preprocess": "digit"}
    path.write_text(yaml.safe_dump(description))
    return folder


@pytest.fixture(scope="module")
def server(model: Path) -> Iterator[Server]:
    started = Server(model, "--max-megapixels", 2, "--max-batch", 3)
    yield started
    status, errors = started.stop()
    assert status == 0 and errors == ""


@pytest.fixture(scope="module")
def pages() -> list[np.ndarray]:
    return [page.picture for page in make_pages(load_digits("val"), "plain", 2, seed=6)]


def to_text(picture: np.ndarray) -> str:
    return base64.b64encode(to_png(picture)).decode()


def test_the_server_finds_what_the_predictor_finds(
    server: Server, model: Path, pages: list[np.ndarray]
) -> None:
    pages = [pages[0], np.full((200, 300), 255, np.uint8)]
    body = multipart(*(to_png(page) for page in pages))
    headers = {"content-type": "multipart/form-data; boundary=x"}
    answer = server.client.post("/predict?many=1", content=body, headers=headers)
    assert answer.status_code == 200
    schemas.Pages.model_validate(answer.json())
    found, empty = answer.json()["pages"]
    assert empty == {"rows": [], "digits": []}
    expected = Predictor(model).read_page("", pages[0])
    assert found["rows"] == [join_row(row) for row in expected.rows]
    assert len(found["digits"]) == len(expected.digits) > 5
    for digit, other in zip(found["digits"], expected.digits, strict=True):
        same = other.to_dict()
        assert digit.pop("probability") == pytest.approx(same.pop("probability"), abs=1e-5)
        assert digit == same


def test_pictures_also_come_as_json_and_many_0_is_one_digit(server: Server) -> None:
    blank = to_text(np.full((40, 40), 255, np.uint8))
    for query, key in (("", "predictions"), ("?many=0", "predictions"), ("?many=1", "pages")):
        answer = server.client.post(f"/predict{query}", json={"images": [blank]})
        assert answer.status_code == 200 and list(answer.json()) == [key]


def test_limits_hold_for_pages(server: Server, pages: list[np.ndarray]) -> None:
    post = server.client.post
    large = to_text(np.full((1500, 1500), 255, np.uint8))
    assert_error(post("/predict?many=1", json={"images": [large]}), 413, "2 million")
    small = to_text(pages[0][:50, :50])
    assert_error(post("/predict?many=1", json={"images": [small] * 4}), 413, "3 pictures")
    assert_error(post("/predict?many=all", json={"images": [small]}), 400, "expected 0 or 1")
    assert_error(post("/predict?many=1", json={"images": ["aGVsbG8="]}), 400, "picture 1")


def test_a_page_of_blobs_does_not_stop_the_server(model: Path) -> None:
    grid = np.arange(800) % 35 < 25
    blobs = to_text(np.where(np.outer(grid, grid), 0, 255).astype(np.uint8))  # seconds of work
    server = Server(model, "--max-seconds", 1)
    try:
        answer = server.client.post("/predict?many=1", json={"images": [blobs]})
        assert_error(answer, 503, "1 s")
        answers = [
            server.client.post("/predict", json={"images": [to_text(np.eye(50, dtype=np.uint8))]})
            for _ in range(10)
        ]
        assert answers[-1].status_code == 200
    finally:
        server.stop()


def test_a_model_of_other_pictures_refuses_pages(tmp_path: Path, pages: list[np.ndarray]) -> None:
    server = Server(write_model(tmp_path))
    try:
        body = {"images": [to_text(pages[0])]}
        answer = server.client.post("/predict?many=1", json=body)
        assert_error(answer, 400, "handwritten digits")
    finally:
        server.stop()


def test_the_parameter_and_both_answers_are_documented(server: Server) -> None:
    post = server.client.get("/openapi.json").json()["paths"]["/predict"]["post"]
    [parameter] = post["parameters"]
    assert (parameter["name"], parameter["in"]) == ("many", "query")
    schema = post["responses"]["200"]["content"]["application/json"]["schema"]
    kinds = [part["$ref"].rpartition("/")[2] for part in schema["anyOf"]]
    assert kinds == ["Predictions", "Pages"]
