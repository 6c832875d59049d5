"""The numbers found on a page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from lenet_paddle.data.many import Digit
from lenet_paddle.evaluation.metrics import compute_probs


@dataclass(frozen=True)
class PageDigit:
    """A digit found on a page."""

    row: int
    """Its row on the page, from 1."""
    number: str
    """The number of which it is a part: `20318`."""
    place: int
    """Its place in the number, from 1."""
    box: tuple[int, int, int, int]
    """Left, top, right and bottom, in pixels of the picture."""
    best: str
    """The most probable class."""
    probability: float
    is_digit: bool | None
    """Whether it shows a digit at all: False means unclear; None: the model does not know."""

    def to_dict(self) -> dict[str, Any]:
        """Return the digit for JSON."""
        return {
            "row": self.row,
            "number": self.number,
            "place": self.place,
            "box": list(self.box),
            "class": self.best,
            "probability": self.probability,
            "is_digit": self.is_digit,
        }


@dataclass(frozen=True)
class Page:
    """The numbers found on one picture."""

    name: str
    """The file, or another name given for the picture."""
    picture: np.ndarray
    """The picture for display: uint8 (H, W) or (H, W, 3), at most 1,600 pixels a side."""
    width: int
    """Of the picture itself, in whose pixels the boxes are."""
    digits: list[PageDigit]
    """In reading order; empty if nothing is written."""

    @property
    def rows(self) -> list[list[PageDigit]]:
        """The digits, row by row."""
        return [list(row) for _, row in groupby(self.digits, lambda digit: digit.row)]


def join_row(row: Sequence[PageDigit]) -> str:
    """Return the text of a row, its numbers apart: `555 1234`."""
    return " ".join(digit.number for digit in row if digit.place == 1)


def name_digits(
    found: Sequence[Digit],
    classes: Sequence[str],
    judge: Callable[[np.ndarray], bool | None],
) -> list[PageDigit]:
    """Return the digits with the names of their classes; `judge` tells from the logits whether
    one shows a digit."""
    result: list[PageDigit] = []
    for (row, _), group in groupby(found, lambda digit: (digit.row, digit.number)):
        digits = list(group)
        best = [int(digit.logits.argmax()) for digit in digits]
        number = "".join(classes[k] for k in best)
        for place, (digit, k) in enumerate(zip(digits, best, strict=True), 1):
            probability = float(compute_probs(digit.logits[None])[0, k])
            is_digit = judge(digit.logits)
            result.append(
                PageDigit(row, number, place, digit.box, classes[k], probability, is_digit)
            )
    return result
