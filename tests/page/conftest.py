"""Fixtures of the page's tests in a browser."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from page_help import chromium, served
from tools_help import tool


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="session")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network trained for two epochs, exported with its page."""
    output = tmp_path_factory.mktemp("output")
    training = ["--model", "lenet_relu", "--epochs", "2", "--augment", "light"]
    done = tool("train", *training, "--output-dir", output, "--name", "run")
    assert done.returncode == 0, done.stderr
    formats = "paddle,onnx,page" if shutil.which("npm") else "paddle,onnx"
    done = tool("export", "--run", output / "run", "--formats", formats)
    assert done.returncode == 0, done.stderr
    return output / "run" / "inference"


@pytest.fixture(scope="module", params=["server", "static files"])
def address(export: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    with served(export, request.param) as url:
        yield url
