"""Changes of written strokes, for `transforms`: their width, gaps, blobs and few pixels."""

from __future__ import annotations

import functools

import numpy as np

CROSS = ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0))
SQUARE = (*CROSS, (1, 1), (1, -1), (-1, 1), (-1, -1))


def change_width(planes: np.ndarray, change: np.ndarray) -> np.ndarray:
    """Make light strokes on dark ground wider or narrower by `change` pixels each, float (B,).

    planes: uint8 (B, C, H, W); returns float32. They are dilated or eroded (grey levels: Serra,
    Image Analysis and Mathematical Morphology, 1982) by a cross and a square in turn, so that the
    sum is an octagon; each step makes a stroke wider by 2 pixels, and of the last step's result
    only the share is mixed in that is left of `change`.
    """
    values, left = planes.astype(np.float32), np.abs(change) / 2
    for step in range(int(np.ceil(left.max(initial=0)))):
        for chosen, combine in ((change > 0, np.maximum), (change < 0, np.minimum)):
            rows = np.flatnonzero(chosen & (left > step))
            share = np.minimum(left[rows] - step, 1).astype(np.float32)[:, None, None, None]
            own = values[rows]
            values[rows] = own + share * (
                _combine(own, combine, SQUARE if step % 2 else CROSS) - own
            )
    return values


def outline(planes: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Leave only the edges of strokes in the `chosen` images, bool (B,): what a dilation has more
    than an erosion. planes: (B, C, H, W), of any dtype, which is kept."""
    values = planes.copy()
    own = values[chosen]
    values[chosen] = _combine(own, np.maximum, CROSS) - _combine(own, np.minimum, CROSS)
    return values


def _combine(
    values: np.ndarray, combine: np.ufunc, places: tuple[tuple[int, int], ...]
) -> np.ndarray:
    """Combine each pixel of (B, C, H, W) with those at `places` beside it, the border repeated."""
    height, width = values.shape[2:]
    padded = np.pad(values, ((0, 0), (0, 0), (1, 1), (1, 1)), "edge")
    result = values
    for down, right in places[1:]:
        near = padded[:, :, 1 + down : 1 + down + height, 1 + right : 1 + right + width]
        result = combine(result, near)
    return result


def draw_breaks(
    ink: np.ndarray, share: float, pixels: float, rng: np.random.Generator
) -> np.ndarray:
    """Draw masks of one gap, bool (B, H, W), in a `share` of the images.

    ink: (B, H, W), light on dark. The gap is a straight band of 1 to 3 `pixels`, of any direction,
    through a random place on the ink, and 5 pixels long to either side.
    """
    batch, height, width = ink.shape
    chosen = rng.random((batch,)) < share
    row, col = np.divmod((ink * rng.random(ink.shape)).reshape(batch, -1).argmax(axis=1), width)
    angle, half = rng.uniform(0, np.pi, (batch,)), rng.uniform(0.5, 1.5, (batch,)) * pixels
    down, right = _distances(row, col, height, width)
    cos, sin = (part[:, None, None] for part in (np.cos(angle), np.sin(angle)))
    across, along = down * cos + right * sin, right * cos - down * sin
    near = (np.abs(across) <= half[:, None, None]) & (np.abs(along) <= 5 * pixels)
    return chosen[:, None, None] & near


def draw_specks(
    shape: tuple[int, int, int], share: float, pixels: float, rng: np.random.Generator
) -> np.ndarray:
    """Draw masks of one disk, bool of `shape` (B, H, W), in a `share` of the images: 1 to 5
    `pixels` wide, anywhere."""
    batch, height, width = shape
    chosen = rng.random((batch,)) < share
    row, col = rng.uniform(0, height - 1, (batch,)), rng.uniform(0, width - 1, (batch,))
    radius = rng.uniform(0.5, 2.5, (batch,)) * pixels
    down, right = _distances(row, col, height, width)
    return chosen[:, None, None] & (down**2 + right**2 <= radius[:, None, None] ** 2)


def _distances(
    row: np.ndarray, col: np.ndarray, height: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return how far pixels lie below (B, H, 1) and to the right (B, 1, W) of (row, col)."""
    each = (slice(None), None, None)
    return np.arange(height)[:, None] - row[each], np.arange(width) - col[each]


def scale_down(values: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Scale each image of (B, C, H, W) to a `share` of its sides, float (B,), and back.

    Each small pixel is the mean of those that it covers; back, they are interpolated linearly.
    Returns float32; whole pixels, so that a share of 1 changes nothing.
    """
    for side in values.shape[2:]:  # along rows, then transposed along columns
        sides = np.maximum(1, np.rint(share * side).astype(int))
        weights = np.stack([_down_and_up(side, small) for small in sides])[:, None]
        values = (weights @ values.astype(np.float32)).swapaxes(2, 3)
    return values


@functools.cache
def _down_and_up(side: int, small: int) -> np.ndarray:
    """Return the weights of pixels for pixels, float32 (side, side), in rows that sum to 1."""
    edges, borders = np.arange(side + 1), np.arange(small + 1) * side / small
    covered = np.minimum(edges[1:], borders[1:, None]) - np.maximum(edges[:-1], borders[:-1, None])
    down = np.maximum(covered, 0) * small / side
    places = (np.arange(side) + 0.5) * small / side - 0.5
    distance = np.abs(np.clip(places, 0, small - 1)[:, None] - np.arange(small))
    return (np.maximum(1 - distance, 0) @ down).astype(np.float32)
