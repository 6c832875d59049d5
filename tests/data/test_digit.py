"""`prepare_digit`: shapes, centring, robustness."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from lenet_paddle.data.digit import prepare_digit

SHAPES = {
    "one": [[(110, 60), (95, 240)]],
    "two": [[(60, 90), (100, 50), (140, 90), (60, 230), (150, 230)]],
    "four": [[(120, 50), (50, 160), (160, 160)], [(125, 110), (115, 250)]],
    "five, its bar apart": [[(70, 60), (60, 130), (130, 150), (140, 200), (60, 230)],
                            [(95, 56), (160, 50)]],
}  # fmt: skip


def drawn(lines: list, pen: int = 14, specks: tuple = ()) -> np.ndarray:
    """A digit written with a dark pen on a light sheet of 300x360 pixels."""
    sheet = Image.new("L", (300, 360), 225)
    draw = ImageDraw.Draw(sheet)
    for line in lines:
        draw.line(line, fill=40, width=pen, joint="curve")
    for x, y in specks:
        draw.ellipse((x - 4, y - 4, x + 4, y + 4), fill=20)
    return np.asarray(sheet)


def test_mnist_picture_passes_unchanged() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)
    assert np.array_equal(prepare_digit(picture), picture)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [0, 90, 255])
@pytest.mark.parametrize("shape", [(1, 1), (40, 30), (700, 500)])
def test_constant_picture_gives_zeros(shape: tuple, value: int) -> None:
    result = prepare_digit(np.full(shape, value, np.uint8))
    assert result.shape == (28, 28) and result.dtype == np.uint8 and not result.any()


def test_noise_on_an_empty_sheet_is_no_digit() -> None:
    sheet = 220 + np.random.default_rng(0).normal(0, 5, (400, 500))
    assert not prepare_digit(sheet.astype(np.uint8)).any()


@pytest.mark.parametrize("pen", [2, 14, 30])
@pytest.mark.parametrize("name", SHAPES)
def test_form_of_mnist(name: str, pen: int) -> None:
    result = prepare_digit(drawn(SHAPES[name], pen))
    assert result.shape == (28, 28) and result.dtype == np.uint8
    assert result.max() == 255
    ys, xs = result.nonzero()
    assert max(np.ptp(ys), np.ptp(xs)) + 1 in (19, 20)
    for axis in (0, 1):
        centre = np.average(np.arange(28), weights=result.sum(1 - axis))
        assert abs(centre - 13.75) < 1


@pytest.mark.parametrize("name", SHAPES)
def test_polarity_does_not_matter(name: str) -> None:
    picture = drawn(SHAPES[name])
    difference = prepare_digit(picture) - prepare_digit(255 - picture).astype(float)
    assert np.abs(difference).mean() < 3


@pytest.mark.parametrize("name", SHAPES)
def test_specks_do_not_move_the_digit(name: str) -> None:
    specks = ((250, 40), (240, 300), (20, 330))
    clean, spotted = (prepare_digit(drawn(SHAPES[name], specks=s)) for s in ((), specks))
    assert np.abs(clean - spotted.astype(float)).max() < 3


def test_size_and_place_on_the_sheet_do_not_matter() -> None:
    picture = drawn(SHAPES["two"])
    wide = np.pad(picture, ((0, 300), (500, 0)), mode="edge")
    large = np.asarray(Image.fromarray(picture).resize((900, 1080)))
    for other in (wide, large):
        difference = prepare_digit(picture) - prepare_digit(other).astype(float)
        assert np.abs(difference).mean() < 8


def test_detached_bar_of_a_five_is_kept() -> None:
    body, bar = SHAPES["five, its bar apart"]
    whole, bare = prepare_digit(drawn([body, bar])), prepare_digit(drawn([body]))
    right = whole.shape[1] // 2
    assert whole[4:9, right:].any() and whole.any(0).sum() > bare.any(0).sum()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("shape", [(1, 500), (500, 1), (1, 2), (3, 3), (27, 29), (3000, 4000)])
def test_odd_sizes(shape: tuple) -> None:
    picture = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    assert prepare_digit(picture).shape == (28, 28)
