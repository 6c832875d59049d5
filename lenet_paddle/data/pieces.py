"""Pieces of connected ink on a page: found, chosen, joined, cut, and brought to MNIST's form.

`page/pieces.js` repeats it in the browser, line by line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lenet_paddle.data.digit import as_digit

MOST = 500  # pieces of a page; the largest are kept
FAINT = 0.12  # what absorbs less of the light is no ink
LINE = 15  # a page of nothing but lines, so many times as long as wide, has no digits
LEANS = (-0.4, -0.2, 0.0, 0.2, 0.4)  # of cuts between digits that touch
MOST_CUTS = 5  # tried in a piece


@dataclass(frozen=True)
class Piece:
    """Ink that belongs together: the place of its box, and its pixels there, bool (h, w)."""

    top: int
    left: int
    mask: np.ndarray

    @property
    def height(self) -> int:
        """Of the box."""
        return self.mask.shape[0]

    @property
    def width(self) -> int:
        """Of the box."""
        return self.mask.shape[1]

    @property
    def bottom(self) -> int:
        """Of the box."""
        return self.top + self.height

    @property
    def right(self) -> int:
        """Of the box."""
        return self.left + self.width

    @property
    def extent(self) -> int:
        """The longer side of the box."""
        return max(self.mask.shape)


def find_pieces(ink: np.ndarray, dark: np.ndarray) -> list[Piece]:
    """Return the pieces that may be digits or parts of them, the largest first, at most 500.

    `ink` and `dark` are those of `page_ink.find_ink`. Specks, remains of printed lines, and frames
    around other pieces are left out.
    """
    from scipy import ndimage

    labels, _ = ndimage.label(dark, np.ones((3, 3)))
    least = max(dark.shape) // 200
    pieces = [
        Piece(box[0].start, box[1].start, labels[box] == number)
        for number, box in enumerate(ndimage.find_objects(labels), 1)
        if max(side.stop - side.start for side in box) > least
    ]
    if not pieces:
        return []
    least = 0.15 * usual_height(pieces)
    pieces = sorted((p for p in pieces if p.extent > least), key=lambda p: -p.extent)[:MOST]
    return _without_frames(_without_lines(pieces, ink))


def _without_lines(pieces: list[Piece], ink: np.ndarray) -> list[Piece]:
    """Leave out what is faint, and lines thinner and fainter than the strokes of this page."""
    from scipy import ndimage

    mass = np.array([p.mask.sum() for p in pieces])
    inner = np.array([ndimage.binary_erosion(p.mask).sum() for p in pieces])
    levels = np.array([ink[p.top : p.bottom, p.left : p.right][p.mask].mean() for p in pieces])
    widths = 2 * mass / (mass - inner)
    strokes = (levels > FAINT) & [min(p.mask.shape) > p.extent / LINE for p in pieces]
    if not strokes.any():
        return []
    width, level = (_middle(each[strokes], mass[strokes]) for each in (widths, levels))
    kept = (levels > FAINT) & ((widths > 0.6 * width) | (levels > 0.75 * level))
    return [piece for piece, is_kept in zip(pieces, kept, strict=True) if is_kept]


def _without_frames(pieces: list[Piece]) -> list[Piece]:
    """Leave out what surrounds others: a frame, or the boxes of a form."""
    ends = np.array([(p.left, p.top, -p.right, -p.bottom) for p in pieces])
    sides = np.array([(p.height, p.extent) for p in pieces])
    kept = []
    for piece, end in zip(pieces, ends, strict=True):
        inside = sides[(ends > end).all(1)]
        parts = np.count_nonzero(inside[:, 1] > 0.1 * piece.extent)
        if parts < 3 and not (inside[:, 0] > 0.4 * piece.height).any():
            kept.append(piece)
    return kept


def usual_height(pieces: Sequence[Piece]) -> float:
    """Return the height that half of the ink does not exceed."""
    heights = np.array([piece.height for piece in pieces], float)
    return _middle(heights, np.array([piece.mask.sum() for piece in pieces]))


def _middle(values: np.ndarray, mass: np.ndarray) -> float:
    """Return the value that half of the mass does not exceed."""
    order = np.argsort(values, kind="stable")
    return float(values[order][np.searchsorted(mass[order].cumsum(), mass.sum() / 2)])


def join(first: Piece, second: Piece) -> Piece:
    """Return the union of two pieces."""
    top, left = min(first.top, second.top), min(first.left, second.left)
    bottom, right = max(first.bottom, second.bottom), max(first.right, second.right)
    mask = np.zeros((bottom - top, right - left), bool)
    for p in (first, second):
        mask[p.top - top : p.bottom - top, p.left - left : p.right - left] |= p.mask
    return Piece(top, left, mask)


def join_broken(pieces: Sequence[Piece], usual: float) -> list[Piece]:
    """Join strokes to the digit above, below or in which they lie; the largest come first."""
    joined: list[Piece] = []
    for piece in pieces:
        for k, digit in enumerate(joined):
            across = min(piece.right, digit.right) - max(piece.left, digit.left)
            gap = max(piece.top - digit.bottom, digit.top - piece.bottom)
            if across < 0.5 * piece.width or gap > 0.15 * usual:
                continue
            union = join(digit, piece)
            if piece.height < 0.7 * digit.height and union.height < 1.3 * max(usual, digit.height):
                joined[k] = union
                break
        else:
            joined.append(piece)
    return joined


def find_pairs(pieces: Sequence[Piece], usual: float) -> list[tuple[int, int]]:
    """Return the places of neighbours that may be one digit, such as a 5 and its bar.

    The larger is the first; the pieces come in the order of their size.
    """
    pairs = []
    for i, digit in enumerate(pieces):
        for k, other in enumerate(pieces[i + 1 :], i + 1):
            gap = max(digit.left, other.left) - min(digit.right, other.right)
            shared = min(digit.bottom, other.bottom) - max(digit.top, other.top)
            if gap > 0.15 * usual or shared < 0.3 * other.height:
                continue
            if gap >= 0 and other.height > 0.7 * digit.height:
                continue
            width = max(digit.right, other.right) - min(digit.left, other.left)
            height = max(digit.bottom, other.bottom) - min(digit.top, other.top)
            if width < 1.4 * max(height, usual) and height < 1.4 * max(digit.height, usual):
                pairs.append((i, k))
    return pairs


def divide(piece: Piece, least: float) -> list[list[Piece]]:
    """Return ways to cut a piece into two digits, or three if it is wide, where it is thin.

    All parts are half as high as the piece, and as the height `least`.
    """
    cuts = _find_cuts(piece)
    ways = [[cut] for cut in cuts]
    if piece.width > 1.5 * piece.height:
        ways += [[a, b] for k, a in enumerate(cuts) for b in cuts[k + 1 :]]
    divided = [_split(piece, sorted(way, key=lambda cut: cut[1])) for way in ways]
    least = 0.5 * max(piece.height, least)
    return [parts for parts in divided if all(part.height > least for part in parts)]


def _find_cuts(piece: Piece) -> list[tuple[float, int]]:
    """Return the lean and the place of the best cuts: those through little ink."""
    height, width = piece.mask.shape
    y, x = np.nonzero(piece.mask)
    found = []
    for lean in LEANS:
        places = np.floor(x + lean * (y - height / 2) + height + 0.5).astype(int)
        counts = np.bincount(places, minlength=width + 2 * height)
        for place in range(int(0.15 * height), int(width - 0.15 * height)):
            ink = counts[place + height - 1 : place + height + 2].sum() / 3
            found.append((ink + 0.02 * abs(lean) * height, lean, place))
    cuts: list[tuple[float, int]] = []
    for ink, lean, place in sorted(found):
        if len(cuts) == MOST_CUTS or ink > 0.45 * height:
            break
        if all(abs(place - other) > 0.15 * height for _, other in cuts):
            cuts.append((lean, place))
    return cuts


def _split(piece: Piece, cuts: list[tuple[float, int]]) -> list[Piece]:
    """Cut a piece along straight lines."""
    y, x = np.indices(piece.mask.shape)
    side = np.zeros(piece.mask.shape, int)
    for lean, place in cuts:
        side += x + lean * (y - piece.height / 2) > place
    return [_crop(piece, piece.mask & (side == k)) for k in range(len(cuts) + 1)]


def _crop(piece: Piece, mask: np.ndarray) -> Piece:
    """Return the part of a piece that a mask of its size shows; its height is 0 without one."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return Piece(piece.top, piece.left, np.zeros((0, 0), bool))
    (top, bottom), (left, right) = rows[[0, -1]], columns[[0, -1]]
    part = mask[top : bottom + 1, left : right + 1]
    return Piece(piece.top + int(top), piece.left + int(left), part)


def to_digit(piece: Piece, ink: np.ndarray) -> np.ndarray:
    """Return the piece in the form of a digit of MNIST, uint8 (28, 28)."""
    from scipy import ndimage

    part = ink[piece.top : piece.bottom, piece.left : piece.right]
    soft = ndimage.binary_dilation(piece.mask, iterations=2)  # with the grey edges of the strokes
    full = np.percentile(part[piece.mask], 80)
    digit = np.where(soft, part / full, 0).clip(0, 1).astype(np.float32)
    return as_digit(digit)
