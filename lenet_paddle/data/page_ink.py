"""The ink on a page: paper, printed rules, squares and frames are told from handwriting.

`page/page-ink.js` repeats it in the browser, line by line.
"""

from __future__ import annotations

import numpy as np

from lenet_paddle.data import ink as shares
from lenet_paddle.data.ink import dark_on_light, fit

WORK = 1600  # most pixels on the longer side of the page in which digits are searched
LEAST = 800  # a smaller page is enlarged
COARSE = 400  # longer side of the page from which the paper's light is estimated
RULE = 8  # half of what rules are at most thick, in pixels of a page of 1600
RUN = 30  # half of what is straight in a rule, so
SPAN = 0.25  # a rule covers this share of the page's width in all
SLOPES = np.tan(np.deg2rad(np.arange(-6, 6.1, 0.25)))  # of rules and frames
BOARD = 100  # a board under light writing is at least so dark, inverted
MOST_POINTS = 50_000  # by which a slope is found


def find_ink(page: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the ink on a grey page, uint8 (H, W), dark on light or light on dark.

    The first array, float32 (h, w), holds the share of light that the ink absorbs, bare paper
    being 0; the second, bool (h, w), is True where something is written. Their longer side is 800
    to 1600 pixels.
    """
    ink = _absorbed(page)
    low, high = np.percentile(ink[::4, ::4], 10), ink.max()
    dark = ink > max(0.05, -7 * low, 0.25 * high)
    _erase_frames(ink, dark)
    flat, steep = _find_rules(dark), _find_rules(dark.T).T
    rules = flat | steep
    _erase(ink, dark, flat, rules)
    _erase(ink.T, dark.T, steep.T, rules.T)
    if dark.any():
        dark &= ink > 0.4 * np.percentile(ink[dark], 80)
    return ink, dark


def _absorbed(page: np.ndarray) -> np.ndarray:
    """Return the share of light that is absorbed, less that of bare paper."""
    from PIL import Image
    from scipy import ndimage

    coarse = fit(page, COARSE)
    light = dark_on_light(coarse)
    paper = ndimage.gaussian_filter(light, 0.8) / (
        1 - shares.find_ink(light, has_shadows=False)
    ).clip(0.01)
    work = fit(page, min(max(*page.shape, LEAST), WORK))
    smooth = ndimage.gaussian_filter(work if light is coarse else 255 - work, 0.8)
    size = smooth.shape[::-1]
    wide = Image.fromarray(paper.astype(np.float32)).resize(size, Image.Resampling.HAMMING)
    # An empty white sheet may be taken for a board; then its noise would be large in shares.
    paper = np.maximum(np.asarray(wide), 1 if light is coarse else BOARD)
    ink = (paper - smooth) / paper
    return ink - np.percentile(ink[::4, ::4], 30)


def _most(mask: np.ndarray, reach: int, axis: int) -> np.ndarray:
    """Return the maximum in a window of 2 * reach + 1 along an axis."""
    from scipy import ndimage

    return ndimage.maximum_filter1d(mask, 2 * reach + 1, axis, mode="nearest")


def _least(mask: np.ndarray, reach: int, axis: int) -> np.ndarray:
    """Return the minimum in such a window."""
    from scipy import ndimage

    return ndimage.minimum_filter1d(mask, 2 * reach + 1, axis, mode="nearest")


def _find_rules(dark: np.ndarray) -> np.ndarray:
    """Return the pixels of thin straight lines across the page that are nearly horizontal."""
    thin, run = (max(1, n * max(dark.shape) // WORK) for n in (RULE, RUN))
    line = dark & ~_most(_least(dark, thin, 0), thin, 0)
    y, x = np.nonzero(line)
    every = len(y) // MOST_POINTS + 1
    slope = _find_slope(y[::every], x[::every])
    down = y - _whole(slope * x)
    down -= down.min(initial=0)
    straight = np.zeros((down.max(initial=0) + 1, dark.shape[1]), bool)
    straight[down, x] = True
    joined = _least(_most(straight, thin + 1, 1), thin + 1, 1)
    runs = _most(_least(joined, run, 1), run, 1)
    covered = _most(runs.sum(1), 2, 0) >= SPAN * dark.shape[1]
    rules = np.zeros_like(dark)
    rules[y, x] = covered[down]
    return _most(_most(rules, 1, 0), 1, 1) & dark


def _whole(values: np.ndarray) -> np.ndarray:
    return np.floor(values + 0.5).astype(int)


def _find_slope(y: np.ndarray, x: np.ndarray) -> float:
    """Return the slope along which the points lie in the fewest rows."""
    best, found = -1, 0.0
    for slope in SLOPES:
        down = y - _whole(slope * x)
        score = np.square(np.bincount(down - down.min(initial=0))).sum()
        if score > best:
            best, found = score, float(slope)
    return found


def _erase(ink: np.ndarray, dark: np.ndarray, rule: np.ndarray, rules: np.ndarray) -> None:
    """Erase a nearly horizontal rule, in place, but for the strokes that cross it."""
    if not rule.any():
        return
    # A stroke is darker than the rule, or goes on above and below it.
    level = np.percentile(ink[rule], 50)
    reach = max(1, RULE * max(ink.shape) // WORK) + 2
    bare = _most(np.where(rules, 0, ink), 1, 1)
    across = _least(_most(bare, reach, 0), reach, 0)
    crossed = rule & (ink <= 1.7 * level)
    ink[crossed] = np.minimum(ink, across)[crossed]
    dark &= ~rule | (ink > 0.5 * level)


def _erase_frames(ink: np.ndarray, dark: np.ndarray) -> None:
    """Erase, in place, frames around digits and the lines between the boxes of a form."""
    from scipy import ndimage

    labels, _ = ndimage.label(dark, np.ones((3, 3)))
    for number, box in enumerate(ndimage.find_objects(labels), 1):
        height, width = (side.stop - side.start for side in box)
        crosses = height == dark.shape[0] or width == dark.shape[1]
        if min(height, 2 * width) < max(dark.shape) // 50 or crosses:
            continue
        part = labels[box] == number
        if not _may_be_frame(part):
            continue
        for slope in SLOPES[::2]:
            lines = _frame_lines(part, slope)
            if lines is not None:
                ink[box][lines] = 0
                dark[box] &= ~lines
                break


def _may_be_frame(part: np.ndarray) -> bool:
    """Return whether it is hollow and, unless it is long, has something in each corner."""
    height, width = part.shape
    if 5 * part.sum() > 2 * part.size:
        return False
    y, x = max(3, height // 5), max(3, width // 5)
    corners = (part[:y, :x], part[:y, -x:], part[-y:, :x], part[-y:, -x:])
    return width >= 2 * height or all(corner.any() for corner in corners)


def _frame_lines(part: np.ndarray, slope: float) -> np.ndarray | None:
    """Return the pixels of a frame's lines that have this slope; None if it is no frame."""
    y, x = np.nonzero(part)
    down, along = _whole(y - slope * x), _whole(x + slope * y)
    down, along = down - down.min(), along - along.min()
    straight = np.zeros((down.max() + 1, along.max() + 1), bool)
    straight[down, along] = True
    reach = 2 + max(part.shape) // 200
    rows = _most(straight, reach, 0).mean(1) > 0.9
    columns = _most(straight, reach, 1).mean(0) > 0.9
    rows, columns = _most(rows, reach, 0), _most(columns, reach, 0)
    near = 2 * reach + 1
    ends = (rows[:near], rows[-near:], columns[:near], columns[-near:])
    if not all(end.any() for end in ends) or rows.mean() > 0.6 or columns.mean() > 0.6:
        return None
    lines = rows[:, None] | columns
    bare = straight & ~lines
    kept = _least(_most(bare, near, 0), near, 0) & rows[:, None]  # strokes that cross
    kept |= _least(_most(bare, near, 1), near, 1) & columns
    result = np.zeros_like(part)
    result[y, x] = (lines & ~kept)[down, along]
    return result
