"""Helpers for the page's tests: digits as strokes in a unit square, servers, a browser."""

from __future__ import annotations

import contextlib
import math
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw
from tools_help import ROOT

Point = tuple[float, float]
Strokes = list[list[Point]]


def _arc(x: float, y: float, rx: float, ry: float, start: float, end: float) -> list[Point]:
    """Return points on an ellipse; angles in degrees, clockwise from the right."""
    count = max(2, round(abs(end - start) / 12))
    angles = [math.radians(start + (end - start) * i / count) for i in range(count + 1)]
    return [(x + rx * math.cos(a), y + ry * math.sin(a)) for a in angles]


DIGITS: dict[str, Strokes] = {
    "0": [_arc(0.5, 0.5, 0.2, 0.32, -90, 270)],
    "1": [[(0.42, 0.28), (0.54, 0.17), (0.5, 0.83)]],
    "2": [[*_arc(0.48, 0.36, 0.19, 0.18, -160, 40), (0.31, 0.8), (0.72, 0.79)]],
    "3": [[*_arc(0.46, 0.33, 0.17, 0.16, -150, 80), *_arc(0.46, 0.66, 0.2, 0.17, -80, 150)]],
    "4": [[(0.42, 0.18), (0.28, 0.55), (0.72, 0.55)], [(0.62, 0.2), (0.58, 0.85)]],
    "5": [[(0.36, 0.2), (0.33, 0.46), *_arc(0.46, 0.63, 0.2, 0.19, -110, 140)],
          [(0.36, 0.2), (0.68, 0.19)]],
    "6": [[(0.6, 0.17), (0.42, 0.35), (0.33, 0.62), *_arc(0.5, 0.66, 0.17, 0.17, 180, -180)]],
    "7": [[(0.28, 0.22), (0.7, 0.21), (0.46, 0.84)]],
    "8": [[*_arc(0.5, 0.35, 0.15, 0.16, 90, -270), *_arc(0.5, 0.67, 0.19, 0.17, -90, 270)]],
    "9": [[*_arc(0.5, 0.36, 0.17, 0.17, 0, -360), (0.66, 0.5), (0.58, 0.85)]],
}  # fmt: skip


def moved(strokes: Strokes, by: Point = (0, 0), zoom: float = 1) -> Strokes:
    """Return the strokes scaled around the middle and shifted."""
    (dx, dy), half = by, 0.5
    return [
        [(half + (x - half) * zoom + dx, half + (y - half) * zoom + dy) for x, y in stroke]
        for stroke in strokes
    ]


def sheet(strokes: Strokes, side: int, pen: int, by: Point = (0, 0), zoom: float = 1) -> np.ndarray:
    """Draw the strokes in black on white, uint8 (side, side)."""
    paper = Image.new("L", (2 * side, 2 * side), 255)
    draw = ImageDraw.Draw(paper)
    for stroke in moved(strokes, by, zoom):
        points = [(2 * side * x, 2 * side * y) for x, y in stroke]
        draw.line(points, fill=0, width=2 * pen, joint="curve")
        for x, y in (points[0], points[-1]):
            draw.ellipse((x - pen, y - pen, x + pen, y + pen), fill=0)
    return np.asarray(paper.reduce(2))


@contextlib.contextmanager
def answering(*command: Any, cwd: Path = ROOT) -> Iterator[str]:
    """Run a server in its own process; yield the address that it prints."""
    process = subprocess.Popen(
        [sys.executable, "-u", *map(str, command)],
        cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        said = process.stdout.readline()
        yield f"http://127.0.0.1:{re.findall(r'[0-9]+', said)[-1]}/"
    finally:
        process.terminate()
        process.wait(30)


@contextlib.contextmanager
def served(export: Path, way: str) -> Iterator[str]:
    """Serve an exported folder's page in one of the two ways; skip the test if it has none."""
    if way == "server":
        command: list[Any] = [ROOT / "tools" / "serve.py", "--model", export, "--port", 0]
    elif (export / "page").is_dir():
        command = ["-m", "http.server", 0, "--bind", "127.0.0.1", "--directory", export / "page"]
    else:
        pytest.skip("no npm here")
    with answering(*command) as url:
        yield url


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """Yield a headless Chromium under Playwright; skip the test if there is none."""
    playwright = pytest.importorskip("playwright.sync_api")
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if not path:
        pytest.skip("no chromium here")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path)
        yield browser
        browser.close()


@contextlib.contextmanager
def opened(browser: Any, address: str, **options: Any) -> Iterator[Any]:
    """Open the page at `address` in a new window and wait until it is ready.

    Afterwards check that it logged no error and requested nothing from another address.
    """
    with browser.new_context(**{"locale": "en-US", **options}) as context:
        page = context.new_page()
        wrong: list[str] = []
        page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address)
        page.wait_for_selector("html[data-ready=true]", timeout=60_000)
        yield page
        assert wrong == [] and [url for url in asked if not url.startswith(address)] == []


def draw(page: Any, strokes: Strokes) -> None:
    """Draw with the mouse, points as fractions of the sheet, and wait for the answer."""
    sheet = page.locator("#sheet")
    sheet.scroll_into_view_if_needed()
    box = sheet.bounding_box()
    for stroke in strokes:
        for i, (x, y) in enumerate(stroke):
            page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
            if i == 0:
                page.mouse.down()
        page.mouse.up()
    settle(page)


# A file is made in the page and dropped on it, or pasted into it.
GIVE = """([way, bytes]) => {
    const files = new DataTransfer();
    files.items.add(new File([new Uint8Array(bytes)], "picture.png", { type: "image/png" }));
    const event = way === "drop" ? new DragEvent("drop", { dataTransfer: files, cancelable: true })
        : new ClipboardEvent("paste", { clipboardData: files });
    window.dispatchEvent(event);
}"""


def give(page: Any, way: str, png: bytes) -> None:
    """Give the page a picture file: `choose` it, `drop` or `paste` it."""
    if way == "choose":
        file = {"name": "picture.png", "mimeType": "image/png", "buffer": png}
        page.set_input_files("#file", file)
    else:
        page.evaluate(GIVE, [way, list(png)])


def settle(page: Any) -> None:
    """Wait until the page shows the answer for its sheet."""
    page.wait_for_selector("html[data-busy=false]", timeout=60_000)
