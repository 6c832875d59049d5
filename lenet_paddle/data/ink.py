"""Tell ink from paper in a picture: its sheet, its colours, its light, its lines and frames."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image

from lenet_paddle.data.form import to_grey

WORK = 400  # longer side, in pixels, of the picture in which ink is searched
WINDOW = 101  # side of a neighbourhood in that picture, wider than any stroke
NARROW = 41  # the same among shadows, wider than most strokes
SHADOW = 0.65  # of the darkest ink: what is wide and lighter is a shadow
GREY_ENOUGH = 0.3  # share of the colours' variance that grey must keep
COLOUR = 4.0  # standard deviation of the colours from which they count
SMALL_SHEET = 100  # longer side, in pixels, of the picture in which the sheet is searched
TURNS = np.radians(np.arange(0, 360, 3))  # directions in which the sheet is measured
SLOPES = np.linspace(-0.12, 0.12, 25)  # of lines, 7 degrees to both sides
MOST_LINE = 20  # pixels of a line's width


class Sheet(NamedTuple):
    """Where a sheet lies in a picture of 100 pixels."""

    covered: np.ndarray
    """Its pixels but for a rim: bool (h, w)."""
    box: tuple[int, int, int, int]
    """Its first row, the one after the last, its first column, the one after the last."""


def fit(picture: np.ndarray, side: int) -> np.ndarray:
    """Scale a picture, (H, W) or uint8 (H, W, 3), averaging pixels, to its longer side; float32."""
    height, width = (max(1, round(n * side / max(picture.shape[:2]))) for n in picture.shape[:2])
    image = Image.fromarray(picture)
    scaled = image.resize((width, height), Image.Resampling.HAMMING, reducing_gap=2)
    return np.asarray(scaled, np.float32)


def to_plane(colours: np.ndarray) -> np.ndarray:
    """Return one plane, float32 (h, w) of whole numbers 0 to 255, in which ink differs from paper.

    It is grey, unless that keeps little of how the colours (h, w, 3) differ from those around
    them; then the direction in which they differ most (Pearson 1901).
    """
    from scipy import ndimage

    if colours.ndim == 2:
        return colours
    grey = to_grey(colours.astype(np.uint8)).astype(np.float32)
    if (colours == colours[..., :1]).all():
        return grey
    around = [ndimage.uniform_filter(c, WINDOW, mode="nearest") for c in np.moveaxis(colours, 2, 0)]
    rest = (colours - np.stack(around, 2)).reshape(-1, 3).astype(np.float64)
    spread = rest.T @ rest / len(rest)
    variances, directions = np.linalg.eigh(spread)
    weights = np.array([0.299, 0.587, 0.114])
    kept = weights @ spread @ weights / (weights @ weights)
    if kept >= GREY_ENOUGH * variances[2] or variances[2] < COLOUR**2:
        return grey
    direction = directions[:, 2] * np.sign(directions[np.abs(directions[:, 2]).argmax(), 2])
    along = colours.astype(np.float64) @ direction
    return (127.5 + along - along.mean()).round().clip(0, 255).astype(np.float32)


def otsu(values: np.ndarray, separation: float) -> int | None:
    """Return the threshold between the two groups of values, whole numbers 0 to 255.

    Otsu 1979, "A threshold selection method from gray-level histograms"; None where it explains
    no more than the share `separation` of the variance.
    """
    levels = np.arange(256)
    counts = np.bincount(values.astype(np.uint8).ravel(), minlength=256) / values.size
    below, mean_below, mean = counts.cumsum(), (counts * levels).cumsum(), counts @ levels
    with np.errstate(divide="ignore", invalid="ignore"):
        between = np.nan_to_num((mean * below - mean_below) ** 2 / (below * (1 - below)), posinf=0)
    threshold = int(between.argmax())
    is_clear = between[threshold] > separation * (counts @ (levels - mean) ** 2)
    return threshold if is_clear else None


def find_sheet(picture: np.ndarray) -> Sheet | None:
    """Return the light sheet with straight edges that lies on something darker, if any is seen.

    `picture` is float32 (h, w), whole numbers 0 to 255.
    """
    from scipy import ndimage

    # Dark around it, or closing would fill dark stripes along the edges as it does strokes.
    small = np.pad(fit(picture.astype(np.uint8), SMALL_SHEET), 4)
    small = ndimage.grey_closing(small, (9, 9), mode="nearest")[4:-4, 4:-4]
    threshold = otsu(small, 0.7)
    if threshold is None:
        return None
    light = small > threshold
    if small[~light].mean() > 0.8 * small[light].mean():
        return None
    labels, _ = ndimage.label(light)
    sheet = labels == np.bincount(labels[light]).argmax()
    y, x = np.nonzero(sheet)
    limits = np.array([(x * np.cos(turn) + y * np.sin(turn)).max() for turn in TURNS])
    height, width = small.shape
    around, hull, inner, middle = (
        _within(limits + by, height, width) for by in (1.5, 0.01, -1.99, -3.99)
    )
    rim, inside = _within(limits + 3.01, height, width) & ~around, inner & ~middle
    share = hull.mean()
    edges = (hull[0], hull[-1], hull[:, 0], hull[:, -1])
    bare = sum(edge.mean() < 0.5 for edge in edges)
    if not 0.08 < share < 0.995 or (bare < 2 and share < 0.85):
        return None
    if not rim.any() or not inside.any():  # a strip has no inside
        return None
    # The smallest rectangle around it: a light 0 would fill 0.79 of that.
    quarter = len(TURNS) // 4
    widths = limits + np.roll(limits, 2 * quarter) + 1
    rectangle = (widths * np.roll(widths, quarter)).min()
    if sheet.sum() <= 0.93 * hull.sum() or hull.sum() <= 0.83 * rectangle:
        return None
    # Light fades over the width of a shadow's edge, or of a lamp's spot, but not at a sheet's.
    if np.percentile(small[rim], 75) > 0.7 * np.percentile(small[inside], 25):
        return None
    return Sheet(inner, (y.min() + 2, y.max() - 1, x.min() + 2, x.max() - 1))


def _within(limits: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return which pixels lie within the half-planes `x cos(turn) + y sin(turn) <= limit`."""
    y, x = np.arange(height)[:, None], np.arange(width)
    inside = np.ones((height, width), bool)
    for turn, limit in zip(TURNS, limits, strict=True):
        inside &= x * np.cos(turn) + y * np.sin(turn) <= limit
    return inside


def dark_on_light(picture: np.ndarray) -> np.ndarray:
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


def find_ink(picture: np.ndarray, has_shadows: bool = True) -> np.ndarray:
    """Return the share of light that the ink absorbs (0 to 1), independent of the lighting.

    `picture` is float32 (h, w), dark on light, 400 pixels long.
    """
    from scipy import ndimage

    ink = _absorbed(picture, WINDOW)
    # What is wider than a stroke, and much lighter than the strokes, is the shadow of a hand.
    wide = ndimage.grey_erosion(ink, (NARROW - 10, NARROW - 10), mode="nearest").max()
    if has_shadows and wide > 0.1:
        thin = _absorbed(picture, NARROW)
        is_sparse = (thin > 0.25 * thin.max()).mean() < 0.2  # noise is not
        if is_sparse and wide < SHADOW * thin.max():
            return np.maximum(thin - wide, 0)
    return ink


def _absorbed(picture: np.ndarray, window: int) -> np.ndarray:
    from scipy import ndimage

    smooth = ndimage.gaussian_filter(picture, 0.8)
    # Closing fills dark areas narrower than the window. Unlike blurring it keeps the
    # straight edge of a shadow in place, so that no line is left there.
    # Padded first, because closing is wrong in a margin of half a window; with the edge as
    # paper, or ink that touches it would be repeated and so be taken for paper.
    half = window // 2
    paper = smooth.copy()
    for edge in (paper[0], paper[-1], paper[:, 0], paper[:, -1]):
        np.maximum(edge, _close_line(edge, window), out=edge)
    wide = np.pad(paper, half, mode="edge")
    wide[half:-half, half:-half] = smooth
    paper = ndimage.grey_closing(wide, (window, window), mode="nearest")[half:-half, half:-half]
    # A share, not a difference: a shadow dims paper and ink by the same factor.
    return (paper - smooth) / np.maximum(paper, 1)


def _close_line(line: np.ndarray, window: int) -> np.ndarray:
    """Fill dark parts of a row or column that are narrower than the window, also at its ends."""
    from scipy import ndimage

    half = window // 2
    return ndimage.grey_closing(np.pad(line, half, constant_values=255), window)[half:-half]


def remove_lines(dark: np.ndarray) -> tuple[np.ndarray, bool]:
    """Erase straight lines that reach from edge to edge, nearly level or upright.

    Where a stroke crosses a line, it stays. Returns the rest, bool (h, w), and whether any line
    was erased (run lengths: Roach and Tatem 1988 for the staves of music).
    """
    level, upright = _find_lines(dark), _find_lines(dark.T)
    dark = _erase(dark, level)
    return _erase(dark.T, upright).T, bool(level or upright)


def _find_lines(dark: np.ndarray) -> list[tuple[float, float]]:
    """Return (slope, height in the middle) of the nearly level lines from edge to edge."""
    height, width = (side // 2 for side in dark.shape)
    if min(height, width) < 20:
        return []
    halves = dark[: 2 * height, : 2 * width].reshape(height, 2, width, 2).any((1, 3))
    if np.count_nonzero(halves.any(0)) <= 0.4 * width:  # 0.8 of half the width at least
        return []
    near = np.pad(halves, ((1, 1), (0, 0)))
    near = near[:-2] | near[1:-1] | near[2:]
    y, x = np.arange(height)[:, None], np.arange(width)
    shares = np.zeros((len(SLOPES), height), np.float32)
    for k, slope in enumerate(SLOPES):
        at = y + np.floor(slope * (x - width / 2) + 0.5).astype(int)
        inside = (at >= 0) & (at < height)
        hits = near[at.clip(0, height - 1), x] & inside
        count = inside.sum(1)
        shares[k] = np.where(count > width / 2, hits.sum(1) / count, 0)
    lines: list[tuple[float, float]] = []
    while shares.max() > 0.8 and len(lines) < 100:
        k, row = divmod(int(shares.argmax()), height)
        lines.append((float(SLOPES[k]), 2.0 * row + 1))
        shares[:, max(0, row - 3) : row + 4] = 0
    return lines


def _erase(dark: np.ndarray, lines: list[tuple[float, float]]) -> np.ndarray:
    """Erase nearly level lines where they are no wider than most of the line is."""
    if not lines:
        return dark
    dark = dark.copy()
    height, width = dark.shape
    y, x = np.arange(height)[:, None], np.arange(width)
    for slope, middle in lines:
        above = np.maximum.accumulate(np.where(dark, -1, y), axis=0)  # the last bare pixel
        below = np.minimum.accumulate(np.where(dark, height, y)[::-1], axis=0)[::-1]
        at = np.floor(middle + slope * (x - width / 2) + 0.5).astype(int)
        best = np.full(width, -1)
        for step in (4, -4, 3, -3, 2, -2, 1, -1, 0):
            rows = at + step
            hit = (rows >= 0) & (rows < height)
            hit &= dark[rows.clip(0, height - 1), x]
            best[hit] = rows[hit]
        found = np.flatnonzero(best >= 0)
        if not found.size:
            continue
        first, last = above[best[found], found] + 1, below[best[found], found]
        runs = last - first
        most = np.median(runs)
        if most > MOST_LINE:
            continue
        for k in np.flatnonzero(runs <= 1.5 * most + 2):
            dark[first[k] : last[k], found[k]] = False
    return dark


def drop_frames(labels: np.ndarray, boxes: np.ndarray, has_lines: bool) -> np.ndarray:
    """Return which parts, bool (n,), are frames around others, or the bars of a form's boxes.

    `labels` (h, w) numbers the parts from 1, `boxes` (n, 2, 2) has the first and last row and
    column of each. Bars are looked for where lines have been erased.
    """
    low, high = boxes[..., 0], boxes[..., 1]
    extent = (high - low).max(1)
    foreign = np.zeros(len(boxes), bool)
    large = np.flatnonzero(extent >= 0.1 * extent.max())
    for outer in large[np.argsort(-extent[large], kind="stable")][:40]:
        for inner in large:
            if extent[inner] < 0.25 * extent[outer] or foreign[inner]:
                continue
            if (low[inner] > low[outer]).all() and (high[inner] < high[outer]).all():
                y, x = (low[inner] + high[inner]) // 2
                row, column = labels[y] == outer + 1, labels[:, x] == outer + 1
                rays = (row[:x], row[x:], column[:y], column[y:])
                foreign[outer] |= all(ray.any() for ray in rays)
    if has_lines:
        sides = high - low
        bars = (sides.min(1) <= 0.25 * sides.max(1)) & (extent >= 0.1 * max(labels.shape))
        if bars.sum() >= 2 and (~bars & ~foreign & (extent >= 0.1 * extent.max())).any():
            foreign |= bars
    return foreign
