"""The files with which the page explains a network, as the server gives them."""

from __future__ import annotations

from pathlib import Path

import pytest
from serve_help import Server, assert_error, write_model

from lenet_paddle.export.explainer import FILES


def test_the_files_that_are_there_are_named_and_served_unread(tmp_path: Path) -> None:
    model = write_model(tmp_path)
    content = {"network.json": b'{"layers": [[', "digits.png": b"\x89PNG no picture"}
    (model / "explainer").mkdir()
    for name, data in content.items():
        (model / "explainer" / name).write_bytes(data)
    server = Server(model)
    try:
        assert server.client.get("/model.json").json()["explainer"] == list(content)
        for name, data in content.items():
            (model / "explainer" / name).write_bytes(b"later")  # it keeps what it was started with
            response = server.client.get(f"/explainer/{name}")
            assert response.status_code == 200 and response.content == data
        kinds = [
            server.client.get(f"/explainer/{name}").headers["content-type"] for name in content
        ]
        assert kinds == ["application/json", "image/png"]
        assert_error(server.client.get("/explainer/compare.json"), 404)
    finally:
        server.stop()


@pytest.mark.parametrize("name", FILES)
def test_a_folder_in_the_place_of_a_file_is_not_served(tmp_path: Path, name: str) -> None:
    model = write_model(tmp_path)
    (model / "explainer" / name).mkdir(parents=True)
    server = Server(model)
    try:
        assert server.client.get("/model.json").json()["explainer"] == []
        assert_error(server.client.get(f"/explainer/{name}"), 404)
    finally:
        server.stop()
