"""Make pictures in which more is to be seen than a digit: frames, forms, lines, a table, glare.

`HARD` has the same form as `photos.KINDS`; the kinds that end in _28 are small files, not photos.
"""

from __future__ import annotations

import itertools

import numpy as np
from photos import (
    BLACK,
    BLUE,
    Kind,
    Rng,
    _bounds,
    _bytes,
    _image,
    _pencil_line,
    _photo,
    _place,
    _smooth_noise,
    _strokes,
)
from PIL import Image, ImageDraw
from scipy import ndimage

Segment = tuple[float, float, float, float]


def _lines(ink: np.ndarray, segments: list[Segment], width: float, angle: float = 0) -> np.ndarray:
    """Return the coverage of straight lines, (x, y, x, y), turned about the middle by an angle."""
    canvas = Image.new("L", (2 * ink.shape[1], 2 * ink.shape[0]))
    draw = ImageDraw.Draw(canvas)
    middle = np.array(ink.shape[::-1]) / 2
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    for x0, y0, x1, y1 in segments:
        ends = np.array([(x0, y0), (x1, y1)]) - middle
        turned = 2 * (ends @ np.array([(cos, sin), (-sin, cos)]) + middle)
        draw.line([tuple(end) for end in turned], fill=255, width=max(1, round(2 * width)))
    return np.asarray(canvas.reduce(2), np.float32) / 255


def _page(digit: np.ndarray, rng: Rng, share: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Return a page's ink with a digit in its middle part, and the digit's bounds."""
    size = int(rng.integers(300, 700))
    height, width = size, int(size * rng.uniform(1, 1.4))
    ink = _strokes(digit, int(size * share * rng.uniform(0.8, 1.2)))
    top, bottom, left, right = _bounds(ink)
    ink = ink[top:bottom, left:right]
    free = np.array((height, width)) - ink.shape
    y, x = (free * rng.uniform(0.35, 0.65, 2)).astype(int)
    page = np.zeros((height, width), np.float32)
    page[y : y + ink.shape[0], x : x + ink.shape[1]] = ink
    return page, np.array([y, y + ink.shape[0], x, x + ink.shape[1]])


def _rectangle(top: float, bottom: float, left: float, right: float) -> list[Segment]:
    corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
    return [(*a, *b) for a, b in itertools.pairwise(corners)]


def _both(*inks: np.ndarray) -> np.ndarray:
    return np.max(inks, 0)


def frame(digit: np.ndarray, rng: Rng) -> np.ndarray:
    """A box drawn around the digit with the same pen."""
    ink, (top, bottom, left, right) = _page(digit, rng)
    long = max(bottom - top, right - left)
    gap = rng.uniform(0.1, 0.35, 4) * long
    if right - left < 0.6 * long:
        gap[2:] += 0.2 * long
    box = _rectangle(top - gap[0], bottom + gap[1], left - gap[2], right + gap[3])
    width = rng.uniform(0.03, 0.1) * long
    return _photo(_both(ink, _lines(ink, box, width, rng.uniform(-4, 4))), rng)


def circled(digit: np.ndarray, rng: Rng) -> np.ndarray:
    ink, (top, bottom, left, right) = _page(digit, rng)
    canvas = _image(np.zeros_like(ink))
    radius = np.hypot(bottom - top, right - left) / 2 * rng.uniform(1.15, 1.4)
    y, x, wide = (top + bottom) / 2, (left + right) / 2, rng.uniform(0.95, 1.15)
    ends = (x - wide * radius, y - radius, x + wide * radius, y + radius)
    ImageDraw.Draw(canvas).ellipse(ends, outline=255, width=max(2, int(0.05 * (bottom - top))))
    return _photo(_both(ink, np.asarray(canvas) / 255), rng)


def form_boxes(digit: np.ndarray, rng: Rng) -> np.ndarray:
    """One box of a row of them, with parts of its neighbours."""
    ink, (top, bottom, left, right) = _page(digit, rng)
    side = max(bottom - top, right - left) * rng.uniform(1.25, 1.6)
    y, x = (top + bottom - side) / 2, (left + right - side) / 2
    lines = [(0, y, ink.shape[1], y), (0, y + side, ink.shape[1], y + side)]
    lines += [(x + k * side, y, x + k * side, y + side) for k in range(-2, 4)]
    width = rng.uniform(0.01, 0.035) * side
    drawn = _lines(ink, lines, width, rng.uniform(-2, 2)) * rng.uniform(0.5, 1)
    return _photo(_both(ink, drawn), rng)


def comb(digit: np.ndarray, rng: Rng) -> np.ndarray:
    """A field of a form whose places are told apart by short ticks on the line."""
    ink, (top, bottom, left, right) = _page(digit, rng)
    side = max(bottom - top, right - left) * rng.uniform(1.2, 1.5)
    y, x = bottom + rng.uniform(0.05, 0.15) * side, (left + right - side) / 2
    tick = side * rng.uniform(0.25, 0.45)
    lines = [(0, y, ink.shape[1], y)]
    lines += [(x + k * side, y - tick, x + k * side, y) for k in range(-2, 4)]
    drawn = _lines(ink, lines, rng.uniform(0.01, 0.03) * side, rng.uniform(-2, 2))
    return _photo(_both(ink, drawn * rng.uniform(0.6, 1)), rng)


def underlined(digit: np.ndarray, rng: Rng) -> np.ndarray:
    ink, (top, bottom, left, right) = _page(digit, rng)
    long, middle = bottom - top, (left + right) / 2
    half, y = long * rng.uniform(0.35, 0.7), bottom + long * rng.uniform(0.04, 0.2)
    tilt = long * rng.uniform(-0.05, 0.05)
    segment = (middle - half, y - tilt, middle + half, y + tilt)
    return _photo(_both(ink, _lines(ink, [segment], rng.uniform(0.04, 0.1) * long)), rng)


def _ruled(digit: np.ndarray, rng: Rng, is_squared: bool) -> np.ndarray:
    ink, (top, bottom, *_) = _page(digit, rng)
    step = (bottom - top) * rng.uniform(0.25, 1.2)
    long = 2 * sum(ink.shape)
    places = np.arange(-long // 2, long, step) + rng.uniform(0, step)
    lines = [(-long, y, long, y) for y in places]
    if is_squared:
        lines += [(x, -long, x, long) for x in places + rng.uniform(0, step)]
    width = rng.uniform(0.005, 0.015) * min(ink.shape)
    drawn = _lines(ink, lines, width, rng.uniform(-4, 4)) * rng.uniform(0.25, 0.8)
    return _photo(_both(ink, drawn), rng, colour=BLUE if rng.random() < 0.5 else BLACK)


def ruled(digit: np.ndarray, rng: Rng) -> np.ndarray:
    return _ruled(digit, rng, False)


def squared(digit: np.ndarray, rng: Rng) -> np.ndarray:
    return _ruled(digit, rng, True)


def on_a_table(digit: np.ndarray, rng: Rng) -> np.ndarray:
    """The whole sheet, turned a little, on a table of another colour with a grain."""
    paper = Image.fromarray(_photo(_page(digit, rng, 0.45)[0], rng))
    angle = rng.uniform(-12, 12)
    sheet = paper.rotate(angle, Image.Resampling.BICUBIC, expand=True)
    mask = Image.new("L", paper.size, 255).rotate(angle, Image.Resampling.BICUBIC, expand=True)
    before, after = (rng.uniform(0.03, 0.3, (2, 2)) * sheet.size[::-1]).astype(int)
    height, width = np.array(sheet.size[::-1]) + before + after
    colours = [(120, 80, 50), (60, 60, 65), (150, 60, 50), (70, 95, 140), (165, 130, 90)]
    rings = _smooth_noise((height, width), 9, rng)
    grain = 18 * np.sin(rings * 6 + np.linspace(0, 90, height)[:, None]) * rng.uniform(0.2, 1)
    table = (
        np.array(colours[rng.integers(5)])
        + grain[..., None]
        + rng.normal(0, 3, grain.shape)[..., None]
    )
    photo = Image.fromarray(_bytes(table))
    photo.paste(sheet, (int(before[1]), int(before[0])), mask)
    return np.asarray(photo)


def dark_border(digit: np.ndarray, rng: Rng) -> np.ndarray:
    """A scan whose lid left dark stripes at some of the edges."""
    photo = _photo(_page(digit, rng)[0], rng)
    for edge in rng.choice(4, int(rng.integers(1, 5)), replace=False):
        turned = np.rot90(photo, edge)
        turned[: int(len(turned) * rng.uniform(0.01, 0.1))] = rng.uniform(10, 60)
    return photo


def glare(digit: np.ndarray, rng: Rng) -> np.ndarray:
    """The flash's reflection, in which the ink nearly vanishes."""
    ink, _ = _page(digit, rng)
    photo = _photo(ink, rng, light=0.75).astype(np.float32)
    height, width = ink.shape
    y, x = np.ogrid[:height, :width]
    at_y, at_x, size = rng.uniform(0, height), rng.uniform(0, width), rng.uniform(0.1, 0.25)
    spot = np.exp(-((y - at_y) ** 2 + (x - at_x) ** 2) / (2 * (size * height) ** 2))
    return _bytes(photo + 150 * spot[..., None])


def hand_shadow(digit: np.ndarray, rng: Rng) -> np.ndarray:
    """The shadow of a hand with a pen, from one corner."""
    ink, _ = _page(digit, rng)
    height, width = ink.shape
    canvas = _image(np.zeros_like(ink))
    draw = ImageDraw.Draw(canvas)
    corner = np.array([width, height]) * (rng.integers(0, 2), 1)
    tip = np.array([width, height]) * rng.uniform(0.3, 0.7, 2)
    for spread in np.linspace(-0.5, 0.5, 4):
        way = tip - corner
        end = corner + way * rng.uniform(0.5, 0.95) + spread * way[::-1] * (-0.5, 0.5)
        thick = int(0.1 * height * rng.uniform(0.8, 1.3))
        draw.line([tuple(corner), tuple(end)], fill=255, width=thick)
        draw.ellipse((*(end - thick / 2), *(end + thick / 2)), fill=255)
    draw.ellipse((*(corner - 0.4 * height), *(corner + 0.4 * height)), fill=255)
    soft = ndimage.gaussian_filter(np.asarray(canvas) / 255, rng.uniform(0.01, 0.03) * height)
    return _photo(ink, rng, light=1 - rng.uniform(0.25, 0.55) * soft)


def red_on_green(digit: np.ndarray, rng: Rng) -> np.ndarray:
    """Coloured ink on coloured paper of the same brightness."""
    pairs = [((205, 60, 60), (85, 120, 70)), ((60, 130, 90), (170, 75, 90)),
             ((90, 90, 230), (130, 105, 40)), ((200, 110, 30), (90, 135, 190))]  # fmt: skip
    ink, (colour, paper) = _page(digit, rng)[0], np.array(pairs[rng.integers(4)], np.float64)
    weights = np.array([0.299, 0.587, 0.114])
    colour = colour * (paper @ weights) / (colour @ weights)
    page = paper + (colour - paper) * ndimage.gaussian_filter(ink, 1)[..., None]
    page = page * (1 - 0.2 * np.linspace(0, 1, ink.shape[1])[:, None])
    return _bytes(page + rng.normal(0, 4, page.shape))


def yellow_pen(digit: np.ndarray, rng: Rng) -> np.ndarray:
    return _photo(_page(digit, rng)[0], rng, colour=(235, 215, 60))


def screen(digit: np.ndarray, rng: Rng) -> np.ndarray:
    """A screen photographed: the pixels' grid and the camera's make waves."""
    ink = _page(digit, rng)[0]
    photo = _photo(ink, rng).astype(np.float32)
    y, x = np.mgrid[: ink.shape[0], : ink.shape[1]]
    for k in range(3):
        angle, period = rng.uniform(0, np.pi), rng.uniform(2.5, 25)
        wave = np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / period + k)
        photo += rng.uniform(8, 20) * (wave[..., None] * rng.uniform(0.5, 1, 3))
    return _bytes(photo)


def thick_marker(digit: np.ndarray, rng: Rng) -> np.ndarray:
    """Strokes of a fifth to a seventh of the digit's height."""

    size = int(rng.integers(200, 500))
    ink = _pencil_line(np.pad(digit, 2), size, size * 20 / 32 * rng.uniform(1 / 7, 1 / 5))
    return _photo(_place(ink, size + 80, size + 120, rng), rng)


def struck_out(digit: np.ndarray, rng: Rng) -> np.ndarray:
    """Crossed out by one or two lines; it is no digit any more."""
    ink, (top, bottom, left, right) = _page(digit, rng)
    long = 0.6 * (bottom - top)
    y, x = (top + bottom) / 2, (left + right) / 2
    angles = rng.choice([0, 30, -30, 45, -45], int(rng.integers(1, 3)), replace=False)
    lines = [
        (x - long * np.cos(a), y - long * np.sin(a), x + long * np.cos(a), y + long * np.sin(a))
        for a in np.radians(angles)
    ]
    return _photo(_both(ink, _lines(ink, lines, 0.08 * (bottom - top))), rng)


# --- small files ---


def _shifted(digit: np.ndarray, rng: Rng) -> np.ndarray:
    (top, bottom, left, right), moved = _bounds(digit / 255), np.zeros((28, 28), np.uint8)
    y, x = rng.integers(0, 29 - (bottom - top)), rng.integers(0, 29 - (right - left))
    moved[y : y + bottom - top, x : x + right - left] = digit[top:bottom, left:right]
    return moved


def inverted_28(digit: np.ndarray, rng: Rng) -> np.ndarray:
    return 255 - digit


def off_centre_28(digit: np.ndarray, rng: Rng) -> np.ndarray:
    return _shifted(digit, rng)


def inverted_off_centre_28(digit: np.ndarray, rng: Rng) -> np.ndarray:
    return 255 - _shifted(digit, rng)


def small_28(digit: np.ndarray, rng: Rng) -> np.ndarray:
    side = int(rng.integers(12, 22))
    small = np.asarray(Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC))
    start = rng.integers(0, 29 - side, 2)
    result = np.zeros((28, 28), np.uint8)
    result[start[0] : start[0] + side, start[1] : start[1] + side] = small
    return 255 - result if rng.random() < 0.5 else result


def thick_28(digit: np.ndarray, rng: Rng) -> np.ndarray:
    return 255 - ndimage.grey_dilation(digit, (2, 2))


def framed_28(digit: np.ndarray, rng: Rng) -> np.ndarray:
    """A line along the picture's edge."""
    edge, result = int(rng.integers(0, 2)), digit.copy()
    for k in range(4):
        np.rot90(result, k)[edge] = 255
    if edge:
        result[0] = result[-1] = 0
        result[:, 0] = result[:, -1] = 0
    return 255 - result if rng.random() < 0.7 else result


def scan_8(digit: np.ndarray, rng: Rng) -> np.ndarray:
    top, bottom, left, right = _bounds(digit / 255)
    side = max(bottom - top, right - left) + 2
    square = np.zeros((side, side), np.uint8)
    y, x = (side - bottom + top) // 2, (side - right + left) // 2
    square[y : y + bottom - top, x : x + right - left] = digit[top:bottom, left:right]
    small = np.asarray(Image.fromarray(square).resize((8, 8), Image.Resampling.BOX))
    return 255 - small if rng.random() < 0.5 else small


HARD: dict[str, Kind] = {
    kind.__name__: kind
    for kind in (
        frame, circled, form_boxes, comb, underlined, ruled, squared, on_a_table, dark_border,
        glare, hand_shadow, red_on_green, yellow_pen, screen, thick_marker,
        inverted_28, off_centre_28, inverted_off_centre_28, small_28, thick_28, framed_28, scan_8,
    )
}  # fmt: skip
