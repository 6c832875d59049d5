"""Settings of the augmentation, and its presets. What they do to images is in `transforms`.

Lengths in pixels are those of a picture with a side of 28, and grow with the side: a preset does
the same to larger pictures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from lenet_paddle.settings import BELOW_1, SHARE, Settings, between

Fill = Literal["background", "nearest"]


@dataclass(frozen=True)
class AugmentConfig(Settings):
    """Random changes of the training images. Each image draws its own amount from each range."""

    augment: Literal["none", "light", "strong"] = "none"
    """The preset of ranges; each flag below overrides one of them."""
    rotation: Annotated[float | None, between(0, 180, "degrees")] = None
    """Degrees, to either side (light 10, strong 15)."""
    shift: Annotated[float | None, SHARE] = None
    """Share of the side, along each axis (light 0.05, strong 0.1)."""
    zoom: Annotated[float | None, BELOW_1] = None
    """z: each axis is scaled by 1 - z to 1 + z (light 0.1, strong 0.15)."""
    shear: Annotated[float | None, between(0, 60, "degrees")] = None
    """Degrees by which upright lines lean, to either side (light 6, strong 10)."""
    elastic: Annotated[float | None, between(0, 10)] = None
    """Standard deviation of elastic displacements, in pixels of a picture with a side of 28 (light
    0.4, strong 0.7)."""
    elastic_sigma: Annotated[float | None, between(1, 20)] = None
    """Standard deviation of the Gaussian that smooths them, in the same pixels (presets 2)."""
    horizontal_flip: Annotated[float | None, SHARE] = None
    """Probability of exchanging left and right (presets 0)."""
    vertical_flip: Annotated[float | None, SHARE] = None
    """Probability of exchanging top and bottom (presets 0)."""
    thin: Annotated[float | None, between(0, 4)] = None
    """Largest width that strokes lose, in pixels of a picture with a side of 28 (presets 0). Each
    image draws one change between thin and thick."""
    thick: Annotated[float | None, between(0, 8)] = None
    """Largest width that strokes gain, in the same pixels (presets 0)."""
    outline: Annotated[float | None, SHARE] = None
    """Probability of leaving only the edges of strokes (presets 0)."""
    breaks: Annotated[float | None, SHARE] = None
    """Probability of each of two gaps of 1 to 3 of these pixels in the strokes (presets 0)."""
    downscale: Annotated[float | None, BELOW_1] = None
    """d: the picture is scaled to a side of 1 - d to 1 times its own, and back (presets 0)."""
    specks: Annotated[float | None, SHARE] = None
    """Probability of each of three round blobs of one random grey, 1 to 5 of these pixels wide
    (presets 0)."""
    erase: Annotated[float | None, SHARE] = None
    """Probability of covering a rectangle with one random grey (strong 0.25)."""
    bars: Annotated[float | None, SHARE] = None
    """Probability of each of three straight bars of one random grey, up to 8 of these pixels wide
    (presets 0)."""
    brightness: Annotated[float | None, SHARE] = None
    """Share of 255 that is added or subtracted (presets 0)."""
    contrast: Annotated[float | None, SHARE] = None
    """c: distances from the image's mean, of each channel, are scaled by 1 - c to 1 + c (strong
    0.2)."""
    noise: Annotated[float | None, SHARE] = None
    """Largest standard deviation of Gaussian noise, as a share of 255 (strong 0.05)."""
    blur: Annotated[float | None, between(0, 10)] = None
    """Largest standard deviation of a Gaussian blur, in pixels of a picture with a side of 28
    (presets 0)."""
    hue: Annotated[float | None, between(0, 0.5)] = None
    """Share of a turn of the colour circle, to either side; for colour pictures (presets 0)."""
    saturation: Annotated[float | None, SHARE] = None
    """s: distances from each pixel's grey are scaled by 1 - s to 1 + s; for colour pictures (strong
    0.2)."""
    grayscale: Annotated[float | None, SHARE] = None
    """Probability of losing all colour; for colour pictures (presets 0)."""
    chance: Annotated[float | None, SHARE] = None
    """Probability with which an image draws from a range, such as rotation or noise, in place of
    keeping what the range changes (presets 1)."""
    fill: Fill | None = None
    """Value of pixels from outside the image: background (0, the presets') or nearest."""


PRESETS: dict[str, dict[str, Any]] = {
    "none": {"elastic_sigma": 2.0, "chance": 1.0, "fill": "background"},  # ranges not named are 0
    # An affine map as MNIST's writers differ, and a little elastic distortion.
    "light": dict(rotation=10, shift=0.05, zoom=0.1, shear=6, elastic=0.4),
    # For few images: larger ranges, hidden parts, and a camera's contrast and noise.
    "strong": dict(
        **dict(rotation=15, shift=0.1, zoom=0.15, shear=10, elastic=0.7),
        **dict(erase=0.25, contrast=0.2, noise=0.05, saturation=0.2),
    ),
}
"""Ranges by preset; light and strong also have those of none. Grey pictures have no saturation."""
COLOUR = ("hue", "saturation", "grayscale")
"""The ranges that only colour pictures have."""
