"""The page in a real browser: with the server, and as static files without it.

Needs Chromium; the static page also npm. SCREENSHOTS=folder in the environment saves pictures of
the page.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from page_help import DIGITS, Point, answering, draw, give, moved, opened, settle, sheet
from PIL import Image
from tools_help import ROOT

from lenet_paddle.data.load import load_dataset
from lenet_paddle.export.predictor import Predictor

pytest.importorskip("fastapi_offline")
pytest.importorskip("paddle2onnx")
pytestmark = pytest.mark.slow
WINDOWS = {"wide": (1240, 1000), "narrow": (380, 800)}
PLACES = {
    "middle": ((0, 0), 1),
    "small, top left": ((-0.2, -0.2), 0.5),
    "right": ((0.2, 0.05), 0.8),
}


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    with opened(browser, address) as page:
        yield page


def best(page: Any) -> str:
    return page.inner_text("#best")


def shares(page: Any) -> list[float]:
    """Return the values of the bars."""
    meters = page.locator("#bars [role=meter]").all()
    return [float(meter.get_attribute("aria-valuenow")) for meter in meters]


def wait_for_words(page: Any, selector: str, pattern: str) -> None:
    """Wait until an element's text or label matches `pattern` from its start."""
    from playwright.sync_api import expect  # its own wait_for_function needs eval, which is refused

    expect(page.locator(selector)).to_have_text(re.compile(pattern), timeout=60_000)


def ink(page: Any, selector: str) -> int:
    """Count the painted pixels of a canvas."""
    count = """canvas => canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height)
        .data.filter((value, k) => k % 4 === 3 && value > 0).length"""
    return page.eval_on_selector(selector, count)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("window", WINDOWS)
def test_nine_of_ten_drawn_digits_are_read(
    browser: Any, address: str, window: str, place: str
) -> None:
    width, height = WINDOWS[window]
    by, zoom = PLACES[place]
    read = {}
    with opened(browser, address, viewport={"width": width, "height": height}) as page:
        for digit, strokes in DIGITS.items():
            draw(page, moved(strokes, by, zoom))
            read[digit] = best(page)
            page.click("#clear")
            settle(page)
    assert sum(digit == answer for digit, answer in read.items()) >= 9, read


def test_bars_the_picture_seen_and_every_map_follow_the_drawing(page: Any) -> None:
    assert best(page) == "?" and shares(page) == [0] * 10
    draw(page, DIGITS["3"])
    assert sum(shares(page)) == pytest.approx(1, abs=1e-3)
    assert int(np.argmax(shares(page))) == int(best(page))
    maps = page.locator("#steps .maps")
    assert [maps.nth(k).locator("canvas").count() for k in range(maps.count())] == [6, 16]
    assert ink(page, "#seen") == 28 * 28
    assert all(ink(page, f"[data-layer='{layer}'] canvas") for layer in (1, 2))
    wait_for_words(page, "#live", rf"{best(page)}, .* Next: |Unclear. Perhaps {best(page)}, ")
    page.click("#clear")
    settle(page)
    assert best(page) == "?" and ink(page, "#seen") == 0


def test_an_unclear_drawing_is_said_to_be_so(browser: Any, export: Path, tmp_path: Path) -> None:
    """With the server and without: of a copy whose threshold no picture reaches."""
    copy = shutil.copytree(export, tmp_path / "inference")
    text, count = re.subn(
        "threshold: .*", "threshold: 1000.0", (copy / "inference.yml").read_text()
    )
    assert count == 1
    (copy / "inference.yml").write_text(text)
    commands = [[ROOT / "tools" / "serve.py", "--model", copy, "--port", 0]]
    if (copy / "page").is_dir():
        model = json.loads((copy / "page" / "model.json").read_text())
        (copy / "page" / "model.json").write_text(json.dumps({**model, "threshold": 1000}))
        folder = ["--directory", copy / "page"]
        commands.append(["-m", "http.server", 0, "--bind", "127.0.0.1", *folder])
    for command in commands:
        with answering(*command) as url, opened(browser, url) as page:
            assert "unclear" not in page.get_attribute("#best", "class")
            draw(page, DIGITS["3"])
            assert "unclear" in page.get_attribute("#best", "class")
            expected = f"Unclear: perhaps {best(page)}, perhaps no digit."
            assert page.inner_text("#comment") == expected
            wait_for_words(page, "#live", rf"Unclear\. Perhaps {best(page)}, ")
            assert sum(shares(page)) == pytest.approx(1, abs=1e-3)
            page.click("#clear")
            settle(page)
            assert "unclear" not in page.get_attribute("#best", "class")


def test_undo_takes_back_strokes_and_a_clearing_and_the_pen_has_a_width(page: Any) -> None:
    top, bottom = [[(0.2, 0.3), (0.8, 0.3)]], [[(0.2, 0.7), (0.8, 0.7)]]
    assert page.is_disabled("#undo") and page.is_disabled("#clear")
    draw(page, top)
    thin = ink(page, "#sheet")
    page.fill("#width", "12")
    draw(page, bottom)
    both = ink(page, "#sheet")
    assert both - thin > 1.7 * thin
    page.click("#clear")
    assert ink(page, "#sheet") == 0
    page.click("#undo")
    assert ink(page, "#sheet") == both
    page.keyboard.press("Control+z")
    assert ink(page, "#sheet") == thin


def test_a_digit_is_drawn_with_keys_alone(page: Any) -> None:
    keys = page.keyboard
    while page.evaluate("document.activeElement.id") != "sheet":
        keys.press("Tab")
    for key, times in (("ArrowLeft", 5), ("ArrowUp", 8), ("Space", 1), ("ArrowRight", 10)):
        for _ in range(times):
            keys.press(key)
    keys.down("ArrowLeft")
    keys.down("ArrowDown")  # with the one before it: aslant
    keys.up("ArrowLeft")
    for _ in range(4):
        for _ in range(2):
            keys.press("ArrowDown")
        keys.down("ArrowDown")
        keys.press("ArrowLeft")
        keys.up("ArrowDown")
    keys.press("Space")
    settle(page)
    assert best(page) == "7"
    wait_for_words(page, "#live", "7, ")
    keys.press("Delete")
    assert page.is_disabled("#clear")
    keys.press("Backspace")
    settle(page)
    assert best(page) == "7"


def test_a_finger_draws_and_a_second_one_is_ignored(browser: Any, address: str) -> None:
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    with opened(browser, address, **phone) as page:
        box = page.locator("#sheet").bounding_box()
        send = page.context.new_cdp_session(page).send

        def touch(kind: str, *places: Point) -> None:
            points = [
                {"id": k, "x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"]}
                for k, (x, y) in enumerate(places)
            ]
            send("Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": points})

        [first, *rest], second = DIGITS["7"][0], (0.9, 0.9)
        touch("Start", first)
        touch("Start", first, second)
        for place in rest:
            touch("Move", place, second)
        touch("End")
        settle(page)
        assert best(page) == "7" and page.evaluate("scrollY") == 0
        page.click("#undo")
        assert page.is_disabled("#undo")  # it was one stroke


def to_png(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("way", ["choose", "drop", "paste"])
@pytest.mark.parametrize("kind", ["28x28", "drawn", "white on transparent", "cut corners"])
def test_a_picture_is_read_as_the_predictor_reads_it(
    page: Any, export: Path, way: str, kind: str
) -> None:
    mnist = load_dataset("mnist", "test").images[0]
    picture = mnist if kind == "28x28" else sheet(DIGITS["4"], 500, 30)
    shown = picture
    if kind == "white on transparent":  # read as white on black
        picture = 255 - picture
        shown = np.dstack([np.full((*picture.shape, 3), 255, np.uint8), picture])
    if kind == "cut corners":  # read as if the paper went on
        shown = np.dstack([picture] * 3 + [np.full_like(picture, 255)])
        shown[:20, :20] = shown[-20:, -20:] = 0
        picture = np.where(shown[..., 3] == 0, 255, picture).astype(np.uint8)
    predictor = Predictor(export)
    expected = predictor.answer("", picture, top_k=10).top_k
    give(page, way, to_png(shown))
    wait_for_words(page, "#best", r"\d")
    settle(page)
    assert best(page) == expected[0][0]
    actual = dict(zip(predictor.classes, shares(page), strict=True))
    assert actual == pytest.approx(dict(expected), abs=1e-3)


def test_an_unreadable_file_is_one_line_and_drawing_continues(page: Any) -> None:
    file = {"name": "digit.png", "mimeType": "image/png", "buffer": b"no picture"}
    page.set_input_files("#file", file)
    page.wait_for_selector("#problem:visible")
    assert "cannot read" in page.inner_text("#problem")
    draw(page, DIGITS["1"])
    assert page.is_hidden("#problem")


def test_chinese_is_followed_and_chosen(browser: Any, address: str) -> None:
    with opened(browser, address, locale="zh-CN") as page:
        assert page.inner_text("h1") == "写一个数字"
        draw(page, DIGITS["5"])
        assert page.inner_text("#speed").endswith("毫秒作答")
        page.click("#language")
        assert page.inner_text("h1") == "Draw a digit"
        page.reload()
        assert page.inner_text("h1") == "Draw a digit"  # it is remembered
        page.wait_for_selector("html[data-ready=true]")


def test_light_and_dark_are_followed_and_chosen(browser: Any, address: str) -> None:
    def is_dark(page: Any) -> bool:
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return int(colour.removeprefix("rgb(").split(",")[0]) < 128

    for scheme in ("light", "dark"):
        with opened(browser, address, color_scheme=scheme) as page:
            assert is_dark(page) == (scheme == "dark")
            page.click("#theme")
            assert is_dark(page) != (scheme == "dark")
            page.reload()
            assert is_dark(page) != (scheme == "dark")
            page.wait_for_selector("html[data-ready=true]")


def test_controls_have_names_and_the_page_fits_a_phone(browser: Any, address: str) -> None:
    with opened(browser, address, viewport={"width": 320, "height": 640}) as page:
        for element in page.locator("button, input:visible, canvas[role], [role=meter]").all():
            named = element.inner_text() if element.evaluate("e => e.tagName") == "BUTTON" else ""
            assert named or element.get_attribute("aria-label")
        assert page.evaluate("document.documentElement.scrollWidth") <= 320


@pytest.mark.skipif("SCREENSHOTS" not in os.environ, reason="SCREENSHOTS=folder is not set")
def test_screenshots(browser: Any, address: str) -> None:
    views: dict[str, tuple[str, dict[str, Any]]] = {
        "light": ("3", {"device_scale_factor": 1.5}),
        "dark": ("7", {"color_scheme": "dark"}),
        "chinese": ("5", {"locale": "zh-CN"}),
        "phone": ("2", {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2}),
    }
    for name, (digit, options) in views.items():
        size = {"viewport": {"width": 1240, "height": 1000}}
        with opened(browser, address, **{**size, **options}) as page:
            draw(page, DIGITS[digit])
            page.mouse.move(0, 0)
            page.wait_for_timeout(500)  # until the bars have come to rest
            path = Path(os.environ["SCREENSHOTS"]) / f"{name}.png"
            page.screenshot(path=path, full_page=True)
            assert path.stat().st_size > 20_000
