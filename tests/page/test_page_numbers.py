"""Whole numbers on the page in a real browser: with the server, and as static files without it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from number_pages import load_digits, make_pages
from page_help import DIGITS, Strokes, draw, give, opened, settle
from serve_help import to_png  # skips where the server's packages are missing

from lenet_paddle.export.pages import join_row
from lenet_paddle.export.predictor import Predictor

pytest.importorskip("paddle2onnx")
pytestmark = pytest.mark.slow


def writing(text: str, left: float, top: float, size: float = 0.2) -> Strokes:
    """Return the strokes of a number whose digits have the size, a fraction of the sheet."""
    return [
        [(left + (0.85 * place + x - 0.25) * size, top + y * size) for x, y in stroke]
        for place, digit in enumerate(text)
        for stroke in DIGITS[digit]
    ]


def rows(page: Any) -> list[str]:
    return [line.inner_text() for line in page.locator("#numbers li").all()]


def test_numbers_in_several_lines_are_read_and_one_digit_again(browser: Any, address: str) -> None:
    from playwright.sync_api import expect

    with opened(browser, address) as page:
        assert page.is_hidden("#numbers")
        page.focus("#many")
        page.keyboard.press("Space")  # the mode is chosen with keys, too
        assert page.get_attribute("#many", "aria-pressed") == "true"
        assert page.is_hidden("#bars") and page.is_hidden(".inside")
        draw(page, writing("20317", 0.08, 0.1))
        assert rows(page) == ["20317"]
        draw(page, writing("47", 0.08, 0.45))
        draw(page, writing("832", 0.56, 0.45, 0.16))
        assert rows(page) == ["20317", "47 832"]
        assert "Digits: 10. Least sure: " in page.inner_text("#numbers p")
        expect(page.locator("#live")).to_have_text("Row 1: 20317. Row 2: 47 832.")
        page.click("#clear")
        settle(page)
        assert rows(page) == []
        page.click("#many")
        draw(page, DIGITS["7"])
        assert page.inner_text("#best") == "7" and page.is_hidden("#numbers")


def test_a_photo_of_a_page_is_read_as_the_predictor_reads_it(
    browser: Any, address: str, export: Path
) -> None:
    [made] = make_pages(load_digits("val"), "squared", 1, seed=6)
    picture = made.picture[:1200, :1200]
    expected = [join_row(row) for row in Predictor(export).read_page("", picture).rows]
    with opened(browser, address) as page:
        page.click("#many")
        give(page, "choose", to_png(np.dstack([picture] * 3)))
        page.wait_for_selector("#numbers li")
        settle(page)
        assert rows(page) == expected and len(expected) > 1


def test_numbers_are_said_in_chinese_and_fit_a_phone(browser: Any, address: str) -> None:
    window = {"viewport": {"width": 320, "height": 640}, "locale": "zh-CN"}
    with opened(browser, address, **window) as page:
        page.click("#many")
        draw(page, writing("42", 0.2, 0.3))
        assert re.match("共 2 个数字", page.inner_text("#numbers p"))
        assert page.evaluate("document.documentElement.scrollWidth") <= 320
