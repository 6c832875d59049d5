"""`prepare_digit`: shapes, centring, robustness."""

import numpy as np
import pytest
from marks import slow
from PIL import Image, ImageDraw
from scipy import ndimage

from lenet_paddle.data.digit import has_mnist_form, prepare_digit
from lenet_paddle.data.load import load_dataset

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


@pytest.fixture(scope="module")
def digits() -> np.ndarray:
    return load_dataset("mnist", "test").images[:20]


def cropped(digit: np.ndarray, times: int = 10) -> np.ndarray:
    """Cut a digit to its ink and enlarge it."""
    rows, columns = np.flatnonzero(digit.any(1)), np.flatnonzero(digit.any(0))
    digit = digit[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    size = (digit.shape[1] * times, digit.shape[0] * times)
    return np.asarray(Image.fromarray(digit).resize(size, Image.Resampling.BICUBIC))


def likeness(first: np.ndarray, second: np.ndarray) -> float:
    """Return the correlation of two pictures."""
    return float(np.corrcoef(first.ravel(), second.ravel())[0, 1])


def test_every_digit_of_mnist_passes_unchanged() -> None:
    train, test = (load_dataset("mnist", split, val_size=0) for split in ("train", "test"))
    assert all(has_mnist_form(picture) for picture in (*train.images, *test.images))
    assert np.array_equal(prepare_digit(test.images[0]), test.images[0])


@pytest.mark.parametrize(
    "change",
    [
        lambda digit: 255 - digit,
        lambda digit: np.roll(digit, (3, -3), (0, 1)),
        lambda digit: 255 - np.roll(digit, (-2, 3), (0, 1)),
        lambda digit: digit // 2,
    ],
    ids=["dark on light", "off-centre", "dark on light, off-centre", "half the contrast"],
)
def test_a_28x28_picture_without_the_form_of_mnist_is_prepared(digits, change) -> None:
    changed = [change(digit) for digit in digits]
    assert not any(map(has_mnist_form, changed))
    pairs = zip(map(prepare_digit, changed), digits, strict=True)
    assert np.mean([likeness(*pair) for pair in pairs]) > 0.9


@pytest.mark.parametrize("times", [slow(1), 10])
@pytest.mark.parametrize("is_dark", [False, slow(True)])
def test_a_picture_cropped_to_its_ink_is_prepared_as_with_a_margin(digits, times, is_dark) -> None:
    pictures = [cropped(digit, times) for digit in digits]
    both = [(picture, np.pad(picture, 4 * times)) for picture in pictures]
    if is_dark:
        both = [(255 - picture, 255 - padded) for picture, padded in both]
    prepared = [tuple(map(prepare_digit, pair)) for pair in both]
    assert all(picture.any() for pair in prepared for picture in pair)
    assert np.mean([likeness(*pair) for pair in prepared]) > 0.95


@pytest.mark.slow
def test_thick_strokes_cropped_to_their_ink_are_prepared_as_with_a_margin() -> None:
    size = 12
    y, x = np.ogrid[-size : size + 1, -size : size + 1]
    prepared = []
    for digit in load_dataset("mnist", "test").images[:60]:
        thick = ndimage.grey_dilation(np.pad(cropped(digit), size), footprint=np.hypot(x, y) < size)
        prepared.append([prepare_digit(cropped(thick, 1)), prepare_digit(np.pad(thick, 60))])
    alike = [likeness(*pair) > 0.9 for pair in prepared]
    assert np.mean(alike) > 0.95


NOISE = np.random.default_rng(0)
EMPTY = {
    "noise": NOISE.integers(0, 256, (400, 400)),
    "noise of 28x28": NOISE.integers(0, 256, (28, 28)),
    "black and white noise": 255 * NOISE.integers(0, 2, (300, 300)),
    "blurred noise": 200 + 200 * ndimage.gaussian_filter(NOISE.normal(0, 1, (400, 400)), 5),
    "a gradient": np.tile(np.linspace(100, 255, 400), (400, 1)),
    "the edge of a shadow": np.where(np.arange(400) < 180, 120, 230) * np.ones((400, 1)),
    "a strip of shadow": np.where(np.arange(400) < 40, 120, 230) * np.ones((400, 1)),
    "a soft shadow": 175
    + 55 * np.tanh((np.arange(400) - 180) / 15) * np.ones((400, 1))
    + NOISE.normal(0, 3, (400, 400)),
    "a dark corner": np.where(np.add.outer(np.arange(400) // 150, np.arange(400) // 60), 230, 120),
    "a black square": np.pad(np.zeros((60, 60)), 120, constant_values=255),
    "white of 28x28": np.full((28, 28), 255),
    "black of 28x28": np.zeros((28, 28)),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", EMPTY)
def test_nothing_is_found_where_nothing_is_written(name: str) -> None:
    assert not prepare_digit(EMPTY[name].clip(0, 255).astype(np.uint8)).any()


@pytest.mark.parametrize("is_light", [False, True])
@pytest.mark.parametrize("margins", [(100, 150), (30, 130), (10, 140), (0, 120)], ids=str)
@pytest.mark.parametrize("width", [1, 3, 20])
def test_a_straight_stroke_is_a_one(width: int, margins: tuple[int, int], is_light: bool) -> None:
    """It fills its box, as the edge of a shadow does."""
    above, beside = margins
    stroke = np.zeros((300 - 2 * above, width), np.uint8)
    picture = np.pad(stroke, ((above, above), (beside, beside)), constant_values=255)
    seen = prepare_digit(255 - picture if is_light else picture)
    ys, xs = seen.nonzero()
    assert np.ptp(ys) + 1 in (19, 20) and 1 <= np.ptp(xs) + 1 <= 5


def test_a_straight_stroke_of_28x28_is_a_one() -> None:
    picture = np.pad(np.zeros((20, 2), np.uint8), ((4, 4), (13, 13)), constant_values=255)
    ys, xs = prepare_digit(picture).nonzero()
    assert np.ptp(ys) + 1 in (19, 20) and np.ptp(xs) + 1 <= 4


def blank_sheet(kind: str, rng: np.random.Generator) -> np.ndarray:
    """A sheet, or a board, lit from one side, with grain, on which nothing is written."""
    height, width = rng.integers(150, 500, 2)
    y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)
    light = 1 + rng.uniform(-0.25, 0.25) * x + rng.uniform(-0.25, 0.25) * y
    rows, columns = np.arange(height)[:, None], np.arange(width)
    level, upright = (rows + columns // 25) % 30 < 2, (columns - rows // 25) % 30 < 2
    side = (np.cos(angle := rng.uniform(0, 6.3)) * x + np.sin(angle) * y) / 0.05
    marks = {
        "ruled": 0.4 * level,
        "squared": 0.4 * (level | upright),
        "dotted": 0.5 * (level & upright),
        "shadow": 0.4 * (side - rng.uniform(-5, 5)).clip(0, 1),
    }
    page = (60 if kind == "board" else 190) * light * (1 - marks.get(kind, 0))
    if kind == "on a table":
        sheet = Image.fromarray(page.astype(np.uint8))
        table = Image.new("L", (width + 150, height + 120), 70)
        turned = sheet.convert("LA").rotate(rng.uniform(-9, 9), expand=True)
        table.paste(turned.convert("L"), (40, 30), turned.getchannel("A"))
        page = np.asarray(table, float)
    page = ndimage.gaussian_filter(page, 0.7)
    return (page + rng.normal(0, rng.uniform(1, 5), page.shape)).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    "kind", ["plain", "ruled", "squared", "dotted", "shadow", "on a table", "board"]
)
def test_a_blank_sheet_is_empty(kind: str) -> None:
    rng = np.random.default_rng(0)
    assert not any(prepare_digit(blank_sheet(kind, rng)).any() for _ in range(3))


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
