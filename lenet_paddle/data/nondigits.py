"""Pictures that are no digits, made from the digits of a training batch.

A network that answers all of these with equal probabilities (Hendrycks, Mazeika and Dietterich:
Deep Anomaly Detection with Outlier Exposure, 2019, arXiv 1812.04606) is less sure of what it has
never seen. Each kind is a function (digits, a number, a generator) -> that many pictures, uint8
(number, H, W).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from lenet_paddle.data.datasets import DIGITS
from lenet_paddle.data.imageset import ImageSet
from lenet_paddle.data.transforms import Augmentation, smooth_fields
from lenet_paddle.errors import InputError

NO_DIGIT = -1  # the label of such a picture
WARP = Augmentation(elastic=5, elastic_sigma=2.5)
ASYMMETRIC = (2, 4, 5, 7)  # the left or right half beside its mirror image is no digit
OPEN = (0, 2, 3, 5)  # a half alone is no digit; that of an 8 may be a 3, that of a 9 a 1
# Quarter turns after an exchange of left and right or none, after which a digit is none: (class,
# exchanged, turns). A 0, 1 or 8 stays what it is, a turned 6 is a 9, a mirrored 2 nearly a 5.
TURNS = (
    *((digit, False, turns) for digit in (2, 3, 4, 5, 6, 7, 9) for turns in (1, 3)),
    *((3, False, 2), (4, False, 2), (7, False, 2)),
    *((3, True, 0), (4, True, 0), (4, True, 2), (7, True, 0), (7, True, 2)),
)


class Digits(NamedTuple):
    """Training digits."""

    images: np.ndarray
    """uint8 (B, H, W)."""
    labels: np.ndarray
    """int (B,), each digit's value."""


Make = Callable[[Digits, int, np.random.Generator], np.ndarray]
Replace = Callable[[np.ndarray, np.ndarray, np.random.Generator], tuple[np.ndarray, np.ndarray]]


def choose_outliers(share: float, image_set: ImageSet) -> Replace | None:
    """Return what replaces a `share` of each batch of `image_set` by pictures that are no digits.

    It takes images uint8 (B, H, W), labels int64 (B,) and a generator, and returns the same: the
    last int(share * B) images are new, with the label -1. None for a share of 0. Raises
    `InputError` unless the images are grey digits.
    """
    if share == 0:
        return None
    if image_set.classes != DIGITS or image_set.form.channels != 1:
        shown = "grey" if image_set.form.channels == 1 else "colour"
        raise InputError(
            f"outliers is {share:g}, but the pictures are {shown} ones of the classes "
            f"{', '.join(image_set.classes[:10])}; expected grey digits, 0 to 9: leave --outliers "
            "out"
        )
    return functools.partial(_replace, share)


def _replace(
    share: float, images: np.ndarray, labels: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    number = int(share * len(images))
    if number == 0:
        return images, labels
    made, kept = make_nondigits(images, labels, number, rng), len(images) - number
    new_labels = np.full(number, NO_DIGIT, labels.dtype)
    return np.concatenate([images[:kept], made]), np.concatenate([labels[:kept], new_labels])


def make_nondigits(
    images: np.ndarray, labels: np.ndarray, number: int, rng: np.random.Generator
) -> np.ndarray:
    """Make pictures of kinds drawn evenly from `KINDS`: uint8 (number, H, W), kind after kind."""
    digits = Digits(images, labels)
    counts = np.bincount(rng.integers(len(KINDS), size=number), minlength=len(KINDS))
    made = [make(digits, n, rng) for make, n in zip(KINDS.values(), counts, strict=True) if n]
    return np.concatenate(made)


def _draw(digits: Digits, number: int, rng: np.random.Generator) -> np.ndarray:
    return digits.images[rng.integers(len(digits.images), size=number)]


def _draw_of(
    classes: Sequence[int], digits: Digits, number: int, rng: np.random.Generator
) -> np.ndarray:
    """Draw digits of these classes; shuffled pieces, which are none either, if there are none."""
    of_these = np.flatnonzero(np.isin(digits.labels, classes))
    if not len(of_these):
        return _pieces(digits, number, rng)
    return digits.images[rng.choice(of_these, number)]


def _draw_turned(digits: Digits, number: int, rng: np.random.Generator) -> np.ndarray:
    """Draw digits turned by 90 degrees to one side."""
    return np.rot90(_draw(digits, number, rng), rng.choice((1, 3)), axes=(1, 2))


def _choose_halves(digits: Digits, number: int, rng: np.random.Generator) -> np.ndarray:
    """Return which pixels are in a half of each picture, bool (number, H, W): by chance the left,
    the right, the upper or the lower one."""
    height, width = digits.images.shape[1:]
    is_side, is_first = rng.random((2, number, 1, 1)) < 0.5
    rows, cols = np.arange(height)[:, None] < height / 2, np.arange(width) < width / 2
    return np.where(is_side, cols, rows) == is_first


def _halves(digits: Digits, number: int, rng: np.random.Generator) -> np.ndarray:
    """Glue half a digit to half of another, which is turned."""
    chosen = _choose_halves(digits, number, rng)
    return np.where(chosen, _draw(digits, number, rng), _draw_turned(digits, number, rng))


def _quarters(digits: Digits, number: int, rng: np.random.Generator) -> np.ndarray:
    """Glue quarters of four digits; two of them are turned."""
    left, upper = (np.arange(side) < side / 2 for side in digits.images.shape[2:0:-1])
    first, second = (
        np.where(left, _draw(digits, number, rng), _draw_turned(digits, number, rng))
        for _ in range(2)
    )
    return np.where(upper[:, None], first, second)


def _overlaid(digits: Digits, number: int, rng: np.random.Generator) -> np.ndarray:
    """Write a digit over a turned one."""
    return np.maximum(_draw(digits, number, rng), _draw_turned(digits, number, rng))


def _pieces(digits: Digits, number: int, rng: np.random.Generator) -> np.ndarray:
    """Shuffle the 16 pieces of a digit."""
    height, width = (side // 4 for side in digits.images.shape[1:])
    made = _draw(digits, number, rng).copy()
    tiles = made[:, : 4 * height, : 4 * width].reshape(number, 4, height, 4, width)
    order = rng.permuted(np.tile(np.arange(16), (number, 1)), axis=1)
    tiles = tiles.swapaxes(2, 3).reshape(number, 16, height, width)
    shuffled = tiles[np.arange(number)[:, None], order].reshape(number, 4, 4, height, width)
    made[:, : 4 * height, : 4 * width] = shuffled.swapaxes(2, 3).reshape(
        number, 4 * height, 4 * width
    )
    return made


def _warped(digits: Digits, number: int, rng: np.random.Generator) -> np.ndarray:
    """Distort a digit beyond recognition."""
    return WARP(_draw(digits, number, rng), rng)


def _half(digits: Digits, number: int, rng: np.random.Generator) -> np.ndarray:
    """Leave half of a digit."""
    chosen = _choose_halves(digits, number, rng)
    return np.where(chosen, _draw_of(OPEN, digits, number, rng), np.uint8(0))


def _mirrored(digits: Digits, number: int, rng: np.random.Generator) -> np.ndarray:
    """Glue half a digit to its mirror image."""
    drawn = _draw_of(ASYMMETRIC, digits, number, rng)
    left = np.arange(drawn.shape[2]) < drawn.shape[2] / 2
    kept = left == (rng.random((number, 1, 1)) < 0.5)
    return np.where(kept, drawn, drawn[:, :, ::-1])


def _turned(digits: Digits, number: int, rng: np.random.Generator) -> np.ndarray:
    """Turn a digit, or mirror it, so that it is none."""
    digit, exchanged, turns = TURNS[rng.integers(len(TURNS))]
    drawn = _draw_of((digit,), digits, number, rng)
    return np.rot90(drawn[:, :, ::-1] if exchanged else drawn, turns, axes=(1, 2))


def _heap(digits: Digits, number: int, rng: np.random.Generator) -> np.ndarray:
    """Heap four digits, of which two are turned, to one thick shape."""
    made = np.maximum(_overlaid(digits, number, rng), _overlaid(digits, number, rng))
    return np.maximum(made, np.roll(made, rng.integers(1, 4), axis=rng.integers(1, 3)))


def _contours(digits: Digits, number: int, rng: np.random.Generator) -> np.ndarray:
    """Draw a level of a smooth random field, as wide as strokes."""
    fields = _fields(digits, number, (2, 5), rng)
    return _to_bytes(1.5 - np.abs(fields) * 5)


def _blots(digits: Digits, number: int, rng: np.random.Generator) -> np.ndarray:
    """Draw where a smooth random field is high, in greys of another."""
    ink = np.clip((_fields(digits, number, (3, 9), rng) - 0.3) * 5, 0, 1)
    return _to_bytes(ink * np.clip(0.7 + 0.3 * _fields(digits, number, (1, 9), rng), 0, 1))


def _noise(digits: Digits, number: int, rng: np.random.Generator) -> np.ndarray:
    """Draw noise of a random mean and deviation; each value fills 1, 2x2 or 4x4 pixels."""
    height, width = digits.images.shape[1:]
    block = int(rng.choice((1, 2, 4)))
    values = rng.standard_normal((number, -(-height // block), -(-width // block)), np.float32)
    values = values.repeat(block, axis=1).repeat(block, axis=2)[:, :height, :width]
    mean, deviation = rng.random((2, number, 1, 1), np.float32)
    return _to_bytes(mean + deviation * values)


def _stripes(digits: Digits, number: int, rng: np.random.Generator) -> np.ndarray:
    """Draw parallel stripes of any direction, 3 to 14 pixels of a side of 28 from one another."""
    height, width = digits.images.shape[1:]
    angle, phase = rng.uniform(0, 2 * np.pi, (2, number, 1, 1))
    waves = rng.uniform(2, 9, (number, 1, 1)) / max(height, width) * 2 * np.pi
    along = np.cos(angle) * np.arange(height)[:, None] + np.sin(angle) * np.arange(width)
    contrast = rng.uniform(0.5, 4, (number, 1, 1))
    return _to_bytes(0.5 + contrast * np.sin(waves * along + phase))


def _flat(digits: Digits, number: int, rng: np.random.Generator) -> np.ndarray:
    """Draw one grey; every second one is black, the ground without a digit."""
    greys = rng.integers(0, 256, (number, 1, 1)) * rng.integers(0, 2, (number, 1, 1))
    return np.broadcast_to(greys, (number, *digits.images.shape[1:])).astype(np.uint8)


def _fields(
    digits: Digits, number: int, widths: tuple[int, int], rng: np.random.Generator
) -> np.ndarray:
    """Draw smooth fields, float32 (number, H, W), as wide as one draw from `widths` says."""
    height, width = digits.images.shape[1:]
    return smooth_fields(number, height, width, int(rng.integers(*widths)) * height / 28, rng)


def _to_bytes(values: np.ndarray) -> np.ndarray:
    """Turn 0..1 into uint8, what is outside into the next of both."""
    return np.rint(255 * np.clip(values, 0, 1)).astype(np.uint8)


KINDS: dict[str, Make] = {
    "halves": _halves,
    "quarters": _quarters,
    "overlaid": _overlaid,
    "pieces": _pieces,
    "warped": _warped,
    "half": _half,
    "mirrored": _mirrored,
    "turned": _turned,
    "heap": _heap,
    "contours": _contours,
    "blots": _blots,
    "noise": _noise,
    "stripes": _stripes,
    "flat": _flat,
}
