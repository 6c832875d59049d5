"""The page in a real browser with models for colour and for large pictures; served, and as files.

Needs Chromium and playwright (pip install '.[browser]'); the static page also npm.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from marks import slow
from page_help import draw, give, opened, served, settle
from serve_help import to_png, write_model  # skips where the server's packages are missing

from lenet_paddle.export.predictor import Predictor
from lenet_paddle.export.static_page import write_static_page

LINE = [[(0.3, 0.3), (0.7, 0.7)]]
FORMS = {"grey 28": (1, 28), "colour 64": (3, 64), "colour 224": (3, 224)}
PIXELS = """canvas => [canvas.width, canvas.height,
    ...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data]"""


@pytest.fixture(scope="module", params=FORMS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"), *FORMS[request.param])


@pytest.fixture(scope="module", params=["server", slow("static files")])
def address(model: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "static files" and shutil.which("npm"):
        description = {"image_size": 28, **yaml.safe_load((model / "inference.yml").read_text())}
        page, features = model / "page", description["features"]
        write_static_page(page, model / "features.onnx", description, features)
    with served(model, request.param) as url:
        yield url


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    with opened(browser, address) as page:
        yield page


def seen(page: Any) -> np.ndarray:
    """Return the picture that the page shows as seen, uint8 (H, W, 4)."""
    width, height, *pixels = page.eval_on_selector("#seen", PIXELS)
    return np.array(pixels, np.uint8).reshape(height, width, 4)


@pytest.mark.parametrize("way", ["choose", "drop", "paste"])
def test_a_picture_is_seen_and_read_as_the_predictor_does(
    page: Any, model: Path, rng: np.random.Generator, way: str
) -> None:
    from playwright.sync_api import expect

    predictor = Predictor(model)
    form = predictor.form
    photo = np.repeat(rng.integers(0, 256, (9, 15, 3), dtype=np.uint8), 20, 0).repeat(20, 1)
    expected = predictor.answer("", photo, top_k=3)
    give(page, way, to_png(photo))
    expect(page.locator("#best")).not_to_have_text("?")
    settle(page)
    assert page.inner_text("#best") == expected.best[0]
    side = f"{form.size} × {form.size}"
    caption = page.inner_text("#steps figure:first-child figcaption span")
    assert caption == (f"{side}, in colour" if form.channels == 3 else side)
    shown = seen(page)
    assert shown.shape == (form.size, form.size, 4) and (shown[..., 3] == 255).all()
    of_predictor = expected.seen if form.channels == 3 else expected.seen[..., None]
    assert np.abs(shown[..., :3].astype(int) - of_predictor).max() <= 2
    names = page.locator("#bars .name").all_inner_texts()
    meters = page.locator("#bars [role=meter]").all()
    shares = [float(meter.get_attribute("aria-valuenow")) for meter in meters]
    assert dict(zip(names, shares, strict=True)) == pytest.approx(dict(expected.top_k), abs=2e-3)


def test_every_map_has_its_size_and_is_painted(page: Any, model: Path) -> None:
    channels, size, _ = Predictor(model).description["features"][0]["shape"]
    draw(page, LINE)
    canvases = page.locator("#steps .maps canvas").all()
    assert len(canvases) == channels
    for canvas in canvases:
        assert canvas.evaluate("c => [c.width, c.height]") == [size, size]
    caption = page.inner_text("[data-layer='1'] figcaption span")
    assert caption == f"{channels} maps of {size} × {size}"


def test_the_pen_draws_white_on_black_and_the_reverse(page: Any, model: Path) -> None:
    size = Predictor(model).form.size
    for value, ground in ((255, 0), (0, 255)):  # the model's data are light on dark
        draw(page, LINE)
        picture = seen(page)[..., :3]
        assert abs(int(picture[size // 2, size // 2, 0]) - value) < 10
        assert (picture[:2] == ground).all()
        page.click("#swap")
        settle(page)


def test_the_caption_is_translated(browser: Any, address: str, model: Path) -> None:
    form = Predictor(model).form
    with opened(browser, address, locale="zh-CN") as page:
        draw(page, LINE)
        caption = page.inner_text("#steps figure:first-child figcaption span")
        assert ("，彩色" in caption) == (form.channels == 3)
        assert re.match(f"{form.size} × {form.size}", caption)
