"""Ink is told from paper: its colour, lines, frames and the sheet."""

from __future__ import annotations

import numpy as np
import pytest
from hard_photos import HARD
from PIL import Image, ImageDraw

from lenet_paddle.data.digit import has_mnist_form, prepare_digit
from lenet_paddle.data.form import to_grey
from lenet_paddle.data.ink import find_sheet, fit, remove_lines, to_plane
from lenet_paddle.data.load import load_dataset
from lenet_paddle.data.preprocess import is_empty, prepare_picture

SEVEN = [(90, 120), (210, 115), (140, 280)]


@pytest.fixture(scope="module")
def digits() -> np.ndarray:
    return load_dataset("mnist", "train").images[:300]


def sheet(*lines: list[tuple[int, int]], pen: int = 14, paper: int = 225) -> Image.Image:
    """A sheet of 300x400 pixels on which lines are drawn."""
    picture = Image.new("L", (300, 400), paper)
    for line in lines:
        ImageDraw.Draw(picture).line(line, fill=40, width=pen, joint="curve")
    return picture


def same(first: np.ndarray, second: np.ndarray) -> float:
    """Return the correlation of two pictures."""
    return float(np.corrcoef(first.ravel(), second.ravel())[0, 1])


AROUND: dict[str, list[list[tuple[int, int]]]] = {
    "a frame": [[(50, 70), (250, 75), (245, 330), (45, 325), (50, 70)]],
    "a rule": [[(0, 200), (300, 208)]],
    "several rules": [[(0, y), (300, y - 6)] for y in range(30, 400, 60)],
    "squares": [[(0, y), (300, y)] for y in range(30, 400, 60)]
    + [[(x, 0), (x, 400)] for x in range(20, 300, 60)],
    "the boxes of a form": [[(0, 80), (300, 80)], [(0, 320), (300, 320)]]
    + [[(x, 80), (x, 320)] for x in (30, 270)],
    "an underline": [[(95, 310), (205, 306)]],
}


@pytest.mark.parametrize("name", AROUND)
def test_what_is_drawn_around_a_digit_does_not_change_it(name: str) -> None:
    picture = sheet(SEVEN)
    for line in AROUND[name]:
        ImageDraw.Draw(picture).line(line, fill=90, width=5)
    assert same(prepare_digit(np.asarray(picture)), prepare_digit(np.asarray(sheet(SEVEN)))) > 0.9


def test_a_line_through_the_digit_is_part_of_the_writing() -> None:
    """Who crosses a digit out writes none."""
    plain = prepare_digit(np.asarray(sheet(SEVEN)))
    crossed = prepare_digit(np.asarray(sheet(SEVEN, [(60, 190), (240, 200)])))
    assert crossed.astype(int).sum() > 1.15 * plain.astype(int).sum()


@pytest.mark.parametrize("line", [[(150, 20), (150, 380)], [(150, 0), (150, 400)]], ids=str)
def test_a_long_straight_one_stays(line: list[tuple[int, int]]) -> None:
    ys, xs = prepare_digit(np.asarray(sheet(line))).nonzero()
    assert np.ptp(ys) + 1 in (19, 20) and np.ptp(xs) + 1 <= 5


def test_where_a_stroke_crosses_a_line_it_stays() -> None:
    dark = np.zeros((300, 400), bool)
    dark[60:240, 190:206] = True
    stroke = dark.copy()
    dark[150:154] = True
    rest, has_lines = remove_lines(dark)
    assert has_lines and np.array_equal(rest, stroke)
    rest, has_lines = remove_lines(stroke)
    assert not has_lines and np.array_equal(rest, stroke)


@pytest.mark.parametrize("is_turned", [False, True])
def test_a_sheet_is_told_from_the_table_by_its_straight_edges(is_turned: bool) -> None:
    paper = sheet(SEVEN).resize((150, 200))
    if is_turned:
        paper = paper.rotate(8, Image.Resampling.BICUBIC, fillcolor=70)
    table = Image.new("L", (360, 300), 70)
    table.paste(paper, (110, 50))
    found = find_sheet(fit(np.asarray(table), 400))
    assert found is not None and not found.covered[:12].any() and found.covered[40, 50]
    alike = same(prepare_digit(np.asarray(table)), prepare_digit(np.asarray(sheet(SEVEN))))
    assert alike > (0.6 if is_turned else 0.9)  # the digit is turned, too
    oval = Image.new("L", (360, 300), 70)
    ImageDraw.Draw(oval).ellipse((60, 40, 300, 260), fill=225)
    for other in (np.asarray(sheet(SEVEN)), np.asarray(oval), np.tile(np.arange(256), (200, 1))):
        assert find_sheet(fit(other.astype(np.uint8), 400)) is None


@pytest.mark.parametrize("height", [1, 2, 5])
def test_a_strip_has_no_sheet(height: int) -> None:
    strip = np.full((height, 400), 255, np.uint8)
    strip[:, 100:300] = 0
    for picture in (strip, 255 - strip, strip.T.copy()):
        assert find_sheet(fit(picture, 400)) is None
        assert prepare_digit(picture).shape == (28, 28)


def test_a_photo_in_colour_is_seen_as_in_grey(digits: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    for kind in ("frame", "ruled", "on_a_table", "hand_shadow"):
        for digit in digits[:2]:
            photo = fit(HARD[kind](digit, rng), 400)
            assert np.array_equal(to_plane(photo), to_grey(photo.astype(np.uint8)))


@pytest.mark.parametrize("kind", ["red_on_green", "yellow_pen"])
def test_ink_that_differs_in_colour_alone_is_found(digits: np.ndarray, kind: str) -> None:
    rng = np.random.default_rng(0)
    pairs = [(digit, prepare_digit(HARD[kind](digit, rng))) for digit in digits[:6]]
    assert np.mean([same(*pair) for pair in pairs]) > 0.8


def test_three_equal_channels_are_prepared_as_one(digits: np.ndarray) -> None:
    for picture in (digits[0], 255 - digits[1], np.asarray(sheet(SEVEN)), digits[2][4:24, 4:24]):
        both = [prepare_picture(p, "digit") for p in (picture, np.dstack([picture] * 3))]
        assert np.array_equal(*both) and both[0].ndim == 2 and not is_empty(both[0])


def test_colour_without_writing_is_empty() -> None:
    rng = np.random.default_rng(0)
    grain = rng.normal((200, 120, 90), (9, 3, 12), (300, 400, 3)).clip(0, 255)
    for picture in (grain, np.full((50, 50, 3), (200, 30, 40))):
        assert is_empty(prepare_picture(picture.astype(np.uint8), "digit"))


FOREIGN = {
    "dark on light": lambda d: 255 - d,
    "two pixels down": lambda d: np.roll(d, 2, 0),
    "two pixels left and up": lambda d: np.roll(d, (-2, -2), (0, 1)),
    "smaller": lambda d: np.pad(np.asarray(Image.fromarray(d).resize((22, 22))), 3),
    "half the contrast": lambda d: d // 2,
}


@pytest.mark.parametrize("name", FOREIGN)
def test_nothing_but_mnists_own_form_passes_unchanged(digits: np.ndarray, name: str) -> None:
    assert not any(has_mnist_form(FOREIGN[name](digit)) for digit in digits)


# The least mean correlation of what is seen with the digit that was written, over six pictures.
FLOORS = dict.fromkeys(HARD, 0.75) | {"scan_8": 0.7, "thick_marker": 0.65, "thick_28": 0.7}


@pytest.mark.parametrize("kind", HARD)
def test_the_digit_is_seen_among_other_things(digits: np.ndarray, kind: str) -> None:
    rng = np.random.default_rng(0)
    seen = [prepare_digit(HARD[kind](digit, rng)) for digit in digits[:6]]
    alike = [same(*pair) if pair[1].any() else 0 for pair in zip(digits, seen, strict=False)]
    assert np.mean(alike) > FLOORS[kind], alike
