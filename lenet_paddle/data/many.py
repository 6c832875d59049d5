"""Find the handwritten digits on a page, in reading order, and join them into numbers.

Where a piece of ink may be several digits, or two pieces one, the network's own answers decide, as
in LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition",
1998, section V (heuristic over-segmentation). `page/many.js` repeats it in the browser.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import numpy as np

from lenet_paddle.data.page_ink import find_ink
from lenet_paddle.data.pieces import (
    Piece,
    divide,
    find_pairs,
    find_pieces,
    join,
    join_broken,
    to_digit,
    usual_height,
)

BATCH = 64  # digits that the network is asked for at once
MOST_PARTS = 1000  # of pieces that may be several digits
UNSURE = 0.8  # below this probability a piece may be several digits
WIDE, STEEP = 1.2, 3.0  # a piece wider than this, in heights, is less likely one digit
FLAT = 0.8  # lower digits are flat, relative to the usual height
APART = 0.9  # two pieces are one if the network is surer of it than of each, times this
CUT = 0.5  # a piece is several if it is surer of each part, times this for each cut

Score = Callable[[np.ndarray], np.ndarray]
"""Digits as the network sees them, uint8 (N, 28, 28) -> logits (N, C)."""


@dataclass(frozen=True)
class Digit:
    """A digit found on a page."""

    row: int
    """Its row, from 1."""
    number: int
    """Its number in the row, from 1."""
    box: tuple[int, int, int, int]
    """Left, top, right and bottom, in pixels of the page."""
    seen: np.ndarray
    """The network's input before normalisation: uint8 (28, 28)."""
    logits: np.ndarray
    """The network's answer, (C,)."""


@dataclass(frozen=True)
class _Read:
    """A piece, what the network sees of it, and its answer."""

    piece: Piece
    seen: np.ndarray
    logits: np.ndarray
    usual: float
    """The usual height on this page."""

    @cached_property
    def probability(self) -> float:
        """That of the best class."""
        return float(1 / np.exp(self.logits - self.logits.max(), dtype=np.float64).sum())

    @property
    def ratio(self) -> float:
        """The width in heights of the piece or, if it is flat, of the page's usual digit."""
        return self.piece.width / max(self.piece.height, FLAT * self.usual)

    @property
    def sureness(self) -> float:
        """The probability, lowered for a piece that is wider than a digit."""
        return self.probability * float(np.exp(-STEEP * max(0.0, self.ratio - WIDE)))

    @property
    def is_large(self) -> bool:
        """Whether it has a digit's size."""
        return self.piece.extent > 0.6 * self.usual


def find_digits(page: np.ndarray, score: Score) -> list[Digit]:
    """Return the digits on a grey page, uint8 (H, W), row by row, each row from left to right.

    `score` runs the network, on up to 64 pieces in a call; it may raise an error to stop, since a
    page of blobs takes seconds. The page is dark on light or light on dark, of any size. Returns
    no more than some 500 digits, and none where nothing is written.
    """
    ink, dark = find_ink(page)
    pieces = find_pieces(ink, dark)
    found = _read(pieces, ink, score) if pieces else []
    if not found:
        return []
    scale = max(page.shape) / max(ink.shape)
    return [
        Digit(row, number, _box(found[k].piece, scale), found[k].seen, found[k].logits)
        for row, numbers in enumerate(_arrange([digit.piece for digit in found]), 1)
        for number, members in enumerate(numbers, 1)
        for k in members
    ]


def _box(piece: Piece, scale: float) -> tuple[int, int, int, int]:
    left, top, right, bottom = (
        int(end * scale + 0.5) for end in (piece.left, piece.top, piece.right, piece.bottom)
    )
    return left, top, right, bottom


def _read(pieces: list[Piece], ink: np.ndarray, score: Score) -> list[_Read]:
    """Return the digits: pieces, unions of two, or parts of one, as the network is surest."""

    def look(chosen: list[Piece]) -> list[_Read]:
        answers: list[_Read] = []
        for start in range(0, len(chosen), BATCH):
            some = chosen[start : start + BATCH]
            seen = np.stack([to_digit(piece, ink) for piece in some])
            answers += [_Read(*row, usual) for row in zip(some, seen, score(seen), strict=True)]
        return answers

    usual = usual_height(pieces)
    pieces = join_broken(pieces, usual)
    pairs = find_pairs(pieces, usual)[:MOST_PARTS]
    answers = look([*pieces, *(join(pieces[i], pieces[k]) for i, k in pairs)])
    digits = dict(enumerate(answers[: len(pieces)]))
    for (i, k), union in zip(pairs, answers[len(pieces) :], strict=True):
        if i in digits and k in digits and _is_one(digits[i], digits[k], union):
            digits[i] = union
            del digits[k]
    kept = [digit for digit in digits.values() if _may_be_digit(digit)]
    ways = [divide(digit.piece, FLAT * usual) if _may_be_several(digit) else [] for digit in kept]
    flat = [part for of_one in ways for way in of_one for part in way]
    parts = iter(look(flat[:MOST_PARTS]))
    result = []
    for digit, of_one in zip(kept, ways, strict=True):
        best, chosen = digit.sureness, [digit]
        for way in of_one:
            split = list(islice(parts, len(way)))
            sureness = CUT ** (len(way) - 1) * min((part.sureness for part in split), default=0)
            if len(split) == len(way) and sureness > best:
                best, chosen = sureness, split
        result += chosen
    return result


def _is_one(digit: _Read, other: _Read, union: _Read) -> bool:
    apart = [each.sureness for each in (digit, other) if each.is_large]
    return union.sureness > APART * min(apart, default=0)


def _may_be_digit(digit: _Read) -> bool:
    """Return whether it is large enough, or the network is sure of what is smaller."""
    height = digit.piece.height / digit.usual
    return height > 0.25 and (digit.is_large or (height > 0.4 and digit.sureness > UNSURE))


def _may_be_several(digit: _Read) -> bool:
    return digit.ratio > 1.1 or (digit.ratio > 0.65 and digit.probability < UNSURE)


def _arrange(pieces: Sequence[Piece]) -> list[list[list[int]]]:
    """Return the places of the pieces in the list: rows, their numbers, digits."""
    x = np.array([(p.left + p.right) / 2 for p in pieces])
    y = np.array([(p.top + p.bottom) / 2 for p in pieces])
    heights = np.array([p.height for p in pieces], float)
    level = y - _row_slope(x, y, heights) * x
    rows: list[list[int]] = []
    for k in np.argsort(level, kind="stable"):
        if rows and level[k] - np.mean(level[rows[-1]]) < 0.6 * np.median(heights[rows[-1]]):
            rows[-1].append(int(k))
        else:
            rows.append([int(k)])
    return [_split_row(sorted(row, key=lambda k: x[k]), x, heights) for row in rows]


def _row_slope(x: np.ndarray, y: np.ndarray, heights: np.ndarray) -> float:
    """Return the slope of the rows, from each digit and the next on its right."""
    rise, run = 0.0, (2 * float(np.median(heights))) ** 2  # few digits: nearly level
    for k in range(len(x)):
        dx, dy = x - x[k], y - y[k]
        near = (dx > 0) & (dx < 3 * heights[k])
        near &= np.abs(dy) < 0.5 * np.minimum(heights, heights[k])
        if near.any():
            other = int(np.flatnonzero(near)[dx[near].argmin()])
            rise += float(dx[other] * dy[other])
            run += float(dx[other] ** 2)
    return rise / run


def _split_row(row: list[int], x: np.ndarray, heights: np.ndarray) -> list[list[int]]:
    """Divide a row into numbers at wide gaps."""
    steps = np.diff(x[row])
    height, usual = np.median(heights[row]), np.median(steps) if len(steps) else 0
    numbers = [[row[0]]]
    for k, step in zip(row[1:], steps, strict=True):
        if step > 1.2 * height and (step > 1.5 * usual or step > 2.2 * height):
            numbers.append([])
        numbers[-1].append(k)
    return numbers
