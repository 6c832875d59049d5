"""Turn the picture of a handwritten digit into one like those of MNIST."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image

from lenet_paddle.data.form import to_grey
from lenet_paddle.data.ink import (
    WORK,
    Sheet,
    dark_on_light,
    drop_frames,
    find_ink,
    find_sheet,
    fit,
    otsu,
    remove_lines,
    to_plane,
)

FIELD = 28  # side of an MNIST picture
BOX = 20  # side of the box the digit is scaled into
FINE = 80  # the same box while strokes are thickened, finer for rounder strokes
MARGIN = WORK // 3  # added around a picture that is cropped to its digit
MARGIN_SEEN = MARGIN * WORK // (WORK + 2 * MARGIN)  # the same once scaled to WORK again
STROKE = 2.6  # thinner strokes, in pixels of the box, are thickened; MNIST has about 3
THICKEST = 3.5  # thicker ones are made thinner; a quarter of MNIST's are, but pass unchanged
MOST_THINNED = 8  # pixels of the fine box on each side; what is wider still is a blob
SMALL = 40  # longer side, in pixels, of a picture that is a scan or a drawing, not a photo
SEPARATION = 0.6  # share of the variance between ink and ground, in a picture of two colours
SURE_SEPARATION = 0.8  # the same where no stroke was found; a gradient has 0.75, noise less
THICK = 17  # side, in pixels of the working picture, of what is wider than a line
MOST_HOLES = 8  # in a digit and around it; noise has more
PARTS = 4  # the largest, which have most of a digit's pixels; grain has many alike
MOST = 0.8
UNEVEN = 1.13  # a stroke of even width has 1, a blob or a triangle 1.33, grain more
REMAINS = 1.5  # strokes narrower than 5 pixels of the working picture have more
FADING = 0.28  # mean ink, of full ink, at 4 to 6 pixels from the strokes
SHORTEST = 3.2  # length of the strokes over their width; a square or a triangle has about 3
WINDING = 3.5  # length of the strokes over the digit's longer side; an 8 has 3
Strokes = tuple[np.ndarray, np.ndarray]
PLACES, ONES = np.arange(FIELD, dtype=np.float32), np.ones(FIELD, np.float32)


class _Shape(NamedTuple):
    """The shape of what was found, in pixels of the working picture."""

    edge: int
    """How many of its pixels lie at the edge."""
    width: float
    """Of its strokes, on average."""
    area: int
    extent: int
    """The longer side of its box."""

    @property
    def is_remains(self) -> bool:
        """Whether it is as narrow as what remains of a line, or of a sheet's edge."""
        return self.edge * self.width > REMAINS * 2 * self.area


def prepare_digit(picture: np.ndarray) -> np.ndarray:
    """Turn a picture of one handwritten digit into one like those of MNIST.

    The picture is uint8, grey (H, W), 0 (black) to 255 (white), or RGB (H, W, 3): a photo or a
    drawing, dark on light or light on dark, with or without a margin. Returns a uint8 array of
    shape (28, 28) with the digit white (255) on black (0), or all zeros where nothing is
    written. A picture that has the form of MNIST's digits already is returned unchanged.

    LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document
    recognition", 1998, section III-A: the digit is scaled, its aspect ratio kept, into
    a 20x20 box, where anti-aliasing gives it grey levels, and placed with its centre
    of mass in the middle of a 28x28 field.
    """
    if picture.shape[:2] == (FIELD, FIELD):
        grey = picture if picture.ndim == 2 else to_grey(picture)
        if has_mnist_form(grey):
            return grey.copy()
    is_small = max(picture.shape[:2]) <= SMALL
    if is_small:
        picture = _enlarge(_without_frame(to_plane(picture).astype(np.uint8)))
    work = to_plane(fit(picture, WORK))
    sheet = None if is_small else find_sheet(work)
    strokes = None if sheet is None else _find_on_sheet(picture, sheet)
    if strokes is None:
        strokes = _find_strokes(work, is_small)
        if sheet is not None and strokes is not None and _shape_of(strokes[0]).is_remains:
            strokes = None
    digit = np.zeros((0, 0)) if strokes is None else _cut_out(strokes)
    if digit.size == 0:
        return np.zeros((FIELD, FIELD), np.uint8)
    return as_digit(digit)


def as_digit(ink: np.ndarray) -> np.ndarray:
    """Bring the ink of one digit, float32 (h, w) up to 1, to MNIST's form, uint8 (28, 28)."""
    digit = fit(_even_out(fit(ink, FINE)), BOX)
    return _centre((255 / digit.max() * digit).round().astype(np.uint8))


def has_mnist_form(picture: np.ndarray) -> bool:
    """Return whether a picture, uint8 (H, W), looks prepared as MNIST's digits are.

    All 70,000 are: 28x28, black for the greater part, the brightest pixel 254 or 255, the digit
    19 or 20 pixels long with its centre of mass at 14, counting pixels from 0, within half a
    pixel.
    """
    if picture.shape != (FIELD, FIELD) or picture.max() < 254:
        return False
    if np.count_nonzero(picture) > picture.size / 2:
        return False
    lengths, offsets = [], []
    ink = picture.astype(np.float32)  # exact here; in all a sixth of the time of np.average
    for mass in (ink @ ONES, ONES @ ink):
        inked = mass.nonzero()[0]
        lengths.append(inked[-1] - inked[0] + 1)
        offsets.append(abs(mass @ PLACES / (mass @ ONES) - FIELD / 2))
    return bool(BOX - 1 <= max(lengths) <= BOX and max(offsets) < 0.55)


def _without_frame(picture: np.ndarray) -> np.ndarray:
    """Cut off a line along all four edges of a small picture, one or two pixels wide."""
    for _ in range(2):
        if min(picture.shape) < 12:
            break
        rings = [
            np.concatenate([p[0], p[-1], p[:, 0], p[:, -1]]).astype(int)
            for p in (picture, picture[1:-1, 1:-1], picture[2:-2, 2:-2])
        ]
        reach = np.ptp(picture)
        if np.ptp(rings[0]) > 0.3 * reach:
            break
        steps = [abs(np.median(ring) - np.median(rings[0])) for ring in rings[1:]]
        if max(steps) <= 0.5 * reach:
            break
        picture = np.ascontiguousarray(picture[1:-1, 1:-1])
    return picture


def _enlarge(picture: np.ndarray) -> np.ndarray:
    """Scale a picture of less than 28 pixels up to them, smoothly."""
    if max(picture.shape) >= FIELD:
        return picture
    height, width = (max(1, round(n * FIELD / max(picture.shape))) for n in picture.shape)
    image = Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS)
    return np.asarray(image)


def _find_on_sheet(picture: np.ndarray, sheet: Sheet) -> Strokes | None:
    """Look for the digit on the sheet alone."""
    from scipy import ndimage

    (top, bottom, left, right), (height, width) = sheet.box, sheet.covered.shape
    down, across = picture.shape[0] / height, picture.shape[1] / width
    rows, columns = (
        slice(int(top * down), int(bottom * down)),
        slice(int(left * across), int(right * across)),
    )
    cut = to_plane(fit(np.ascontiguousarray(picture[rows, columns]), WORK))
    y, x = (np.arange(side) / side for side in cut.shape)
    places = np.ix_((top + (bottom - top) * y).astype(int), (left + (right - left) * x).astype(int))
    on_sheet = sheet.covered[places]
    cut = np.where(on_sheet, cut, np.floor(np.median(cut[on_sheet])))
    strokes = _find_strokes(cut.astype(np.float32), False)
    if strokes is None or strokes[0].shape != on_sheet.shape:
        return strokes
    # What leads over the edge is no sheet's: the edge is that of a shadow.
    return None if (strokes[0] & ~ndimage.binary_erosion(on_sheet, iterations=6)).any() else strokes


def _find_strokes(work: np.ndarray, is_small: bool) -> Strokes | None:
    """Return the digit's pixels, bool (h, w), and the ink there, full ink 1; None without one."""
    ink = find_ink(dark_on_light(work), not is_small)
    strokes = _choose_digit(ink)
    # Nothing tells ink from a shadow once it reaches from edge to edge, so a picture cropped to
    # its digit is taken to be lit evenly. One with few pixels has no shadows at all.
    margin = 0
    if is_small or strokes is None or _is_cropped(strokes[0], ink):
        separation = SURE_SEPARATION if strokes is None and not is_small else SEPARATION
        padded = _add_margin(work, separation)
        if padded is not None:
            strokes, margin = _choose_digit(find_ink(padded, not is_small)), MARGIN_SEEN
    if strokes is None or _is_shadow(strokes[0], margin):
        return None
    return strokes if is_small or _is_written(*strokes) else None


def _is_written(digit: np.ndarray, ink: np.ndarray) -> bool:
    """Return whether the pixels found are a digit's strokes: few, of even width, clear of paper.

    Grain is ragged, the edge of a shadow leaves a triangle, uneven light fades.
    """
    from scipy import ndimage

    shape = _shape_of(digit)
    edge, width, area, extent = shape
    near = ndimage.binary_dilation(digit, iterations=3)
    around = ndimage.binary_dilation(near, iterations=3) & ~near
    sizes = np.bincount(ndimage.label(digit)[0].ravel())[1:]
    return bool(  # a width is 2 pixels too large: distances start with 1, not with 1/2
        edge * (width - 2) <= UNEVEN * 2 * area
        and SHORTEST * (width - 2) ** 2 <= area <= WINDING * extent * width
        and not (shape.is_remains and area < extent * width and _is_level_or_at_edge(digit))
        and np.sort(sizes)[-PARTS:].sum() >= MOST * area
        and (not around.any() or ink[around].mean() <= FADING)
    )


def _is_level_or_at_edge(digit: np.ndarray) -> bool:
    ys, xs = np.nonzero(digit)
    at_edge = any(edge.any() for edge in (digit[0], digit[-1], digit[:, 0], digit[:, -1]))
    return bool(np.ptp(xs) > np.ptp(ys) or at_edge)


def _shape_of(digit: np.ndarray) -> _Shape:
    from scipy import ndimage

    inside = np.pad(digit[ndimage.find_objects(digit.astype(np.uint8))[0]], 1)
    edge = int(np.count_nonzero(inside & ~ndimage.binary_erosion(inside)))
    area, extent = int(np.count_nonzero(inside)), max(inside.shape) - 2
    return _Shape(edge, _stroke_width(inside), area, extent)


def _stroke_width(inside: np.ndarray) -> float:
    """Return the mean width of strokes, bool (h, w) with a margin."""
    from scipy import ndimage

    # Across a stroke the distance to its edge is a quarter of its width on average.
    return 4 * ndimage.distance_transform_edt(inside)[inside].mean()


def _is_shadow(digit: np.ndarray, margin: int) -> bool:
    """Return whether what was found is a filled rectangle that is no straight 1: one that is wide,
    or along several edges of the picture, which has a margin of so many pixels."""
    from scipy import ndimage

    box = ndimage.find_objects(digit.astype(np.uint8))[0]
    if digit[box].mean() <= 0.97:
        return False
    ends = zip(box, digit.shape, strict=True)
    touched = sum((s.start <= margin + 2) + (s.stop >= side - margin - 2) for s, side in ends)
    # An edge of a shadow in an unevenly lit picture may look like a line across it.
    return 2 * min(digit[box].shape) > max(digit[box].shape) or touched > (2 if margin else 1)


def _is_cropped(digit: np.ndarray, ink: np.ndarray) -> bool:
    """Return whether the digit, or dark areas around it, touch opposite sides of the picture."""
    from scipy import ndimage

    areas = ndimage.grey_erosion(ink, (THICK, THICK), mode="nearest") > 0.25 * ink.max()
    masks = (digit, areas, digit.T, areas.T)
    return any(mask[:2].any() and mask[-2:].any() for mask in masks)


def _add_margin(picture: np.ndarray, separation: float) -> np.ndarray | None:
    """Return an evenly lit picture, dark on light, with a margin of its ground's colour.

    Ink and ground are told apart by one threshold; None where it explains less than the share
    `separation` of the variance. The ground is what fills more of the edge, the corners and the
    picture.
    """
    threshold = otsu(picture, separation)
    if threshold is None:
        return None
    dark = picture <= threshold
    edge = np.concatenate([dark[0], dark[-1], dark[:, 0], dark[:, -1]])
    corners = dark[np.ix_([0, -1], [0, -1])]
    if edge.mean() + 0.5 * dark.mean() + 0.5 * corners.mean() >= 1:
        picture, dark = 255 - picture, ~dark
    ground = np.median(picture[~dark])
    padded = np.pad(picture, MARGIN, constant_values=ground)
    return fit(padded.round().astype(np.uint8), WORK)


def _choose_digit(ink: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the digit's pixels, bool (h, w), and the ink there, full ink 1; None without one."""
    from scipy import ndimage

    # Bare paper is the lower third even of a picture cropped close to the digit.
    low, bare = np.percentile(ink, (10, 30))
    ink = ink - bare
    dark = ink > max(0.05, 7 * (bare - low), 0.25 * ink.max())
    if not dark.any():
        return None
    bare_of_lines, has_lines = remove_lines(dark)
    # A straight 1 may reach from edge to edge; it is all that is written.
    if has_lines and bare_of_lines.sum() > 0.02 * dark.sum():
        dark = bare_of_lines
    digit = _digit_parts(ink, dark, has_lines)
    full = np.percentile(ink[digit], 80)
    digit &= ink > 0.4 * full  # remains of shadows are fainter
    if ndimage.label(~digit)[1] > MOST_HOLES or (has_lines and _shape_of(digit).is_remains):
        return None
    return digit, ink / full


def _cut_out(strokes: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Cut out the rectangle around the digit, paper 0 and full ink 1; empty without a digit."""
    from scipy import ndimage

    digit, ink = strokes
    box = ndimage.find_objects(digit.astype(np.uint8))[0]
    if max(digit[box].shape) <= WORK // 25:  # a grain
        return np.zeros((0, 0), np.float32)
    soft = ndimage.binary_dilation(digit, iterations=2)  # with the grey edges of the strokes
    return np.where(soft, ink, 0)[box].clip(0, 1).astype(np.float32)


def _digit_parts(ink: np.ndarray, dark: np.ndarray, has_lines: bool) -> np.ndarray:
    """Choose, among the dark pixels, those of the digit: all its strokes, no specks."""
    from scipy import ndimage

    # A frame may come close to the digit. A line broken up by the grain of the paper is still one.
    for reach in (0, 2):
        joined = ndimage.binary_dilation(dark, np.ones((3, 3)), iterations=reach) if reach else dark
        labels, count = ndimage.label(joined)
        labels = labels * dark
        sums = ndimage.sum_labels(ink, labels, np.arange(1, count + 1))
        boxes = np.array([[(s.start, s.stop) for s in box] for box in ndimage.find_objects(labels)])
        foreign = drop_frames(labels, boxes, has_lines)
        first = np.where(foreign, -1, sums).argmax()
        low, high = boxes[..., 0], boxes[..., 1]
        extent = (high - low).max(1)
        tall, wide = (high - low).T
        # A long level bar below is an underline.
        under = (low[:, 0] > high[first, 0] - 0.05 * extent[first]) & (tall < 0.3 * wide)
        foreign |= under & (wide >= 0.2 * extent[first])
        foreign[first] = False
        dark = dark & ~np.concatenate([[False], foreign])[labels]
    gap = np.maximum(low - high[first], low[first] - high).max(1)
    # The bar of a 5 is long and near, a speck is short or far.
    part = (gap < 0.25 * extent[first]) & (extent >= 0.2 * extent[first]) & ~foreign
    return np.concatenate([[False], part])[labels]


def _even_out(digit: np.ndarray) -> np.ndarray:
    """Draw thin strokes about as thick as those of MNIST, and very thick ones thinner."""
    from scipy import ndimage

    inside = np.pad(digit > 0.5 * digit.max(), 1)
    width = _stroke_width(inside)
    thinner = min((width - THICKEST * FINE / BOX) / 2, MOST_THINNED)
    if thinner >= 0.5:
        return _trimmed(
            ndimage.grey_erosion(np.pad(digit, 1), footprint=_disc(thinner), mode="constant")
        )
    radius = (STROKE * FINE / BOX - width) / 2
    if radius < 0.5:
        return digit
    wide = np.pad(digit, int(np.ceil(radius)))
    return ndimage.grey_dilation(wide, footprint=_disc(radius), mode="constant")


def _disc(radius: float) -> np.ndarray:
    reach = int(np.ceil(radius))
    y, x = np.ogrid[-reach : reach + 1, -reach : reach + 1]
    return np.hypot(x, y) <= radius + 0.25


def _trimmed(digit: np.ndarray) -> np.ndarray:
    ys, xs = np.nonzero(digit > 0.1 * digit.max())
    return digit[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]


def _centre(digit: np.ndarray) -> np.ndarray:
    """Place the digit with its centre of mass in the middle of the field."""
    start = []
    for axis, length in enumerate(digit.shape):
        mass = digit.sum(1 - axis, dtype=np.float64)
        centre = np.average(np.arange(length), weights=mass)
        # The digits of MNIST have it at 14, counting pixels from 0 to 27.
        start.append(int(np.clip(round(FIELD / 2 - centre), 0, FIELD - length)))
    (top, left), (height, width) = start, digit.shape
    field = np.zeros((FIELD, FIELD), np.uint8)
    field[top : top + height, left : left + width] = digit
    return field
