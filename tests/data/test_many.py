"""`find_digits`: digits on pages, their rows and numbers, what is left out."""

from __future__ import annotations

import numpy as np
import pytest
from number_pages import PAPERS, NumberPage, fit_linear, load_digits, make_pages, overlap
from PIL import Image, ImageDraw

from lenet_paddle.data.imageset import ImageSet
from lenet_paddle.data.many import Digit, Score, find_digits

Rng = np.random.Generator


@pytest.fixture(scope="module")
def digits() -> ImageSet:
    return load_digits("val")


@pytest.fixture(scope="module")
def score() -> Score:
    """A linear model, which reads nine of ten digits."""
    weights = fit_linear()
    return lambda seen: seen.reshape(len(seen), -1) / 255 @ weights[:-1] + weights[-1]


def written(
    digits: ImageSet, numbers: list[list[int]], size: int = 60, angle: float = 0
) -> np.ndarray:
    """Write rows of digits, those of these places in the set, on a sheet."""
    sheet = np.zeros((2 * size * (len(numbers) + 1), 2 * size * max(map(len, numbers)) + size))
    for row, number in enumerate(numbers):
        for place, k in enumerate(number):
            image = np.asarray(Image.fromarray(digits.images[k]).resize((size, size)))
            top, left = size // 2 + 2 * size * row, size // 2 + size * place
            sheet[top : top + size, left : left + size] = image
    ink = Image.fromarray(sheet.astype(np.uint8)).rotate(angle, Image.Resampling.BICUBIC)
    return (230 - 0.75 * np.asarray(ink, np.float32)).astype(np.uint8)


def layout(found: list[Digit]) -> list[list[int]]:
    """Return the lengths of the numbers, row by row."""
    rows: dict[int, dict[int, int]] = {}
    for digit in found:
        row = rows.setdefault(digit.row, {})
        row[digit.number] = row.get(digit.number, 0) + 1
    return [list(row.values()) for row in rows.values()]


def count(pages: list[NumberPage], score: Score) -> tuple[int, int, int]:
    """Return how many digits are written, found, and falsely found."""
    total = hits = false = 0
    for page in pages:
        boxes = [digit.box for digit in find_digits(page.picture, score)]
        matched = sum(any(overlap(box, true) >= 0.5 for box in boxes) for _, true in page.digits)
        total, hits, false = total + len(page.digits), hits + matched, false + len(boxes) - matched
    return total, hits, false


@pytest.mark.parametrize("paper", PAPERS)
def test_digits_are_found_on_every_paper_and_little_else(
    digits: ImageSet, score: Score, paper: str
) -> None:
    total, hits, false = count(list(make_pages(digits, paper, 2, seed=2)), score)
    assert total > 20 and hits >= (0.9 if paper == "touching" else 0.96) * total
    assert false <= 0.05 * total


def test_the_answers_are_those_of_the_network_for_mnist_like_digits(
    digits: ImageSet, score: Score
) -> None:
    chosen = np.arange(40).reshape(5, 8)
    found = find_digits(written(digits, chosen.tolist()), score)
    assert 39 <= len(found) <= 42
    alone = score(digits.images[:40]).argmax(1).reshape(5, 8)
    same = 0
    for digit in found:  # each stands in the middle of its place on the sheet
        left, top, right, bottom = digit.box
        place = alone[((top + bottom) // 2 - 30) // 120, ((left + right) // 2 - 30) // 60]
        same += digit.logits.argmax() == place
    assert same >= 36
    for digit in found:
        assert digit.seen.shape == (28, 28) and digit.seen.dtype == np.uint8
        np.testing.assert_allclose(score(digit.seen[None])[0], digit.logits)


@pytest.mark.parametrize("angle", [-5, 0, 5])
def test_rows_are_in_reading_order_also_on_a_slanted_sheet(
    digits: ImageSet, score: Score, angle: float
) -> None:
    ones = [k for k in range(200) if digits.labels[k] in (0, 2, 3)][:18]  # of one piece each
    found = find_digits(written(digits, [ones[:6], ones[6:12], ones[12:]], angle=angle), score)
    assert [len(row) for row in layout(found)] == [1, 1, 1]
    assert [sum(row) for row in layout(found)] == [6, 6, 6]
    for row in (1, 2, 3):
        lefts = [digit.box[0] for digit in found if digit.row == row]
        assert lefts == sorted(lefts)


def test_a_wide_gap_divides_a_row_into_numbers(digits: ImageSet, score: Score) -> None:
    page = written(digits, [[2, 3, 4, 5, 6, 7, 8]])
    gap = np.full((page.shape[0], 150), 230, np.uint8)
    cut = 30 + 3 * 60  # behind the third digit
    page = np.hstack([page[:, :cut], gap, page[:, cut:]])
    assert layout(find_digits(page, score)) == [[3, 4]]


def test_boxes_are_in_pixels_of_the_page(digits: ImageSet, score: Score) -> None:
    page = np.full((1000, 3000), 230, np.uint8)
    page[200:500, 700:900] = 40
    page[260:440, 760:840] = 230  # a 0 with corners
    [digit] = find_digits(page, score)
    assert np.abs(np.subtract(digit.box, (700, 200, 900, 500))).max() <= 4


def test_light_digits_on_dark_are_found_as_dark_on_light(digits: ImageSet, score: Score) -> None:
    page = written(digits, [[2, 3, 4, 5], [6, 7, 8, 9]])
    boxes = [digit.box for digit in find_digits(page, score)]
    inverted = [digit.box for digit in find_digits(255 - page, score)]
    assert len(boxes) == 8 and np.abs(np.subtract(boxes, inverted)).max() <= 3


def test_a_bar_above_a_gap_is_part_of_its_digit(score: Score) -> None:
    sheet = Image.new("L", (600, 300), 230)
    draw = ImageDraw.Draw(sheet)
    for left in (100, 300):
        draw.line(
            [(left, 90), (left - 5, 140), (left + 50, 160), (left + 45, 215), (left, 230)], 40, 12
        )
        draw.line([(left + 8, 72), (left + 62, 66)], 40, 12)  # the bar of a 5
    found = find_digits(np.asarray(sheet), score)
    assert len(found) == 2 and all(digit.box[1] < 75 for digit in found)


def test_specks_rules_and_dashes_are_no_digits(digits: ImageSet, score: Score, rng: Rng) -> None:
    page = Image.fromarray(written(digits, [[2, 3, 4, 5], [6, 7, 8, 9]], 80))
    boxes = [digit.box for digit in find_digits(np.asarray(page), score)]
    draw = ImageDraw.Draw(page)
    draw.line((10, 145, 660, 149), fill=60, width=4)  # below the first row
    draw.line((520, 240, 560, 239), fill=60, width=6)
    for x, y in rng.uniform((400, 10), (700, 300), (20, 2)):
        draw.ellipse((x, y, x + 4, y + 4), fill=60)
    found = find_digits(np.asarray(page), score)
    assert len(found) == len(boxes) == 8
    assert np.abs(np.subtract([digit.box for digit in found], boxes)).max() <= 6


EMPTY = {
    "white": np.full((300, 400), 255, np.uint8),
    "black": np.zeros((300, 400), np.uint8),
    "a single pixel": np.zeros((1, 1), np.uint8),
    "a line of pixels": np.full((1, 3000), 128, np.uint8),
    "noise": np.random.default_rng(0).integers(0, 256, (300, 400)).astype(np.uint8),
    "a lamp": np.linspace(90, 240, 400).astype(np.uint8)[None].repeat(300, 0),
}


@pytest.mark.parametrize("kind", EMPTY)
def test_nothing_is_found_where_nothing_is_written(score: Score, kind: str) -> None:
    assert find_digits(EMPTY[kind], score) == []


def test_the_network_runs_twice_at_most_on_few_digits(digits: ImageSet, score: Score) -> None:
    sizes = []

    def counted(seen: np.ndarray) -> np.ndarray:
        sizes.append(len(seen))
        return score(seen)

    [page] = make_pages(digits, "touching", 1, seed=4)
    find_digits(page.picture, counted)
    assert 1 <= len(sizes) <= 2


def test_a_page_full_of_scraps_takes_bounded_work(score: Score, rng: Rng) -> None:
    coarse = rng.integers(0, 2, (100, 100)).astype(np.uint8) * 200
    page = coarse.repeat(16, 0).repeat(16, 1)
    sizes = []

    def counted(seen: np.ndarray) -> np.ndarray:
        sizes.append(len(seen))
        return score(seen)

    find_digits(page, counted)
    assert sum(sizes) <= 2500 and max(sizes) <= 64
