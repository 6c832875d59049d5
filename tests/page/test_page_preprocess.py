"""Check that the browser prepares a picture as the package does: page/*.js against data/*.py."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hard_photos import HARD
from marks import slow
from page_help import DIGITS, sheet
from photos import KINDS
from PIL import Image
from tools_help import ROOT

from lenet_paddle.data.datasets import Preprocess
from lenet_paddle.data.form import Form
from lenet_paddle.data.load import load_dataset
from lenet_paddle.data.preprocess import is_empty, normalise, prepare_picture

PAGE = ROOT / "lenet_paddle" / "page"
pytestmark = pytest.mark.skipif(not shutil.which("node"), reason="no node here")
SCRIPT = """
import { readFileSync, writeFileSync } from "node:fs";
import {
    channelsRead, isEmpty, normalise, planesOf, preparePicture, toPixels,
} from "./preprocess.js";
const { mode, size, want, channels, padded, shapes } = JSON.parse(readFileSync("job.json"));
const bytes = readFileSync("pictures.bin");
let start = 0;
const results = shapes.map(([height, width]) => {
    const data = bytes.subarray(start, start += 4 * height * width);
    const read = want === "planes" ? channels : channelsRead(mode, channels);
    const planes = planesOf({ width, height, data }, read);
    if (want === "planes") return toPixels(planes);
    const seen = preparePicture(planes, mode, size);
    if (want === "empty") return Float32Array.of(isEmpty(seen));
    return want === "input" ? normalise(seen, padded) : toPixels(seen);
});
writeFileSync("answer.bin", Buffer.concat(results.map((r) => Buffer.from(r.buffer))));
"""
Browser = Callable[..., np.ndarray]
MNIST = Form()


@pytest.fixture
def browser(tmp_path: Path) -> Browser:
    """Run the page's modules in node on pictures, uint8 (H, W) or (H, W, 3).

    Returns what is wanted: `seen`, or `planes` before they are prepared, as uint8 RGBA (N, 4);
    `input`, float32; `empty`, float32 (N,).
    """

    def run(
        pictures: list[np.ndarray],
        mode: Preprocess = "digit",
        *,
        channels: int = 1,
        size: int = 28,
        padded: int = 28,
        want: str = "seen",
    ) -> np.ndarray:
        for name in ("plane", "resample", "ink", "digit", "preprocess"):
            shutil.copy(PAGE / f"{name}.js", tmp_path)
        (tmp_path / "package.json").write_text('{"type": "module"}')
        (tmp_path / "script.js").write_text(SCRIPT)
        job = {"mode": mode, "size": size, "want": want, "channels": channels, "padded": padded}
        job["shapes"] = [picture.shape[:2] for picture in pictures]
        (tmp_path / "job.json").write_text(json.dumps(job))
        opaque = [np.asarray(Image.fromarray(picture).convert("RGBA")) for picture in pictures]
        (tmp_path / "pictures.bin").write_bytes(b"".join(p.tobytes() for p in opaque))
        subprocess.run(["node", "script.js"], cwd=tmp_path, check=True)
        if want in ("seen", "planes"):
            return np.fromfile(tmp_path / "answer.bin", np.uint8).reshape(-1, 4)
        return np.fromfile(tmp_path / "answer.bin", np.float32)

    return run


def assert_same(
    browser: Browser, pictures: list[np.ndarray], mode: Preprocess, form: Form = MNIST
) -> None:
    """Check that few pixels differ, and none by more than 2 of 255."""
    prepared = [prepare_picture(picture, mode, form.size) for picture in pictures]
    expected = np.stack(prepared).reshape(-1, form.channels).astype(float)
    actual = browser(pictures, mode, channels=form.channels, size=form.size)
    assert (actual[:, 3] == 255).all()
    difference = np.abs(actual[:, :3] - expected)
    assert difference.max() <= 2 and (difference > 0).mean() < 0.01


@pytest.mark.parametrize("pens", [slow([(400, 24), (280, 40)]), [(400, 6)]])
def test_drawings_are_prepared_alike(
    browser: Browser, rng: np.random.Generator, pens: list[tuple[int, int]]
) -> None:
    drawings = [
        sheet(strokes, side, pen, (dx, dy), zoom)
        for strokes in DIGITS.values()
        for side, pen in pens
        for dx, dy, zoom in [(0, 0, 1), (*rng.uniform(-0.2, 0.2, 2), 0.5)]
    ]
    assert_same(browser, drawings, "digit")


@pytest.mark.parametrize("digits", [slice(1), slow(slice(4))], ids=["one", "more"])
@pytest.mark.parametrize("kind", {**KINDS, **HARD})
def test_photos_are_prepared_alike(
    browser: Browser, rng: np.random.Generator, kind: str, digits: slice
) -> None:
    spoil = {**KINDS, **HARD}[kind]
    chosen = load_dataset("mnist", "test").images[digits]
    photos = [np.ascontiguousarray(spoil(digit, rng)) for digit in chosen]
    assert_same(browser, photos, "digit")


@pytest.mark.parametrize("mode", ["digit", "resize"])
def test_odd_sizes_are_prepared_alike(
    browser: Browser, rng: np.random.Generator, mode: Preprocess
) -> None:
    shapes = [(1, 500), (500, 1), (1, 2), (3, 3), (27, 29), (28, 28), (903, 1201), (40, 400)]
    pictures = [rng.integers(0, 256, shape, dtype=np.uint8) for shape in shapes]
    pictures += [np.full((40, 30), value, np.uint8) for value in (0, 90, 255)]
    pictures += [
        np.tile(np.repeat(np.uint8([255, 0, 255]), (w, 2 * w, w)), (1, 1)) for w in (99, 9)
    ]
    assert_same(browser, pictures, mode)


@pytest.mark.parametrize("mode", ["digit", "resize"])
def test_the_same_pictures_count_as_empty(browser: Browser, mode: Preprocess) -> None:
    shapes = [(28, 28), (400, 400), (30, 500)]
    pictures = [np.full(shape, value, np.uint8) for shape in shapes for value in (0, 90, 255)]
    pictures += [sheet(DIGITS["4"], 400, 24), 255 * np.eye(28, dtype=np.uint8)]
    expected = [is_empty(prepare_picture(picture, mode)) for picture in pictures]
    assert expected == [True] * 9 + [False] * 2
    assert browser(pictures, mode, want="empty").tolist() == expected


def test_a_picture_of_one_colour_is_not_empty(browser: Browser) -> None:
    pictures = [np.full((64, 64, 3), value, np.uint8) for value in (0, 90)]
    assert not any(map(is_empty, pictures))
    assert not browser(pictures, "resize", channels=3, size=64, want="empty").any()


def test_straight_strokes_are_found_and_shadows_are_not(browser: Browser) -> None:
    places = np.arange(400) * np.ones((400, 1), int)
    strokes = [np.full((400, 400), 255, np.uint8) for _ in range(3)]
    for stroke, above in zip(strokes, (0, 10, 120), strict=True):
        stroke[above : 400 - above, 194:206] = 0
    shadows = [np.where(places < end, 120, 230).astype(np.uint8) for end in (40, 180)]
    assert browser(strokes + shadows, want="empty").tolist() == [False] * 3 + [True] * 2
    assert_same(browser, strokes + shadows, "digit")


def test_colours_become_the_same_grey(browser: Browser, rng: np.random.Generator) -> None:
    colours = rng.integers(0, 256, (60, 70, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(colours).convert("L").convert("RGB"))
    actual = browser([colours], want="planes")
    assert np.array_equal(actual[:, :3].reshape(60, 70, 3), expected)


@pytest.mark.parametrize("form", [Form(1, 64), Form(3, 28), Form(3, 64), Form(3, 224)], ids=str)
def test_other_forms_are_prepared_alike(
    browser: Browser, rng: np.random.Generator, form: Form
) -> None:
    size = form.size
    sides = [(1, 90), (90, 1), (3, 3), (size, size), (size, 40), (301, 403), (30, 300)]
    shapes = [(*side, 3)[: 3 if form.channels == 3 else 2] for side in sides]
    pictures = [rng.integers(0, 256, shape, dtype=np.uint8) for shape in shapes]
    rgb = np.indices((110, 150)).transpose(1, 2, 0)[..., [0, 1, 1]].astype(np.uint8)  # smooth
    pictures.append(rgb if form.channels == 3 else rgb[..., 0])
    assert_same(browser, pictures, "resize", form)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("size", "padded"), [(28, 28), (28, 32), (28, 33), (64, 64), (30, 37)])
def test_normalised_alike(
    browser: Browser, rng: np.random.Generator, channels: int, size: int, padded: int
) -> None:
    picture = rng.integers(0, 256, Form(channels, size).shape, dtype=np.uint8)
    options = {"channels": channels, "size": size, "padded": padded}
    actual = browser([picture], "resize", want="input", **options)
    expected = normalise(picture[None], padded)
    assert np.array_equal(actual.reshape(expected.shape), expected)
