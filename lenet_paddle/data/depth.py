"""Pictures of more than 8 bits a pixel: which value is white, and how they become 8 bits."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

BITS = (8, 10, 12, 16, 24, 32)  # depths of scanners and cameras
_BLOCK = 1 << 20  # pixels scaled at once
_FULL = 65535.0  # white of 16 bits
_BITS_PER_SAMPLE, _MAX_VALUE, _MAX_VALUE_OF_TYPE = 258, 281, 341  # tags of TIFF


class Depth:
    """White of the deep pictures of one set, for those whose files do not state it.

    Reading a picture with it notes the picture's largest value. After `settle` all pictures are
    read with the white of the largest value noted, before it each with that of its own.
    """

    def __init__(self) -> None:
        self.count = 0
        self._largest: dict[bool, float] = {}
        self._is_settled = False

    def add(self, other: Depth) -> None:
        """Note what `other` has noted of some pictures of the same set."""
        self.count += other.count
        for is_float, largest in other._largest.items():
            self._largest[is_float] = max(largest, self._largest.get(is_float, 0.0))

    def settle(self) -> None:
        """Use the largest values noted so far from now on."""
        self._is_settled = True

    def white(self, largest: float, is_float: bool) -> float:
        """Return white for a picture with this largest value."""
        if not self._is_settled:
            self.count += 1
            self._largest[is_float] = max(largest, self._largest.get(is_float, 0.0))
            return round_up(largest, is_float)
        return round_up(self._largest.get(is_float, largest), is_float)

    def __str__(self) -> str:
        ranges = (
            f"largest value {largest:g}, read as 0 to {round_up(largest, is_float):g}"
            for is_float, largest in sorted(self._largest.items())
        )
        return "; ".join(ranges)


def round_up(largest: float, is_float: bool) -> float:
    """Return white for values up to `largest`: that of 8, 10, 12, 16 ... bits; 1 for floats."""
    if is_float and largest <= 1:
        return 1.0
    return next((2.0**bits - 1 for bits in BITS if largest <= 2**bits - 1), largest)


def stated_white(picture: Image.Image) -> float | None:
    """Return the value of white that an opened file states, None if it does not.

    TIFF's MaxSampleValue and SMaxSampleValue may be a picture's own largest value, and are rounded
    up. 16 and 32 bits per sample are not taken for a statement: they often hold 10 or 12.
    """
    if picture.format == "PPM" and picture.mode == "I":
        return _FULL  # Pillow scales every PGM file of more than 8 bits
    if picture.format != "TIFF":
        return None
    tags = picture.tag_v2  # type: ignore[attr-defined]
    for tag in (_MAX_VALUE_OF_TYPE, _MAX_VALUE):
        value = _first(tags.get(tag))
        if value is not None and 0 < value < math.inf:
            return round_up(value, is_float=picture.mode == "F")
    bits = _first(tags.get(_BITS_PER_SAMPLE))
    return 2.0**bits - 1 if bits is not None and 8 < bits < 16 else None


def _first(value: object) -> float | None:
    value = value[0] if isinstance(value, tuple) and value else value
    return float(value) if isinstance(value, (int, float)) else None


def is_deep(picture: Image.Image) -> bool:
    """Return whether a picture has one channel of more than 8 bits."""
    return picture.mode in ("I", "F") or picture.mode.startswith("I;16")


def to_eight_bits(picture: Image.Image, stated: float | None, depth: Depth | None) -> np.ndarray:
    """Bring a deep picture to uint8 (H, W): white becomes 255; negative and NaN become 0.

    White is the value that the file states (`stated`) unless a pixel is above it, else `depth`'s.
    """
    values, is_float = np.asarray(picture), picture.mode == "F"
    known = np.isfinite(values) if is_float else True
    largest = float(values.max(initial=0, where=known))
    white = stated
    if white is None or white < largest:
        white = (depth or Depth()).white(largest, is_float)
    result = np.empty(values.shape, np.uint8)
    step = max(1, _BLOCK // values.shape[1])
    for top in range(0, len(values), step):  # so that temporary copies stay small
        result[top : top + step] = _scale(values[top : top + step], white)
    return result


def _scale(values: np.ndarray, white: float) -> np.ndarray:
    if values.dtype.kind == "u":  # I;16; in a tenth of the time of float64
        if white == _FULL:
            return values // 257
        return (values * np.uint32(255) // np.uint32(white)).clip(0, 255)
    scaled = np.where(np.isnan(values), 0, values).astype(np.float64) * (255 / white)
    return np.clip(scaled if white in (255, _FULL) else np.rint(scaled), 0, 255)
