"""Turn the picture of a handwritten digit into one like those of MNIST."""

from __future__ import annotations

import numpy as np
from PIL import Image

FIELD = 28  # side of an MNIST picture
BOX = 20  # side of the box the digit is scaled into
FINE = 80  # the same box while strokes are thickened, finer for rounder strokes
WORK = 400  # longer side, in pixels, of the picture in which the digit is searched
WINDOW = 101  # side of a neighbourhood in that picture, wider than any stroke
STROKE = 2.6  # thinner strokes, in pixels of the box, are thickened; MNIST has about 3


def prepare_digit(picture: np.ndarray) -> np.ndarray:
    """Turn a grey picture of one handwritten digit into one like those of MNIST.

    The picture is a uint8 array of shape (H, W), values 0 (black) to 255 (white): a photo or
    a drawing, dark on light or light on dark. Returns a uint8 array of shape (28, 28) with the
    digit white (255) on black (0); an empty picture gives zeros. A picture of 28x28 counts as
    an MNIST digit and is returned unchanged.

    LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document
    recognition", 1998, section III-A: the digit is scaled, its aspect ratio kept, into
    a 20x20 box, where anti-aliasing gives it grey levels, and placed with its centre
    of mass in the middle of a 28x28 field.
    """
    if picture.shape == (FIELD, FIELD):
        return picture.copy()
    digit = _cut_out(_ink(_dark_on_light(_fit(picture, WORK))))
    if digit.size == 0:
        return np.zeros((FIELD, FIELD), np.uint8)
    digit = _fit(_thicken(_fit(digit, FINE)), BOX)
    return _centre((255 / digit.max() * digit).round().astype(np.uint8))


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
    # Padded first, because closing is wrong in a margin of half a window.
    half = WINDOW // 2
    wide = np.pad(smooth, half, mode="edge")
    paper = ndimage.grey_closing(wide, (WINDOW, WINDOW), mode="nearest")[half:-half, half:-half]
    # A share, not a difference: a shadow dims paper and ink by the same factor.
    return (paper - smooth) / np.maximum(paper, 1)


def _cut_out(ink: np.ndarray) -> np.ndarray:
    """Cut out the rectangle around the digit, paper 0 and full ink 1; empty without a digit."""
    from scipy import ndimage

    nothing = np.zeros((0, 0), np.float32)
    # Bare paper is the lower third even of a picture cut out close to the digit.
    low, bare = np.percentile(ink, (10, 30))
    ink = ink - bare
    dark = ink > max(0.05, 7 * (bare - low), 0.25 * ink.max())
    if not dark.any():
        return nothing
    digit = _digit_parts(ink, dark)
    full = np.percentile(ink[digit], 80)
    digit &= ink > 0.4 * full  # remains of shadows are fainter
    rows, columns = ndimage.find_objects(digit.astype(np.uint8))[0]
    soft = ndimage.binary_dilation(digit, iterations=2)  # with the grey edges of the strokes
    digit = np.where(soft, ink / full, 0)[rows, columns].clip(0, 1).astype(np.float32)
    return digit if max(digit.shape) > WORK // 40 else nothing  # a grain of noise


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
