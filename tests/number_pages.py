"""Make synthetic pages of handwritten numbers from MNIST digits, with the place of each digit.

    python tests/number_pages.py output/lenet_builtin-mnist-001 docs/pages.png

draws one page of each kind of paper with a run's answers, and prints a table of 20 pages a kind:
how many digits are found, and right, how many found digits are false, how many five-digit numbers
are right, and the time a page takes.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from photos import _bounds, _bytes, _ramp, _smooth_noise, _strokes

from lenet_paddle.data.imageset import ImageSet
from lenet_paddle.data.load import load_dataset
from lenet_paddle.export.pages import Page
from lenet_paddle.export.predictor import Predictor
from lenet_paddle.workflows.predict import draw_pages

Rng = np.random.Generator
Box = tuple[float, float, float, float]
PAPERS = ("plain", "ruled", "squared", "boxes", "touching")


@dataclass
class NumberPage:
    """A page: uint8 (H, W), and its rows of numbers, digits of a label and a box (left, top, right,
    bottom) each."""

    picture: np.ndarray
    rows: list[list[list[tuple[int, Box]]]]

    @property
    def digits(self) -> list[tuple[int, Box]]:
        """All digits in reading order."""
        return [digit for row in self.rows for number in row for digit in number]


def make_page(
    images: np.ndarray, labels: np.ndarray, paper: str, rng: Rng, side: int | None = None
) -> NumberPage:
    """Write 2 to 60 of the digits, uint8 (N, 28, 28), on a page of a longer `side` in pixels.

    Papers: plain, ruled, squared, boxes (each digit in one of its own), and touching (plain, with
    neighbours that touch). The sheet is slanted by up to 5 degrees, and lit by a lamp from a side.
    """
    side = side or int(rng.integers(800, 2200))
    lengths = _choose_lengths(paper, rng)
    rows = _lay_out(images, labels, lengths, paper, rng)
    width = max(digit.right for row in rows for number in row for digit in number) + 60
    height = max(digit.bottom for row in rows for number in row for digit in number) + 60
    width, height = max(width, 0.6 * height) + rng.uniform(0, 200), height + rng.uniform(0, 200)
    return _photograph(rows, width, height, side, paper, rng)


@dataclass
class _Written:
    """A digit on the sheet, in units of a hundredth of a usual digit's height."""

    label: int
    image: np.ndarray
    left: float
    top: float
    scale: float  # units a pixel of the image

    @property
    def right(self) -> float:
        return self.left + self.image.shape[1] * self.scale

    @property
    def bottom(self) -> float:
        return self.top + self.image.shape[0] * self.scale


def _choose_lengths(paper: str, rng: Rng) -> list[list[int]]:
    """Return the numbers' lengths, for each row."""
    kind = rng.choice(["five", "mixed", "phone", "few"])
    if kind == "few":
        return [[int(rng.integers(2, 6))]]
    count = int(rng.integers(2, 8))
    if kind == "five":
        return [[5] * int(rng.integers(1, 3)) for _ in range(min(count, 6))]
    if kind == "phone":
        return [[3, 3, 4] for _ in range(min(count, 5))]
    return [[int(rng.integers(1, 9))] for _ in range(count)]


def _lay_out(
    images: np.ndarray, labels: np.ndarray, lengths: list[list[int]], paper: str, rng: Rng
) -> list[list[list[_Written]]]:
    rows: list[list[list[_Written]]] = []
    top = rng.uniform(40, 120)
    start = rng.uniform(40, 120)
    for row_lengths in lengths:
        size = 100 * (rng.uniform(0.75, 1.35) if paper != "boxes" else 1)
        left, row = start + rng.uniform(0, 60) * (paper != "boxes"), []
        for length in row_lengths:
            number = []
            for place in range(length):
                k = int(rng.integers(len(images)))
                digit = images[k]
                y0, y1, x0, x1 = _bounds(digit / 255)
                scale = size * rng.uniform(0.87, 1.07) / 20  # a digit of MNIST has 20 pixels
                if paper == "boxes":
                    wide = (x1 - x0) * scale
                    spot = left + 65 + 130 * place - wide / 2
                else:
                    gap = rng.uniform(0.08, 0.35) * size
                    if paper == "touching" and place and rng.random() < 0.3:
                        gap = -rng.uniform(0.0, 0.06) * size
                    spot = number[-1].right + gap if number else left
                middle = top + size / 2 + rng.normal(0, 0.04) * size
                number.append(
                    _Written(
                        int(labels[k]),
                        digit[y0:y1, x0:x1],
                        spot,
                        middle - (y1 - y0) * scale / 2,
                        scale,
                    )
                )
            row.append(number)
            left = (left + 130 * length if paper == "boxes" else number[-1].right) + (
                rng.uniform(0.9, 2.5) * size
            )
        rows.append(row)
        top += size * rng.uniform(1.35, 1.9)
    return rows


def _photograph(
    rows: list[list[list[_Written]]],
    width: float,
    height: float,
    side: int,
    paper: str,
    rng: Rng,
) -> NumberPage:
    """Draw the sheet with a slant, and spoil it with light and noise."""
    unit = side / max(width, height)
    shape = (round(height * unit), round(width * unit))
    angle = np.deg2rad(rng.uniform(-5, 5))
    centre = np.array([width, height]) / 2
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shrunk = 1 - abs(np.sin(angle)) * 0.8  # so that no digit leaves the picture

    def place(x: float, y: float) -> np.ndarray:
        return unit * (centre + shrunk * turn @ (np.array([x, y]) - centre))

    ink = np.zeros(shape, np.float32)
    truth = []
    for row in rows:
        truth.append([])
        for number in row:
            truth[-1].append([])
            for digit in number:
                middle = place((digit.left + digit.right) / 2, (digit.top + digit.bottom) / 2)
                box = _draw(ink, digit, middle, unit * shrunk, np.rad2deg(angle))
                truth[-1][-1].append((digit.label, box))
    lines = _image_lines(shape, rows, width, height, place, unit, paper, rng)
    ground = rng.uniform(200, 245) + 2 * _smooth_noise(shape, 12, rng)
    page = ground * (1 - lines * rng.uniform(0.15, 0.7))
    page = np.minimum(page, ground + (rng.uniform(30, 90) - ground) * ink * rng.uniform(0.85, 1))
    page = page * (1 - rng.uniform(0, 0.5) * _ramp(shape, rng) ** rng.uniform(0.7, 2))
    blur = ImageFilter.GaussianBlur(rng.uniform(0, 0.0008) * side)
    page = np.asarray(Image.fromarray(_bytes(page)).filter(blur), np.float32)
    return NumberPage(_bytes(page + rng.normal(0, rng.uniform(1, 8), shape)), truth)


def _draw(ink: np.ndarray, digit: _Written, middle: np.ndarray, unit: float, angle: float) -> Box:
    """Draw a digit into the ink and return its box."""
    side = max(digit.image.shape)
    padded = np.zeros((2 * side, 2 * side), np.uint8)
    y, x = (2 * side - digit.image.shape[0]) // 2, (2 * side - digit.image.shape[1]) // 2
    padded[y : y + digit.image.shape[0], x : x + digit.image.shape[1]] = digit.image
    stroke = _strokes(padded, max(8, round(2 * side * digit.scale * unit)))
    turned = Image.fromarray(stroke).rotate(-angle, Image.Resampling.BILINEAR)
    stroke = np.asarray(turned)
    top, left = round(middle[1] - stroke.shape[0] / 2), round(middle[0] - stroke.shape[1] / 2)
    y0, x0 = max(0, -top), max(0, -left)
    part = ink[max(0, top) : top + stroke.shape[0], max(0, left) : left + stroke.shape[1]]
    stroke = stroke[y0 : y0 + part.shape[0], x0 : x0 + part.shape[1]]
    np.maximum(part, stroke, out=part)
    ys, xs = np.nonzero(stroke > 0.5)
    top, left = max(0, top), max(0, left)
    return (left + xs.min(), top + ys.min(), left + xs.max() + 1, top + ys.max() + 1)


def _image_lines(
    shape: tuple[int, int],
    rows: list[list[list[_Written]]],
    width: float,
    height: float,
    place: Callable[[float, float], np.ndarray],
    unit: float,
    paper: str,
    rng: Rng,
) -> np.ndarray:
    """Return the coverage (0 to 1) of what is printed on the paper."""
    sheet = Image.new("L", (2 * shape[1], 2 * shape[0]))
    draw = ImageDraw.Draw(sheet)
    thick = max(2, round(2 * unit * rng.uniform(1.2, 2.5)))

    def line(x0: float, y0: float, x1: float, y1: float) -> None:
        ends = [tuple(2 * place(x, y)) for x, y in ((x0, y0), (x1, y1))]
        draw.line(ends, fill=255, width=thick)

    step = rng.uniform(120, 190) if paper == "ruled" else rng.uniform(50, 90)
    if paper in ("ruled", "squared"):
        for y in np.arange(-height, 2 * height, step):
            line(-width, y, 2 * width, y)
    if paper == "squared":
        for x in np.arange(-width, 2 * width, step):
            line(x, -height, x, 2 * height)
    if paper == "boxes":
        for number in (number for row in rows for number in row):
            middle = (number[0].top + number[0].bottom) / 2
            first = (number[0].left + number[0].right) / 2
            top, bottom = middle - 70, middle + 70
            for k in range(len(number) + 1):
                x = first - 65 + 130 * k
                line(x, top, x, bottom)
            for y in (top, bottom):
                line(first - 65, y, first - 65 + 130 * len(number), y)
    return np.asarray(sheet.reduce(2), np.float32) / 255


def load_digits(split: str) -> ImageSet:
    """Return the test digits (`test`), or the last 10,000 of the training digits (`val`)."""
    return load_dataset("mnist", split, val_size=10_000)


def make_pages(digits: ImageSet, paper: str, count: int, seed: int) -> Iterator[NumberPage]:
    """Yield `count` pages of a kind of paper."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        yield make_page(digits.images, digits.labels, paper, rng)


def fit_linear() -> np.ndarray:
    """Return the weights of a linear model by least squares, (785, 10), the last row the bias.

    It reads nine of ten digits, and needs no training.
    """
    digits = load_dataset("mnist", "train").take(np.arange(5000))
    inputs = np.hstack([digits.images.reshape(5000, -1) / 255, np.ones((5000, 1))])
    wanted = 20 * np.eye(10)[digits.labels] - 2
    weights: np.ndarray = np.linalg.solve(inputs.T @ inputs + 50 * np.eye(785), inputs.T @ wanted)
    return weights


@dataclass
class Tally:
    """What was found on pages, of what is written there."""

    digits: int = 0
    found: int = 0
    right: int = 0
    false: int = 0
    numbers: int = 0
    """Numbers of five digits."""
    right_numbers: int = 0
    right_layouts: int = 0
    """Pages on which the rows and the lengths of all numbers are right."""
    seconds: list[float] = field(default_factory=list)

    def add(self, page: NumberPage, answer: Page) -> None:
        """Count the answer for a page. A digit is found if the boxes overlap by half."""
        free = list(answer.digits)
        for label, box in page.digits:
            self.digits += 1
            best = max(free, key=lambda digit: overlap(digit.box, box), default=None)
            if best is None or overlap(best.box, box) < 0.5:
                continue
            free.remove(best)
            self.found += 1
            self.right += best.best == str(label)
        self.false += len(free)
        texts = [[digit.number for digit in row if digit.place == 1] for row in answer.rows]
        wanted = [["".join(str(label) for label, _ in n) for n in row] for row in page.rows]
        self.right_layouts += [list(map(len, r)) for r in texts] == [
            list(map(len, r)) for r in wanted
        ]
        read = [number for row in texts for number in row]
        for number in (number for row in wanted for number in row if len(number) == 5):
            self.numbers += 1
            if number in read:
                read.remove(number)
                self.right_numbers += 1


def overlap(a: Box, b: Box) -> float:
    """Return the share that two boxes have in common of what they cover together."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(right - left) * (bottom - top) for left, top, right, bottom in (a, b)]
    return width * height / (sum(areas) - width * height)


def main() -> None:
    """Draw a page of each kind, and print the table."""
    predictor, path = Predictor.from_run(Path(sys.argv[1])), Path(sys.argv[2])
    digits, drawn = load_digits("test"), []
    print("paper       digits  found  right  false  five-digit numbers  ms a page")
    for paper in PAPERS:
        tally = Tally()
        for number, page in enumerate(make_pages(digits, paper, 20, seed=0)):
            started = time.process_time()
            answer = predictor.read_page(paper, page.picture)
            tally.seconds.append(time.process_time() - started)
            tally.add(page, answer)
            if number == 0:
                drawn.append(answer)
        print(
            f"{paper:<10}{tally.digits:>8}  {tally.found / tally.digits:.3f}  "
            f"{tally.right / tally.digits:.3f}  {tally.false / (tally.found + tally.false):.3f}"
            f"{tally.right_numbers:>10} of {tally.numbers:<6}{1000 * np.mean(tally.seconds):>10.0f}"
        )
    draw_pages(drawn, path)


if __name__ == "__main__":
    main()
