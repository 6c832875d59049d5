"""Check that the browser prepares a picture as the package does: page/*.js against data/*.py."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from page_help import DIGITS, sheet
from photos import KINDS
from tools_help import ROOT

from lenet_paddle.data.datasets import Preprocess
from lenet_paddle.data.load import load_dataset
from lenet_paddle.data.preprocess import is_empty, normalise, prepare_picture

PAGE = ROOT / "lenet_paddle" / "page"
pytestmark = pytest.mark.skipif(not shutil.which("node"), reason="no node here")
SCRIPT = """
import { readFileSync, writeFileSync } from "node:fs";
import { makePlane } from "./plane.js";
import { greyOf, isEmpty, normalise, preparePicture } from "./preprocess.js";
const { mode, size, empty, colour, shapes } = JSON.parse(readFileSync("job.json"));
const bytes = readFileSync("pictures.bin");
let start = 0;
const results = shapes.map(([height, width]) => {
    const count = height * width * (colour ? 4 : 1);
    const data = bytes.subarray(start, start += count);
    if (colour) return greyOf({ width, height, data }).data;
    const seen = preparePicture(makePlane(width, height, Float32Array.from(data)), mode);
    if (empty) return Float32Array.of(isEmpty(seen));
    return size ? normalise(seen, size) : seen.data;
});
writeFileSync("answer.bin", Buffer.concat(results.map((r) => Buffer.from(r.buffer))));
"""
Browser = Callable[..., np.ndarray]


@pytest.fixture
def browser(tmp_path: Path) -> Browser:
    """Run the page's modules in node on pictures, uint8 (H, W) or (H, W, 4); return float32."""

    def run(
        pictures: list[np.ndarray], mode: Preprocess = "digit", size: int = 0, empty: bool = False
    ) -> np.ndarray:
        for name in ("plane", "resample", "digit", "preprocess"):
            shutil.copy(PAGE / f"{name}.js", tmp_path)
        (tmp_path / "package.json").write_text('{"type": "module"}')
        (tmp_path / "script.js").write_text(SCRIPT)
        shapes, colour = [picture.shape[:2] for picture in pictures], pictures[0].ndim == 3
        job = {"mode": mode, "size": size, "empty": empty, "colour": colour, "shapes": shapes}
        (tmp_path / "job.json").write_text(json.dumps(job))
        (tmp_path / "pictures.bin").write_bytes(b"".join(p.tobytes() for p in pictures))
        subprocess.run(["node", "script.js"], cwd=tmp_path, check=True)
        return np.fromfile(tmp_path / "answer.bin", np.float32)

    return run


def assert_same(browser: Browser, pictures: list[np.ndarray], mode: Preprocess) -> None:
    """Check that few pixels differ, and none by more than 2 of 255."""
    expected = np.stack([prepare_picture(picture, mode) for picture in pictures]).astype(float)
    actual = browser(pictures, mode).reshape(-1, 28, 28)
    difference = np.abs(actual - expected)
    assert difference.max() <= 2 and (difference > 0).mean() < 0.01


def test_drawings_are_prepared_alike(browser: Browser, rng: np.random.Generator) -> None:
    drawings = [
        sheet(strokes, side, pen, (dx, dy), zoom)
        for strokes in DIGITS.values()
        for side, pen in ((400, 24), (400, 6), (280, 40))
        for dx, dy, zoom in [(0, 0, 1), (*rng.uniform(-0.2, 0.2, 2), 0.5)]
    ]
    assert_same(browser, drawings, "digit")


@pytest.mark.parametrize("kind", KINDS)
def test_photos_are_prepared_alike(browser: Browser, rng: np.random.Generator, kind: str) -> None:
    from PIL import Image

    digits = load_dataset("mnist", "test").images[:4]
    photos = [np.asarray(Image.fromarray(KINDS[kind](d, rng)).convert("L")) for d in digits]
    assert_same(browser, photos, "digit")


@pytest.mark.parametrize("mode", ["digit", "resize"])
def test_odd_sizes_are_prepared_alike(
    browser: Browser, rng: np.random.Generator, mode: Preprocess
) -> None:
    shapes = [(1, 500), (500, 1), (1, 2), (3, 3), (27, 29), (28, 28), (903, 1201), (40, 400)]
    pictures = [rng.integers(0, 256, shape, dtype=np.uint8) for shape in shapes]
    pictures += [np.full((40, 30), value, np.uint8) for value in (0, 90, 255)]
    assert_same(browser, pictures, mode)


@pytest.mark.parametrize("mode", ["digit", "resize"])
def test_the_same_pictures_count_as_empty(browser: Browser, mode: Preprocess) -> None:
    shapes = [(28, 28), (400, 400), (30, 500)]
    pictures = [np.full(shape, value, np.uint8) for shape in shapes for value in (0, 90, 255)]
    pictures += [sheet(DIGITS["4"], 400, 24), 255 * np.eye(28, dtype=np.uint8)]
    expected = [is_empty(prepare_picture(picture, mode)) for picture in pictures]
    assert expected == [True] * 9 + [False] * 2
    assert browser(pictures, mode, empty=True).tolist() == expected


def test_straight_strokes_are_found_and_shadows_are_not(browser: Browser) -> None:
    places = np.arange(400) * np.ones((400, 1), int)
    strokes = [np.full((400, 400), 255, np.uint8) for _ in range(3)]
    for stroke, above in zip(strokes, (0, 10, 120), strict=True):
        stroke[above : 400 - above, 194:206] = 0
    shadows = [np.where(places < end, 120, 230).astype(np.uint8) for end in (40, 180)]
    assert browser(strokes + shadows, empty=True).tolist() == [False] * 3 + [True] * 2
    assert_same(browser, strokes + shadows, "digit")


def test_colours_become_the_same_grey(browser: Browser, rng: np.random.Generator) -> None:
    from PIL import Image

    colours = rng.integers(0, 256, (60, 70, 4), dtype=np.uint8)
    colours[..., 3] = 255
    expected = np.asarray(Image.fromarray(colours).convert("L"))
    assert np.array_equal(browser([colours]).reshape(60, 70), expected)


@pytest.mark.parametrize("size", [28, 32, 33])
def test_normalised_alike(browser: Browser, rng: np.random.Generator, size: int) -> None:
    picture = rng.integers(0, 256, (28, 28), dtype=np.uint8)
    actual = browser([picture], "resize", size).reshape(1, 1, size, size)
    assert np.array_equal(actual, normalise(picture[None], size))
