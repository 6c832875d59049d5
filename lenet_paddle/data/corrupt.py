"""MNIST-C's 15 corruptions, vectorised over whole batches.

After N. Mu and J. Gilmer: MNIST-C: A Robustness Benchmark for Computer Vision, 2019 (arXiv
1906.02337), which took many of them from D. Hendrycks and T. Dietterich: Benchmarking Neural
Network Robustness to Common Corruptions and Perturbations, 2019 (arXiv 1903.12261). Parameters
and default severities are MNIST-C's; docs/mnist-c.md compares the results with MNIST-C's own.

Each corruption is a function (images float64 (N, 28, 28) in 0..1, the severity's parameter, a
generator) -> images of the same shape, perhaps a little outside 0..1. It draws image by image, so
that the first N images come out the same however many follow.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from lenet_paddle.data.datasets import IDENTITY
from lenet_paddle.data.form import SIZE
from lenet_paddle.errors import InputError

BLOCK = 200  # images corrupted at once, with a generator per block
_MAPS = 8  # fog maps made at once: they fit into a processor's cache
_CENTRE = (SIZE - 1) / 2
_DRAWS = 0x636F72  # separates these generators from those of other draws


def corrupt(
    images: np.ndarray,
    corruption: str,
    severity: int | None = None,
    seed: int = 0,
    report: Callable[[int], None] | None = None,
) -> np.ndarray:
    """Corrupt images, uint8 (N, 28, 28) with background 0, as MNIST-C does; return a new array.

    `severity` is 1 to 5, by default MNIST-C's own for the corruption; stripe, dotted_line,
    zigzag, canny_edges and identity have one strength only. Random draws depend on `seed`, the
    corruption and the image's position. `report` is called with the number of images done.
    Raises `InputError` for an unknown corruption, severity or shape.
    """
    if corruption not in _RECIPES:
        raise InputError(
            f"corruption {corruption!r} is unknown; expected one of {', '.join(_RECIPES)}"
        )
    if severity is not None and severity not in range(1, 6):
        raise InputError(f"severity is {severity!r}; expected a whole number from 1 to 5")
    if images.dtype != np.uint8 or images.shape[1:] != (SIZE, SIZE):
        raise InputError(f"images are {images.dtype} {images.shape}; expected uint8 (N, 28, 28)")
    number = list(_RECIPES).index(corruption)
    result = np.empty(images.shape, np.uint8)
    for start in range(0, len(images), BLOCK):
        rng = np.random.default_rng((_DRAWS, seed, number, start // BLOCK))
        block = slice(start, start + BLOCK)
        result[block] = corrupt_block(images[block], corruption, severity, rng)
        if report is not None:
            report(min(start + BLOCK, len(images)))
    return result


def corrupt_block(
    images: np.ndarray, corruption: str, severity: int | None, rng: np.random.Generator
) -> np.ndarray:
    """Corrupt all images at once with the caller's generator, without `corrupt`'s checks."""
    function, default, parameters = _RECIPES[corruption]
    changed = function(images / 255.0, parameters[(severity or default) - 1], rng)
    values = (np.clip(changed, 0, 1) * 255).astype(np.float32)  # so that halves stay exact
    return np.rint(values).astype(np.uint8)


def _shot_noise(images: np.ndarray, photons: float, rng: np.random.Generator) -> np.ndarray:
    """Add Poisson noise, as of a sensor that counts `photons` for white."""
    return rng.poisson(images * photons) / photons


def _impulse_noise(images: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Turn a share of the pixels black or white in equal parts: salt and pepper."""
    chance = rng.random(images.shape)
    noisy = np.where(chance < share / 2, 0.0, images)
    return np.where(chance > 1 - share / 2, 1.0, noisy)


def _glass_blur(
    images: np.ndarray, parameter: tuple[float, int, int], rng: np.random.Generator
) -> np.ndarray:
    """Blur, exchange half of the pixels with near ones, blur again.

    MNIST-C's blur smooths along the columns only: its library took the other axis for colours.
    """
    sigma, reach, passes = parameter
    blurred = np.floor(_blur(images, (sigma, 0)) * 255)
    places = range(SIZE - reach, reach, -1)
    draws = rng.integers(
        [0, -reach, -reach], [2, reach, reach], (len(images), passes, len(places) ** 2, 3)
    )
    every = np.arange(len(images))
    for turn in range(passes):
        for step in range(len(places) ** 2):
            row, column = places[step // len(places)], places[step % len(places)]
            swap, down, right = draws[:, turn, step].T
            other = (every, row + swap * down, column + swap * right)
            kept = blurred[:, row, column].copy()
            blurred[:, row, column] = blurred[other]
            blurred[other] = kept
    return _blur(blurred / 255, (sigma, 0))


def _blur(images: np.ndarray, sigma: tuple[float, float]) -> np.ndarray:
    from scipy import ndimage

    return ndimage.gaussian_filter(images, (0, *sigma), mode="nearest")


def _motion_blur(
    images: np.ndarray, parameter: tuple[int, float], rng: np.random.Generator
) -> np.ndarray:
    """Smear to one side with a Gaussian's weights, within 45 degrees of the horizontal.

    As in ImageMagick, the pixels of the trail are not interpolated, and grey levels are rounded
    down.
    """
    radius, sigma = parameter
    angles = np.radians(rng.uniform(-45, 45, len(images)))
    taps = np.arange(2 * radius + 1)
    weights = np.exp(-(taps**2) / (2 * sigma**2))
    weights /= weights.sum()
    right = np.ceil(taps * np.cos(angles)[:, None] - 0.5).astype(int)
    down = np.ceil(taps * np.sin(angles)[:, None] - 0.5).astype(int)
    every, place = np.arange(len(images))[:, None, None], np.arange(SIZE)
    result = np.zeros_like(images)
    for tap, weight in enumerate(weights):
        rows = np.clip(place + down[:, tap, None], 0, SIZE - 1)[:, :, None]
        columns = np.clip(place + right[:, tap, None], 0, SIZE - 1)[:, None, :]
        result += weight * images[every, rows, columns]
    return np.floor(result * 255 + 1e-6) / 255


def _shear(images: np.ndarray, angle: float, rng: np.random.Generator) -> np.ndarray:
    """Lean upright lines by an angle in radians, to either side."""
    matrices = [_shear_matrix(angle), _shear_matrix(-angle)]
    return _warp(images, matrices, rng.integers(0, 2, len(images)))


def _shear_matrix(angle: float) -> np.ndarray:
    return np.array([[1, -math.sin(angle)], [0, math.cos(angle)]])


def _rotate(images: np.ndarray, angle: float, rng: np.random.Generator) -> np.ndarray:
    """Rotate by an angle in radians, to either side."""
    cos, sin = math.cos(angle), math.sin(angle)
    matrices = [np.array([[cos, -sin], [sin, cos]]), np.array([[cos, sin], [-sin, cos]])]
    return _warp(images, matrices, rng.integers(0, 2, len(images)))


def _scale(images: np.ndarray, size: float, rng: np.random.Generator) -> np.ndarray:
    """Shrink to a share of the size."""
    return _warp(images, [np.eye(2) / size], np.zeros(len(images), int))


def _warp(images: np.ndarray, matrices: list[np.ndarray], chosen: np.ndarray) -> np.ndarray:
    """Take pixel (x, y), from the centre, from `matrices[chosen] @ (x, y)`, bilinear."""
    from scipy import ndimage

    result = np.empty_like(images)
    for number, matrix in enumerate(matrices):
        full = np.eye(3)
        full[1:, 1:] = matrix[::-1, ::-1]  # rows before columns
        offset = np.r_[0, _CENTRE * (1 - full[1:, 1:].sum(1))]
        mine = chosen == number
        result[mine] = ndimage.affine_transform(
            images[mine], full, offset, order=1, mode="grid-constant"
        )
    return result


def _brightness(images: np.ndarray, added: float, rng: np.random.Generator) -> np.ndarray:
    """Add a share of white."""
    return images + added


def _translate(images: np.ndarray, pixels: int, rng: np.random.Generator) -> np.ndarray:
    """Shift along both axes, each to either side."""
    sides = rng.integers(0, 2, (len(images), 2)) * 2 * pixels
    padded = np.pad(images, ((0, 0), (pixels, pixels), (pixels, pixels)))
    place = np.arange(SIZE)
    rows, columns = (place + sides[:, axis, None] for axis in (0, 1))
    return padded[np.arange(len(images))[:, None, None], rows[:, :, None], columns[:, None, :]]


def _stripe(images: np.ndarray, _: None, rng: np.random.Generator) -> np.ndarray:
    """Invert the left and the right quarter."""
    result = images.copy()
    for columns in (slice(0, SIZE // 4), slice(3 * SIZE // 4, SIZE)):
        result[:, :, columns] = 1 - images[:, :, columns]
    return result


def _fog(
    images: np.ndarray, parameter: tuple[float, float], rng: np.random.Generator
) -> np.ndarray:
    """Add a cloud, the corner of a plasma fractal, and scale to the old maximum."""
    strength, decay = parameter
    clouds = np.empty_like(images)
    for start in range(0, len(images), _MAPS):
        part = clouds[start : start + _MAPS]
        part[:] = _plasma(_MAPS, 256, decay, rng)[: len(part), :SIZE, :SIZE]
    highest = images.max((1, 2), keepdims=True)
    return (images + strength * clouds) * highest / (highest + strength)


def _plasma(count: int, side: int, decay: float, rng: np.random.Generator) -> np.ndarray:
    """Draw height maps in 0..1 by the diamond-square algorithm on a torus.

    Returns float32 (count, side, side). Points half-way between known ones get their mean plus a
    random part, whose range is divided by decay^2 whenever the distance is halved.
    """
    heights, roughness = np.zeros((count, 1, 1), np.float32), 1.0
    while heights.shape[1] < side:
        known, length = heights, heights.shape[1]
        chance = (rng.random((count, 3, length, length), np.float32) * 2 - 1) * roughness
        down = known + np.roll(known, -1, 1)
        middle = chance[:, 0] + (down + np.roll(down, -1, 2)) / 4
        below = chance[:, 1] + (down + middle + np.roll(middle, 1, 2)) / 4
        right = known + np.roll(known, -1, 2)
        beside = chance[:, 2] + (right + middle + np.roll(middle, 1, 1)) / 4
        rows = [np.stack(pair, -1) for pair in ((known, beside), (below, middle))]
        heights = np.stack(rows, 2).reshape(count, 2 * length, 2 * length)
        roughness /= decay**2
    heights -= heights.min((1, 2), keepdims=True)
    return heights / heights.max((1, 2), keepdims=True)


def _spatter(
    images: np.ndarray,
    parameter: tuple[float, float, float, float, float],
    rng: np.random.Generator,
) -> np.ndarray:
    """Add dark grey drops where smooth noise is above a threshold."""
    mean, deviation, size, threshold, softness = parameter
    liquid = _blur(rng.normal(mean, deviation, images.shape), (size, size))
    drops = _blur((liquid > threshold).astype(np.float64), (softness, softness))
    drops[drops < 0.8] = 0
    return images * (1 - drops) + 63 / 255 * drops


def _dotted_line(images: np.ndarray, _: None, rng: np.random.Generator) -> np.ndarray:
    """Add a straight dotted line from left to right: two columns of gap, two drawn, and so on."""
    left, right = rng.integers(0, SIZE - 1, (len(images), 2)).T
    line = _line(np.zeros(len(images)), left, np.full(len(images), SIZE - 1.0), right)
    return images + line * (np.arange(SIZE) // 2 % 2)


def _zigzag(images: np.ndarray, _: None, rng: np.random.Generator) -> np.ndarray:
    """Add a zigzag line from left to right, rising or falling by up to 5 rows."""
    first, last = 2, 25  # columns
    start, rise = rng.integers([0, -5], [SIZE - 1, 5], (len(images), 2)).T
    angle = np.arctan(rise / (last - first))
    length = (last - first) / np.cos(angle)
    along = np.array([0, 2, 6, 10, 14, 18, 22, 0]) + np.outer(length, np.eye(8)[7])
    across = np.array([0, 2, -2, 2, -2, 2, -2, 0]) - np.outer(1 / (length - 20), np.eye(8)[7])
    columns = first + along * np.cos(angle)[:, None] - across * np.sin(angle)[:, None]
    rows = start[:, None] + along * np.sin(angle)[:, None] + across * np.cos(angle)[:, None]
    result = images.copy()
    for i in range(7):
        result += _line(columns[:, i], rows[:, i], columns[:, i + 1], rows[:, i + 1])
    return result


def _line(x0: np.ndarray, y0: np.ndarray, x1: np.ndarray, y1: np.ndarray) -> np.ndarray:
    """Draw a soft line per image from (x0, y0) to (x1, y1), x0 < x1, each of shape (N,)."""
    place = np.arange(SIZE)
    heights = y0[:, None] + ((y1 - y0) / (x1 - x0))[:, None] * (place - x0[:, None])
    distances = np.abs(place[None, :, None] - heights[:, None, :])
    strength = np.log(1 - np.minimum(distances, 2.29) / 2.3) + 1
    drawn = (place >= np.floor(x0)[:, None]) & (place < np.ceil(x1)[:, None])
    return np.clip(strength, 0, 1) * drawn[:, None, :]


def _canny_edges(images: np.ndarray, _: None, rng: np.random.Generator) -> np.ndarray:
    """Keep the edges only (Canny 1986, sigma 1): 0 or 1."""
    try:
        from skimage.feature import canny
    except ImportError:
        raise InputError(
            "scikit-image is not installed; install the extra: pip install '.[vision]'"
        ) from None
    return np.stack([canny(image) for image in images]).astype(np.float64)


def _identity(images: np.ndarray, _: None, rng: np.random.Generator) -> np.ndarray:
    return images


_Corruption = Callable[[np.ndarray, Any, np.random.Generator], np.ndarray]
_ONE = (None,) * 5  # one strength for all severities
# Name -> (function, default severity, parameter of each severity).
_RECIPES: dict[str, tuple[_Corruption, int, tuple[Any, ...]]] = {
    "shot_noise": (_shot_noise, 5, (60, 25, 12, 5, 3)),
    "impulse_noise": (_impulse_noise, 4, (0.03, 0.06, 0.09, 0.17, 0.27)),
    "glass_blur": (
        _glass_blur,
        1,
        ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
    ),
    "motion_blur": (_motion_blur, 1, ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))),
    "shear": (_shear, 2, (0.2, 0.4, 0.6, 0.8, 1.0)),
    "scale": (_scale, 3, (0.9, 0.8, 0.7, 0.6, 0.5)),
    "rotate": (_rotate, 2, (0.2, 0.4, 0.6, 0.8, 1.0)),
    "brightness": (_brightness, 5, (0.1, 0.2, 0.3, 0.4, 0.5)),
    "translate": (_translate, 3, (1, 2, 3, 4, 5)),
    "stripe": (_stripe, 1, _ONE),
    "fog": (_fog, 5, ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4))),
    "spatter": (
        _spatter,
        4,
        (
            *((0.65, 0.3, 4, 0.69, 0.6), (0.65, 0.3, 3, 0.68, 0.6), (0.65, 0.3, 2, 0.68, 0.5)),
            *((0.65, 0.3, 1, 0.65, 1.5), (0.67, 0.4, 1, 0.65, 1.5)),
        ),
    ),
    "dotted_line": (_dotted_line, 1, _ONE),
    "zigzag": (_zigzag, 1, _ONE),
    "canny_edges": (_canny_edges, 1, _ONE),
    IDENTITY: (_identity, 1, _ONE),
}
