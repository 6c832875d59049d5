"""Random variants of training images, a whole batch at once, in NumPy.

An `Augmentation` maps uint8 (B, H, W) or (B, H, W, 3) and a generator to the same. `BatchLoader`
makes the generator from (seed, epoch, step), so an epoch can be repeated exactly. Inside, images
are planes, (B, C, H, W) with C of 1 or 3.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from lenet_paddle.data.augment import COLOUR, PRESETS, AugmentConfig, Fill
from lenet_paddle.data.colours import turn_hues, weigh_grey
from lenet_paddle.data.form import SIZE
from lenet_paddle.data.strokes import change_width, draw_breaks, draw_specks, outline, scale_down
from lenet_paddle.errors import InputError

# Fields smoothed by one matrix product. With more, NumPy's BLAS would use a second thread, and wait
# for it longer than the product takes whenever that core is busy.
GROUP = 16
NUM_BARS = NUM_SPECKS = 3
NUM_BREAKS = 2


@dataclass(frozen=True)
class Augmentation(AugmentConfig):
    """The ranges of `AugmentConfig` with the preset filled in, applied to batches.

    A range of 0 changes nothing and draws nothing.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        preset: dict[str, Any] = {**PRESETS["none"], **PRESETS[self.augment]}
        for name in (field.name for field in fields(self)):
            if getattr(self, name) is None:
                object.__setattr__(self, name, preset.get(name, 0.0))

    def __call__(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return variants of `images`, uint8 (B, H, W) or (B, H, W, 3); the input is unchanged.

        Flips come first, then the strokes' width, outlines and breaks, affine map and elastic
        distortion in one sampling, downscaling, blur, contrast, brightness, bars, specks, noise and
        erasing, then the changes of colour; values are rounded once, at the end. All channels of an
        image change alike, except that each has noise of its own.
        """
        is_grey = images.ndim == 3
        planes = images[:, None] if is_grey else images.transpose(0, 3, 1, 2).copy()
        planes = _flip(planes, self.horizontal_flip, rng, axis=3)
        planes = _flip(planes, self.vertical_flip, rng, axis=2)
        values = self._move(self._change_strokes(planes, rng), rng)
        values = self._change_values(values, rng)
        if not is_grey:
            values = self._change_colours(values, rng)
        planes = values if values.dtype == np.uint8 else _to_bytes(values)
        return planes[:, 0] if is_grey else planes.transpose(0, 2, 3, 1)

    @property
    def moves(self) -> bool:
        """Whether pixels change their places, other than by flips."""
        return any((self.rotation, self.shift, self.zoom, self.shear, self.elastic))

    @property
    def changes(self) -> bool:
        """Whether any image can change."""
        modifiers = ("augment", "elastic_sigma", "chance", "fill")  # say how, not whether
        return any(getattr(self, f.name) for f in fields(self) if f.name not in modifiers)

    def _are_drawn(
        self, rng: np.random.Generator, batch: int, more_axes: int = 0
    ) -> np.ndarray | np.float32:
        """Return 1 for images that draw from a range and 0 for others, float32 (B, 1, ...)."""
        if self.chance == 1:
            return np.float32(1)
        drawn = rng.random((batch, *[1] * more_axes)) < (self.chance or 0.0)
        return drawn.astype(np.float32)

    def _uniform(
        self, rng: np.random.Generator, limit: float | None, shape: tuple[int, ...]
    ) -> np.ndarray:
        """Draw float32 values from -limit to limit, (B, ...); draw nothing for 0."""
        if not limit:
            return np.zeros(shape, np.float32)
        values = rng.uniform(-limit, limit, shape).astype(np.float32)
        return values * self._are_drawn(rng, shape[0], len(shape) - 1)

    def _change_strokes(self, planes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        batch, _, height, width = planes.shape
        pixels = _pixels(height, width)
        if self.thin or self.thick:
            change = rng.uniform(-(self.thin or 0.0), self.thick or 0.0, (batch,)) * pixels
            planes = change_width(planes, change * self._are_drawn(rng, batch))
        if self.outline:
            planes = outline(planes, rng.random((batch,)) < self.outline)
        for _ in range(NUM_BREAKS if self.breaks else 0):
            covered = draw_breaks(planes.max(axis=1), self.breaks or 0.0, pixels, rng)
            planes = np.where(covered[:, None], planes.dtype.type(0), planes)
        return planes

    def _move(self, planes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if not self.moves:
            return planes
        batch, _, height, width = planes.shape
        by_row, by_col, offset = self._draw_affine(batch, height, width, rng)
        rows, cols = _centred(height), _centred(width)
        where = (by_row * rows + offset)[:, :, None] + (by_col * cols)[:, None, :]
        if self.elastic:
            pixels = _pixels(height, width)
            sigma = (self.elastic_sigma or 0.0) * pixels
            fields = smooth_fields(2 * batch, height, width, sigma, rng).reshape(2, batch, -1)
            fields *= self._are_drawn(rng, batch, 1)
            where += np.float32(self.elastic * pixels) * fields.reshape(where.shape)
        return sample_bilinear(planes, where.reshape(2, batch, -1), self.fill)

    def _draw_affine(
        self, batch: int, height: int, width: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Draw for each image the affine map from places in the variant to places in the original.

        Returns the factors of row and column, counted from the centre, and the offset; each
        float32 (2 * B, 1), first for the rows in all originals, then for the columns.
        """
        angle, lean = (
            np.radians(self._uniform(rng, limit, (batch,))) for limit in (self.rotation, self.shear)
        )
        scale = 1 + self._uniform(rng, self.zoom, (batch, 2))
        shift = self._uniform(rng, self.shift, (batch, 2)) * (height, width)
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
        batch, _, height, width = values.shape
        each, pixels = (batch, 1, 1, 1), _pixels(height, width)
        if self.downscale:
            lost = rng.uniform(0, self.downscale, (batch,)) * self._are_drawn(rng, batch)
            values = scale_down(values, 1 - lost)
        if self.blur:
            sigmas = rng.uniform(0, self.blur, (batch,)) * pixels
            values = _blur(values, sigmas * self._are_drawn(rng, batch))
        if self.contrast:
            mean = values.mean(axis=(2, 3), keepdims=True, dtype=np.float32)
            values = mean + (values - mean) * (1 + self._uniform(rng, self.contrast, each))
        if self.brightness:
            values = values + 255 * self._uniform(rng, self.brightness, each)
        for _ in range(NUM_BARS if self.bars else 0):
            covered = _draw_bars(batch, height, width, self.bars or 0.0, rng)[:, None]
            values = np.where(covered, rng.integers(0, 256, each, np.uint8), values)
        for _ in range(NUM_SPECKS if self.specks else 0):
            covered = draw_specks((batch, height, width), self.specks or 0.0, pixels, rng)[:, None]
            values = np.where(covered, rng.integers(0, 256, each, np.uint8), values)
        if self.noise:
            strength = np.float32(255) * rng.uniform(0, self.noise, each).astype(np.float32)
            strength = strength * self._are_drawn(rng, batch, 3)
            values = values + strength * rng.standard_normal(values.shape, np.float32)
        if self.erase:
            covered = _draw_rectangles(batch, height, width, self.erase, rng)[:, None]
            values = np.where(covered, rng.integers(0, 256, each, np.uint8), values)
        return values

    def _change_colours(self, planes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        each = (len(planes), 1, 1, 1)
        if self.saturation:
            grey = weigh_grey(planes)
            planes = grey + (planes - grey) * (1 + self._uniform(rng, self.saturation, each))
        if self.hue:
            planes = turn_hues(planes.astype(np.float32), self._uniform(rng, self.hue, each[:3]))
        if self.grayscale:
            planes = np.where(rng.random(each) < self.grayscale, weigh_grey(planes), planes)
        return planes


def choose_augmentation(config: AugmentConfig, channels: int) -> Augmentation | None:
    """Return the augmentation that `config` describes; None when it changes nothing.

    Raises `InputError` for changes of colour where pictures have one channel.
    """
    own = {field.name: getattr(config, field.name) for field in fields(AugmentConfig)}
    for name in COLOUR:
        if own[name] and channels == 1:
            raise InputError(
                f"{name} is {own[name]}, but the pictures are grey; expected 0: leave --{name} out"
            )
    chosen = Augmentation(**own)
    return chosen if chosen.changes else None


def sample_bilinear(planes: np.ndarray, where: np.ndarray, fill: Fill | None) -> np.ndarray:
    """Interpolate the values at `where`, float32 (B, C, H, W), from the four nearest pixels.

    planes: uint8 or float32 (B, C, H, W); where: float32 (2, B, H*W), row and column for each place
    of the result, the same ones in all channels. Outside the image `fill` decides.
    """
    batch, channels, height, width = planes.shape
    border = ((0, 0), (0, 0), (1, 1), (1, 1))
    padded = np.pad(planes, border, "edge" if fill == "nearest" else "constant")
    values, stride = padded.ravel().astype(np.float32), width + 2
    plane = (height + 2) * stride
    number = np.arange(batch, dtype=np.int32 if values.size < 2**31 else np.int64)
    index = number[:, None] * (channels * plane)
    shares = []
    for places, side, step in zip(where, (height, width), (stride, 1), strict=True):
        highest = np.nextafter(np.float32(side + 1), np.float32(0))  # so that index + 1 is inside
        places = np.clip(places + np.float32(1), 0, highest)
        corner = places.astype(np.int32)
        shares.append(places - corner.astype(np.float32))
        index = index + corner * np.int32(step)
    index, (down, right) = index.astype(np.intp), shares
    sampled = np.empty((batch, channels, height * width), np.float32)
    for channel in range(channels):
        own = values[channel * plane :]
        above = _between(own, index, right)
        above += down * (_between(own[stride:], index, right) - above)
        sampled[:, channel] = above
    return sampled.reshape(planes.shape)


def _between(values: np.ndarray, index: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Interpolate by `share` from values[index] to values[index + 1]."""
    left = values.take(index)
    change = values[1:].take(index)
    change -= left
    change *= share
    left += change
    return left


def _pixels(height: int, width: int) -> float:
    """Return the pixels for one in a picture with a side of 28."""
    return max(height, width) / SIZE


def _flip(
    planes: np.ndarray, share: float | None, rng: np.random.Generator, axis: int
) -> np.ndarray:
    if not share:
        return planes
    chosen = rng.random((len(planes), 1, 1, 1)) < share
    return np.where(chosen, np.flip(planes, axis), planes)


def _unit_shear(lean: np.ndarray) -> np.ndarray:
    """(B,) -> (B, 2, 2): (row, column) -> (row, column + lean * row)."""
    matrices = np.tile(np.eye(2), (len(lean), 1, 1))
    matrices[:, 1, 0] = lean
    return matrices


@functools.cache
def _centred(side: int) -> np.ndarray:
    """Return the positions of a side's pixels relative to its middle: float32 (side,)."""
    return (np.arange(side) - (side - 1) / 2).astype(np.float32)


def smooth_fields(
    count: int, height: int, width: int, sigma: float, rng: np.random.Generator
) -> np.ndarray:
    """Draw smooth fields, float32 (count, H, W), of mean 0 and variance 1 (Simard et al. 2003).

    They are uniform noise smoothed by a Gaussian of `sigma` pixels: values d pixels apart are
    correlated by exp(-d^2 / (4 sigma^2)), within 0.03, since the noise is drawn not for every
    pixel but every 1.5 sigma, which is cheaper.
    """
    down, across = _smoothing(height, sigma), _smoothing(width, sigma)
    shape = (-(-count // GROUP), across.shape[1], GROUP, down.shape[1])
    noise = rng.random(shape, np.float32)
    noise -= np.float32(0.5)
    noise *= np.float32(12**0.5)  # variance 1
    # The small factor is on the left of both products; on the right it takes five times as long.
    values = (across @ noise.reshape(*shape[:2], -1)).reshape(-1, width, *shape[2:])
    values = down @ values.transpose(0, 3, 2, 1).reshape(len(noise), down.shape[1], -1)
    values = values.reshape(-1, height, GROUP, width).swapaxes(1, 2)
    return values.reshape(-1, height, width)[:count]


@functools.cache
def _smoothing(side: int, sigma: float) -> np.ndarray:
    """Return each pixel's weights of the noise, float32 (side, points), in rows of length 1."""
    points = np.arange(-2 * sigma, side + 2.5 * sigma, 1.5 * sigma)
    weights = np.exp(-(((np.arange(side)[:, None] - points) / sigma) ** 2) / 2)
    return (weights / np.linalg.norm(weights, axis=1, keepdims=True)).astype(np.float32)


def _blur(values: np.ndarray, sigmas: np.ndarray) -> np.ndarray:
    """Blur each image of (B, C, H, W) by its own Gaussian; weights sum to 1 at the borders too."""
    for side in values.shape[2:]:  # along rows, then transposed along columns
        distance = np.subtract.outer(np.arange(side), np.arange(side))
        narrow = np.maximum(sigmas, 1e-3)[:, None, None, None]
        weights = np.exp(-((distance / narrow) ** 2) / 2)
        weights /= weights.sum(axis=3, keepdims=True)
        values = (weights.astype(np.float32) @ values.astype(np.float32)).swapaxes(2, 3)
    return values


def _draw_rectangles(
    batch: int, height: int, width: int, share: float, rng: np.random.Generator
) -> np.ndarray:
    """Draw masks of random erasing (Zhong et al. 2020), bool (B, H, W): in a `share` of the images
    a rectangle of 2 to 20 % of the area with an aspect ratio of 0.3 to 3.3."""
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
    """Draw masks of one bar, bool (B, H, W): in a `share` of the images a straight band of any
    direction through a random place, 1 to 8 pixels of a side of 28 wide and mostly narrow."""
    chosen = rng.random(batch) < share
    angle = rng.uniform(0, np.pi, batch)
    row, col = rng.uniform(0, height, batch), rng.uniform(0, width, batch)
    half = 0.5 * np.exp(rng.uniform(0, np.log(8), batch)) * _pixels(height, width)
    each = (slice(None), None, None)
    across = (np.arange(height)[:, None] + 0.5 - row[each]) * np.cos(angle)[each]
    across = across + (np.arange(width) + 0.5 - col[each]) * np.sin(angle)[each]
    return chosen[each] & (np.abs(across) < half[each])


def _to_bytes(values: np.ndarray) -> np.ndarray:
    """Round and clip to uint8."""
    return np.clip(values + np.float32(0.5), 0, 255).astype(np.uint8)
