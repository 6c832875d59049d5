"""Random variants of training images, a whole batch at once, in NumPy.

`augment(images, rng)` turns uint8 (B, H, W) into uint8 (B, H, W); all that is random comes from
`rng`. `BatchLoader` makes one from (seed, epoch, step), so an epoch can be repeated exactly.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, fields, replace

import numpy as np

from lenet_paddle.config import Fill, TrainConfig

# Fields that one matrix product smooths. With more, NumPy's BLAS would take a second thread, and
# wait for it longer than the product takes whenever that core is busy.
GROUP = 16
NUM_BARS = 3


@dataclass(frozen=True)
class Augmentation:
    """How far an image may be changed. Each image draws its own amount, evenly from the range;
    a range of 0 changes nothing and draws nothing."""

    rotation: float = 0.0
    """Degrees, to either side."""
    shift: float = 0.0
    """Share of the side, along each axis."""
    zoom: float = 0.0
    """z: each axis is scaled by 1 - z to 1 + z."""
    shear: float = 0.0
    """Degrees by which upright lines lean, to either side."""
    elastic: float = 0.0
    """Standard deviation in pixels of the elastic distortion's displacements."""
    elastic_sigma: float = 2.0
    """Its smoothness: the Gaussian's standard deviation in pixels."""
    horizontal_flip: float = 0.0
    """Probability of exchanging left and right."""
    vertical_flip: float = 0.0
    """Probability of exchanging top and bottom."""
    erase: float = 0.0
    """Probability of covering a rectangle with one random grey."""
    bars: float = 0.0
    """Probability of each of three straight bars, of any direction and one random grey."""
    brightness: float = 0.0
    """Share of 255 that is added or taken away."""
    contrast: float = 0.0
    """c: distances from the image's mean are scaled by 1 - c to 1 + c."""
    noise: float = 0.0
    """The highest standard deviation of Gaussian noise, as a share of 255."""
    blur: float = 0.0
    """The highest standard deviation in pixels of a Gaussian blur."""
    fill: Fill = "background"
    """What stands where a moved image leaves a gap: 0, or its nearest pixel."""

    def __call__(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Variants of `images`, uint8 (B, H, W) -> uint8 (B, H, W), never written into.

        Flips, then affine map and elastic distortion as one sampling, then blur, contrast,
        brightness, bars, noise and erasing; rounded once, at the end.
        """
        images = _flip(images, self.horizontal_flip, rng, axis=2)
        images = _flip(images, self.vertical_flip, rng, axis=1)
        values = self._change_values(self._move(images, rng), rng)
        return values if values.dtype == np.uint8 else _to_bytes(values)

    @property
    def moves(self) -> bool:
        """Whether images are sampled anew, somewhere else."""
        return any((self.rotation, self.shift, self.zoom, self.shear, self.elastic))

    def _move(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if not self.moves:
            return images
        batch, height, width = images.shape
        by_row, by_col, offset = self._draw_affine(batch, height, width, rng)
        rows, cols = _centred(height), _centred(width)
        where = (by_row * rows + offset)[:, :, None] + (by_col * cols)[:, None, :]
        if self.elastic:
            moves = _smooth_fields(2 * batch, height, width, self.elastic_sigma, rng)
            where += np.float32(self.elastic) * moves
        return sample_bilinear(images, where.reshape(2, batch, -1), self.fill)

    def _draw_affine(
        self, batch: int, height: int, width: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """For each image the map from a place in the variant to one in the original: what it
        takes of row and column, counted from the centre, and what it adds; each float32
        (2 * B, 1), first for the rows in all originals, then for the columns."""
        angle, lean = (
            np.radians(_uniform(rng, limit, batch)) for limit in (self.rotation, self.shear)
        )
        scale = 1 + _uniform(rng, self.zoom, (batch, 2))
        shift = _uniform(rng, self.shift, (batch, 2)) * (height, width)
        cos, sin = np.cos(angle), np.sin(angle)
        turn = np.stack([cos, -sin, sin, cos], axis=1).reshape(batch, 2, 2)
        forward = turn @ _unit_shear(np.tan(lean)) * scale[:, None]
        backward = np.linalg.inv(forward)
        centre = np.array([height - 1, width - 1]) / 2
        offset = centre - (backward @ shift[:, :, None])[..., 0]
        parts = (backward[:, :, 0], backward[:, :, 1], offset)
        by_row, by_col, added = (part.T.reshape(-1, 1).astype(np.float32) for part in parts)
        return by_row, by_col, added

    def _change_values(self, values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        batch, height, width = values.shape
        each = (batch, 1, 1)
        if self.blur:
            values = _blur(values, rng.uniform(0, self.blur, (batch,)))
        if self.contrast:
            mean = values.mean(axis=(1, 2), keepdims=True, dtype=np.float32)
            values = mean + (values - mean) * (1 + _uniform(rng, self.contrast, each))
        if self.brightness:
            values = values + 255 * _uniform(rng, self.brightness, each)
        for _ in range(NUM_BARS if self.bars else 0):
            covered = _draw_bars(batch, height, width, self.bars, rng)
            values = np.where(covered, rng.integers(0, 256, each, np.uint8), values)
        if self.noise:
            strength = np.float32(255) * rng.uniform(0, self.noise, each).astype(np.float32)
            values = values + strength * rng.standard_normal(values.shape, np.float32)
        if self.erase:
            covered = _draw_rectangles(batch, height, width, self.erase, rng)
            values = np.where(covered, rng.integers(0, 256, each, np.uint8), values)
        return values


LIGHT = Augmentation(rotation=10, shift=0.05, zoom=0.1, shear=6, elastic=0.4)
"""Digits stay well written: an affine map as MNIST's writers differ, and a little elastic."""
STRONG = Augmentation(
    rotation=15, shift=0.1, zoom=0.15, shear=10, elastic=0.7, erase=0.25, contrast=0.2, noise=0.05
)
"""For few images: the same further, parts hidden, and what a camera adds."""
PRESETS: dict[str, Augmentation] = {"none": Augmentation(), "light": LIGHT, "strong": STRONG}


def choose_augmentation(config: TrainConfig) -> Augmentation | None:
    """The preset of `config` with the ranges that it sets itself; None when nothing changes."""
    preset = PRESETS[config.augment]
    own = {f.name: getattr(config, f.name) for f in fields(preset)}
    chosen = replace(preset, **{name: value for name, value in own.items() if value is not None})
    still = Augmentation(elastic_sigma=chosen.elastic_sigma, fill=chosen.fill)
    return None if chosen == still else chosen


def sample_bilinear(images: np.ndarray, where: np.ndarray, fill: Fill) -> np.ndarray:
    """The values at `where`, float32 (B, H, W), from the four nearest pixels.

    images: uint8 (B, H, W); where: float32 (2, B, H*W), row and column for each place of the
    result. Outside the image there is `fill`.
    """
    batch, height, width = images.shape
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)), "edge" if fill == "nearest" else "constant")
    values, stride = padded.ravel().astype(np.float32), width + 2
    index = np.arange(batch, dtype=np.int32)[:, None] * ((height + 2) * stride)
    shares = []
    for places, side, step in zip(where, (height, width), (stride, 1), strict=True):
        highest = np.nextafter(np.float32(side + 1), np.float32(0))  # so that index + 1 is inside
        places = np.clip(places + np.float32(1), 0, highest)
        corner = places.astype(np.int32)
        shares.append(places - corner.astype(np.float32))
        index = index + corner * np.int32(step)
    index, (down, right) = index.astype(np.intp), shares
    above = _between(values, index, right)
    above += down * (_between(values[stride:], index, right) - above)
    return above.reshape(images.shape)


def _between(values: np.ndarray, index: np.ndarray, share: np.ndarray) -> np.ndarray:
    """values[index], moved by `share` towards values[index + 1]."""
    left = values.take(index)
    change = values[1:].take(index)
    change -= left
    change *= share
    left += change
    return left


def _uniform(rng: np.random.Generator, limit: float, shape: int | tuple[int, ...]) -> np.ndarray:
    """float32 from -limit to limit; nothing is drawn for 0."""
    if not limit:
        return np.zeros(shape, np.float32)
    return rng.uniform(-limit, limit, shape).astype(np.float32)


def _flip(images: np.ndarray, share: float, rng: np.random.Generator, axis: int) -> np.ndarray:
    if not share:
        return images
    chosen = rng.random(len(images)) < share
    return np.where(chosen[:, None, None], np.flip(images, axis), images)


def _unit_shear(lean: np.ndarray) -> np.ndarray:
    """(B,) -> (B, 2, 2): (row, column) -> (row, column + lean * row)."""
    matrices = np.tile(np.eye(2), (len(lean), 1, 1))
    matrices[:, 1, 0] = lean
    return matrices


@functools.cache
def _centred(side: int) -> np.ndarray:
    """Where each pixel of a side is, from the side's middle: float32 (side,)."""
    return (np.arange(side) - (side - 1) / 2).astype(np.float32)


def _smooth_fields(
    count: int, height: int, width: int, sigma: float, rng: np.random.Generator
) -> np.ndarray:
    """Smooth random fields, float32 (count, H, W), of mean 0 and variance 1 (Simard et al. 2003).

    Even noise, smoothed by a Gaussian of `sigma` pixels: two values d pixels apart are
    correlated by exp(-d^2 / (4 sigma^2)), within 0.03, since the noise stands not in every pixel
    but 1.5 sigma apart, which is cheaper.
    """
    down, across = _smoothing(height, sigma), _smoothing(width, sigma)
    shape = (-(-count // GROUP), across.shape[1], GROUP, down.shape[1])
    noise = rng.random(shape, np.float32)
    noise -= np.float32(0.5)
    noise *= np.float32(12**0.5)  # variance 1
    # Both products have their small factor on the left: the other way round they take five times
    # as long.
    values = (across @ noise.reshape(*shape[:2], -1)).reshape(-1, width, *shape[2:])
    values = down @ values.transpose(0, 3, 2, 1).reshape(len(noise), down.shape[1], -1)
    values = values.reshape(-1, height, GROUP, width).swapaxes(1, 2)
    return values.reshape(-1, height, width)[:count]


@functools.cache
def _smoothing(side: int, sigma: float) -> np.ndarray:
    """Weights float32 (side, points) of the noise for each pixel, each row of length 1."""
    points = np.arange(-2 * sigma, side + 2.5 * sigma, 1.5 * sigma)
    weights = np.exp(-(((np.arange(side)[:, None] - points) / sigma) ** 2) / 2)
    return (weights / np.linalg.norm(weights, axis=1, keepdims=True)).astype(np.float32)


def _blur(values: np.ndarray, sigmas: np.ndarray) -> np.ndarray:
    """Each image of (B, H, W) blurred by its own Gaussian; weights sum to 1 at borders too."""
    for side in values.shape[1:]:  # along rows, then along columns: twice the same, transposed
        distance = np.subtract.outer(np.arange(side), np.arange(side))
        narrow = np.maximum(sigmas, 1e-3)[:, None, None]
        weights = np.exp(-((distance / narrow) ** 2) / 2)
        weights /= weights.sum(axis=2, keepdims=True)
        values = (weights.astype(np.float32) @ values.astype(np.float32)).swapaxes(1, 2)
    return values


def _draw_rectangles(
    batch: int, height: int, width: int, share: float, rng: np.random.Generator
) -> np.ndarray:
    """What random erasing covers (Zhong et al. 2020), bool (B, H, W): in a `share` of the images
    a rectangle of 2 to 20 % of the area, its sides within 0.3 to 3.3 of each other."""
    chosen = rng.random(batch) < share
    area = rng.uniform(0.02, 0.2, batch) * height * width
    aspect = np.exp(rng.uniform(np.log(0.3), np.log(3.3), batch))
    inside = chosen[:, None, None]
    for axis, (side, length) in enumerate(
        ((height, np.sqrt(area * aspect)), (width, np.sqrt(area / aspect)))
    ):
        length = np.minimum(length, side)
        first = rng.uniform(0, side - length + 1e-9)[:, None]
        pixels = np.arange(side) + 0.5
        span = (pixels >= first) & (pixels < first + length[:, None])
        inside = inside & (span[:, :, None] if axis == 0 else span[:, None, :])
    return inside


def _draw_bars(
    batch: int, height: int, width: int, share: float, rng: np.random.Generator
) -> np.ndarray:
    """What one bar covers, bool (B, H, W): in a `share` of the images a straight band of any
    direction through a random place, 1 to 8 pixels wide and mostly narrow."""
    chosen = rng.random(batch) < share
    angle = rng.uniform(0, np.pi, batch)
    row, col = rng.uniform(0, height, batch), rng.uniform(0, width, batch)
    half = 0.5 * np.exp(rng.uniform(0, np.log(8), batch))
    each = (slice(None), None, None)
    across = (np.arange(height)[:, None] + 0.5 - row[each]) * np.cos(angle)[each]
    across = across + (np.arange(width) + 0.5 - col[each]) * np.sin(angle)[each]
    return chosen[each] & (np.abs(across) < half[each])


def _to_bytes(values: np.ndarray) -> np.ndarray:
    """Rounded and clipped to 0..255, uint8."""
    return np.clip(values + np.float32(0.5), 0, 255).astype(np.uint8)
