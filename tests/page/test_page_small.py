"""The page in a real browser with a small untrained model: phones, problems, a file.

Needs Chromium and playwright (pip install '.[browser]') and the server's packages.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Any

import pytest
from page_help import answering, draw, opened, settle
from PIL import Image
from serve_help import CLASSES, write_model  # skips where the server's packages are missing
from tools_help import ROOT

PAGE = ROOT / "lenet_paddle" / "page"
LINE = [[(0.3, 0.3), (0.7, 0.7)]]
PHONES = {
    "360x640": (360, 640, "en-US"),
    "360x640, Chinese": (360, 640, "zh-CN"),
    "390x844": (390, 844, "en-US"),
}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    model = write_model(tmp_path_factory.mktemp("model"))
    with answering(ROOT / "tools" / "serve.py", "--model", model, "--port", 0) as url:
        yield url


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """The page; unlike in `opened`, it may log errors, since the tests spoil answers."""
    with browser.new_context(locale="en-US") as context:
        page = context.new_page()
        page.goto(address)
        page.wait_for_selector("html[data-ready=true]")
        yield page


def give_no_picture(page: Any) -> None:
    file = {"name": "digit.png", "mimeType": "image/png", "buffer": b"no picture"}
    page.set_input_files("#file", file)
    page.wait_for_selector("#problem:visible")


def test_the_page_draws_asks_the_server_and_shows_its_answer(browser: Any, address: str) -> None:
    with opened(browser, address) as page:
        assert page.locator("#unserved").count() == 0
        draw(page, LINE)
        assert page.inner_text("#best") in CLASSES
        meters = page.locator("#bars [role=meter]").all()
        shares = [float(meter.get_attribute("aria-valuenow") or "nan") for meter in meters]
        assert len(shares) == 3 and sum(shares) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("phone", PHONES)
def test_on_a_phone_the_answer_and_the_sheet_are_seen_together_and_stay_where_they_are(
    browser: Any, address: str, phone: str
) -> None:
    width, height, language = PHONES[phone]
    window = {"viewport": {"width": width, "height": height}, "is_mobile": True}
    with opened(browser, address, locale=language, **window) as page:
        parts = [page.locator(name) for name in (".best", "#sheet", "#bars")]
        before = [part.bounding_box() for part in parts]
        draw(page, LINE)
        best, sheet, bars = (part.bounding_box() for part in parts)
        assert [best, sheet, bars] == before and page.evaluate("scrollY") == 0
        assert best["y"] >= 0 and best["y"] + best["height"] <= sheet["y"]
        assert sheet["y"] + sheet["height"] <= height
        for text in ("#best", "#sure", "#comment"):
            inside = page.locator(text).bounding_box()
            assert inside["y"] >= best["y"]
            assert inside["y"] + inside["height"] <= best["y"] + best["height"]


def test_a_blank_picture_is_answered_with_nothing_written_in_both_languages(page: Any) -> None:
    from playwright.sync_api import expect

    draw(page, LINE)
    for side in (28, 300):
        file = io.BytesIO()
        Image.new("L", (side, side), 255).save(file, "PNG")
        buffer = file.getvalue()
        page.set_input_files(
            "#file", {"name": "blank.png", "mimeType": "image/png", "buffer": buffer}
        )
        expect(page.locator("#comment")).to_have_text("Nothing is written.")
        settle(page)
        assert page.inner_text("#best") == "?" and page.inner_text("#sure") == ""
        meters = page.locator("#bars [role=meter]").all()
        assert {meter.get_attribute("aria-valuenow") for meter in meters} == {"0.0000"}
    expect(page.locator("#live")).to_have_text("Nothing is written.")
    page.click("#language")
    assert page.inner_text("#comment") == "没有写字。"


def test_long_names_of_classes_do_not_move_the_sheet(browser: Any, address: str) -> None:
    with opened(browser, address, viewport={"width": 360, "height": 640}) as page:
        sheet = page.locator("#sheet")
        before = sheet.bounding_box()
        draw(page, LINE)
        lengthen = "element => element.textContent = 'a_name_that_is_far_too_long '.repeat(9)"
        for text in ("#best", "#comment"):
            page.eval_on_selector(text, lengthen)
        assert sheet.bounding_box() == before
        assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_clearing_takes_a_problem_away(page: Any) -> None:
    page.route("**/features", lambda route: route.abort())
    draw(page, LINE)
    assert page.is_visible("#problem")
    page.click("#clear")
    settle(page)
    assert page.is_hidden("#problem")
    page.unroute("**/features")
    draw(page, LINE)
    give_no_picture(page)
    page.click("#clear")
    settle(page)
    assert page.is_hidden("#problem")


def test_a_server_that_does_not_answer_is_said_in_the_chosen_language_and_forgotten(
    page: Any,
) -> None:
    page.route("**/features", lambda route: route.abort())
    draw(page, LINE)
    assert "server does not answer" in page.inner_text("#problem")
    page.click("#language")
    assert "服务器没有应答" in page.inner_text("#problem")
    page.unroute("**/features")
    draw(page, LINE)
    assert page.is_hidden("#problem") and page.inner_text("#best") in CLASSES


@pytest.mark.parametrize(
    ("status", "kind", "body", "said"),
    [
        (502, "text/html", "<html>Bad Gateway</html>", "The server does not answer"),
        (413, "text/html", "<html>Too Large</html>", "features: 413"),
        (200, "text/html", "<html>Log in</html>", "features: 200"),
        (503, "application/json", '{"error": "too many {0}"}', "too many {0}"),
    ],
)
def test_what_is_answered_on_the_way_is_one_plain_line(
    page: Any, status: int, kind: str, body: str, said: str
) -> None:
    answer = {"status": status, "content_type": kind, "body": body}
    page.route("**/features", lambda route: route.fulfill(**answer))
    draw(page, LINE)
    assert page.inner_text("#problem").startswith(said)


def test_a_model_that_cannot_be_fetched_is_said_and_stays_said(browser: Any, address: str) -> None:
    with browser.new_context(locale="en-US") as context:
        page = context.new_page()
        page.route("**/model.json", lambda route: route.fulfill(status=502, body="<html>"))
        page.goto(address)
        page.wait_for_selector("#problem:visible")
        page.click("#language")
        assert re.match("网络载入失败：服务器没有应答", page.inner_text("#problem"))
        page.locator("#sheet").click()
        page.click("#clear")
        assert page.is_visible("#problem")


def test_opened_as_a_file_the_page_says_in_two_languages_how_to_serve_it(
    browser: Any, tmp_path: Any
) -> None:
    (tmp_path / "static").symlink_to(PAGE)
    (tmp_path / "index.html").write_bytes((PAGE / "index.html").read_bytes())
    with browser.new_context() as context:
        page = context.new_page()
        page.goto((tmp_path / "index.html").as_uri())
        page.wait_for_selector("#unserved:visible", timeout=10_000)
        said = page.inner_text("#unserved")
        assert said.count("python -m http.server --bind 127.0.0.1") == 2
        assert "Opened as a file" in said and "作为文件打开" in said
