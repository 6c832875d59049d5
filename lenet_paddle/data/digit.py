"""Turn the picture of a handwritten digit into one like those of MNIST."""

from __future__ import annotations

import numpy as np
from PIL import Image

FIELD = 28  # side of an MNIST picture
BOX = 20  # side of the box the digit is scaled into
FINE = 80  # the same box while strokes are thickened, finer for rounder strokes
WORK = 400  # longer side, in pixels, of the picture in which the digit is searched
MARGIN = WORK // 3  # added around a picture that is cropped to its digit
WINDOW = 101  # side of a neighbourhood in that picture, wider than any stroke
STROKE = 2.6  # thinner strokes, in pixels of the box, are thickened; MNIST has about 3
SMALL = 40  # longer side, in pixels, of a picture that is a scan or a drawing, not a photo
SEPARATION = 0.6  # share of the variance between ink and ground, in a picture of two colours
SURE_SEPARATION = 0.8  # the same where no stroke was found; a gradient has 0.75, noise less
THICK = 17  # side, in pixels of the working picture, of what is wider than a line
MOST_HOLES = 8  # in a digit and around it; noise has more
PLACES, ONES = np.arange(FIELD, dtype=np.float32), np.ones(FIELD, np.float32)


def prepare_digit(picture: np.ndarray) -> np.ndarray:
    """Turn a grey picture of one handwritten digit into one like those of MNIST.

    The picture is a uint8 array of shape (H, W), values 0 (black) to 255 (white): a photo or
    a drawing, dark on light or light on dark, with or without a margin. Returns a uint8 array of
    shape (28, 28) with the digit white (255) on black (0), or all zeros where nothing is
    written. A picture that has the form of MNIST's digits already is returned unchanged.

    LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document
    recognition", 1998, section III-A: the digit is scaled, its aspect ratio kept, into
    a 20x20 box, where anti-aliasing gives it grey levels, and placed with its centre
    of mass in the middle of a 28x28 field.
    """
    if has_mnist_form(picture):
        return picture.copy()
    strokes = _find_strokes(picture)
    digit = np.zeros((0, 0)) if strokes is None else _cut_out(strokes)
    if digit.size == 0:
        return np.zeros((FIELD, FIELD), np.uint8)
    digit = _fit(_thicken(_fit(digit, FINE)), BOX)
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


def _find_strokes(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the digit's pixels, bool (h, w), and the ink there, full ink 1; None without one."""
    work = _fit(picture, WORK)
    ink = _ink(_dark_on_light(work))
    strokes = _choose_digit(ink)
    # Nothing tells ink from a shadow once it reaches from edge to edge, so a picture cropped to
    # its digit is taken to be lit evenly. One with few pixels has no shadows at all.
    is_small, margin = max(picture.shape) <= SMALL, 0
    if is_small or strokes is None or _is_cropped(strokes[0], ink):
        separation = SURE_SEPARATION if strokes is None and not is_small else SEPARATION
        padded = _add_margin(work, separation)
        if padded is not None:
            strokes, margin = _choose_digit(_ink(padded)), MARGIN * WORK // (WORK + 2 * MARGIN)
    return None if strokes is None or _is_shadow(strokes[0], margin) else strokes


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

    Ink and ground are told apart by one threshold (Otsu 1979, "A threshold selection method from
    gray-level histograms"); None where it explains less than the share `separation` of the
    variance. The ground is what fills more of the edge, the corners and the picture.
    """
    levels = np.arange(256)
    counts = np.bincount(picture.astype(np.uint8).ravel(), minlength=256) / picture.size
    below, mean_below, mean = counts.cumsum(), (counts * levels).cumsum(), counts @ levels
    with np.errstate(divide="ignore", invalid="ignore"):
        between = np.nan_to_num((mean * below - mean_below) ** 2 / (below * (1 - below)), posinf=0)
    threshold = int(between.argmax())
    if between[threshold] <= separation * (counts @ (levels - mean) ** 2):
        return None
    dark = picture <= threshold
    edge = np.concatenate([dark[0], dark[-1], dark[:, 0], dark[:, -1]])
    corners = dark[np.ix_([0, -1], [0, -1])]
    if edge.mean() + 0.5 * dark.mean() + 0.5 * corners.mean() >= 1:
        picture, dark = 255 - picture, ~dark
    ground = np.median(picture[~dark])
    padded = np.pad(picture, MARGIN, constant_values=ground)
    return _fit(padded.round().astype(np.uint8), WORK)


def _fit(picture: np.ndarray, side: int) -> np.ndarray:
    """Scale the picture, averaging pixels, so that its longer side is as given."""
    height, width = (max(1, round(n * side / max(picture.shape))) for n in picture.shape)
    image = Image.fromarray(picture)
    scaled = image.resize((width, height), Image.Resampling.HAMMING, reducing_gap=2)
    return np.asarray(scaled, np.float32)


def _dark_on_light(picture: np.ndarray) -> np.ndarray:
    """Invert the picture if its strokes are lighter than the ground."""
    from scipy import ndimage

    # At the edge of a shadow one side lies as far below the local mean as the other
    # above it; a stroke lies further from it than the paper around. So the skewness has
    # the sign of the strokes: clearly in a small window for thin ones, in a large one for
    # thick ones.
    skewness = 0.0
    for window in (WINDOW // 2, 2 * WINDOW):
        rest = picture - ndimage.uniform_filter(picture, window, mode="nearest")
        square = rest * rest  # much faster than a power of negative numbers
        skewness += (square * rest).mean() / max(square.mean(), 1) ** 1.5
    return picture if skewness <= 0 else 255 - picture


def _ink(picture: np.ndarray) -> np.ndarray:
    """Return the share of light that the ink absorbs (0 to 1), independent of the lighting."""
    from scipy import ndimage

    smooth = ndimage.gaussian_filter(picture, 0.8)
    # Closing fills dark areas narrower than the window. Unlike blurring it keeps the
    # straight edge of a shadow in place, so that no line is left there.
    # Padded first, because closing is wrong in a margin of half a window; with the edge as
    # paper, or ink that touches it would be repeated and so be taken for paper.
    half = WINDOW // 2
    paper = smooth.copy()
    for edge in (paper[0], paper[-1], paper[:, 0], paper[:, -1]):
        np.maximum(edge, _close_line(edge), out=edge)
    wide = np.pad(paper, half, mode="edge")
    wide[half:-half, half:-half] = smooth
    paper = ndimage.grey_closing(wide, (WINDOW, WINDOW), mode="nearest")[half:-half, half:-half]
    # A share, not a difference: a shadow dims paper and ink by the same factor.
    return (paper - smooth) / np.maximum(paper, 1)


def _close_line(line: np.ndarray) -> np.ndarray:
    """Fill dark parts of a row or column that are narrower than the window, also at its ends."""
    from scipy import ndimage

    half = WINDOW // 2
    return ndimage.grey_closing(np.pad(line, half, constant_values=255), WINDOW)[half:-half]


def _choose_digit(ink: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the digit's pixels, bool (h, w), and the ink there, full ink 1; None without one."""
    from scipy import ndimage

    # Bare paper is the lower third even of a picture cropped close to the digit.
    low, bare = np.percentile(ink, (10, 30))
    ink = ink - bare
    dark = ink > max(0.05, 7 * (bare - low), 0.25 * ink.max())
    if not dark.any():
        return None
    digit = _digit_parts(ink, dark)
    full = np.percentile(ink[digit], 80)
    digit &= ink > 0.4 * full  # remains of shadows are fainter
    if ndimage.label(~digit)[1] > MOST_HOLES:
        return None
    return digit, ink / full


def _cut_out(strokes: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Cut out the rectangle around the digit, paper 0 and full ink 1; empty without a digit."""
    from scipy import ndimage

    digit, ink = strokes
    box = ndimage.find_objects(digit.astype(np.uint8))[0]
    if max(digit[box].shape) <= WORK // 40:  # a grain
        return np.zeros((0, 0), np.float32)
    soft = ndimage.binary_dilation(digit, iterations=2)  # with the grey edges of the strokes
    return np.where(soft, ink, 0)[box].clip(0, 1).astype(np.float32)


def _digit_parts(ink: np.ndarray, dark: np.ndarray) -> np.ndarray:
    """Choose, among the dark pixels, those of the digit: all its strokes, no specks."""
    from scipy import ndimage

    # A line broken up by the grain of the paper is still one stroke.
    joined = ndimage.binary_dilation(dark, np.ones((3, 3)), iterations=2)
    labels, count = ndimage.label(joined)
    labels = labels * dark
    first = ndimage.sum_labels(ink, labels, np.arange(1, count + 1)).argmax()
    boxes = np.array([[(s.start, s.stop) for s in box] for box in ndimage.find_objects(labels)])
    low, high = boxes[..., 0], boxes[..., 1]
    extent = (high - low).max(1)
    gap = np.maximum(low - high[first], low[first] - high).max(1)
    # The bar of a 5 is long and near, a speck is short or far.
    part = (gap < 0.25 * extent[first]) & (extent >= 0.2 * extent[first])
    return np.concatenate([[False], part])[labels]


def _thicken(digit: np.ndarray) -> np.ndarray:
    """Draw thin strokes about as thick as those of MNIST."""
    from scipy import ndimage

    inside = np.pad(digit > 0.5 * digit.max(), 1)
    # Across a stroke the distance to its edge is a quarter of its width on average.
    width = 4 * ndimage.distance_transform_edt(inside)[inside].mean()
    radius = (STROKE * FINE / BOX - width) / 2
    if radius < 0.5:
        return digit
    reach = int(np.ceil(radius))
    y, x = np.ogrid[-reach : reach + 1, -reach : reach + 1]
    disc = np.hypot(x, y) <= radius + 0.25
    return ndimage.grey_dilation(np.pad(digit, reach), footprint=disc, mode="constant")


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
