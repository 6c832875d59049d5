"""Hue and grey of colour images in planes, (B, 3, H, W)."""

from __future__ import annotations

import numpy as np


def weigh_grey(planes: np.ndarray) -> np.ndarray:
    """Return the grey of RGB planes, (B, 3, H, W) -> float32 (B, 1, H, W), with the weights of
    Pillow's mode L."""
    red, green, blue = np.moveaxis(planes, 1, 0)
    grey = np.float32(0.299) * red + np.float32(0.587) * green + np.float32(0.114) * blue
    return grey[:, None]


def turn_hues(planes: np.ndarray, turns: np.ndarray) -> np.ndarray:
    """Turn the hues of RGB planes, float32 (B, 3, H, W), by shares of a turn, float32 (B, 1, 1).

    As in HSV, a pixel's largest and smallest value stay.
    """
    red, green, blue = np.moveaxis(planes, 1, 0)
    top, chroma = planes.max(axis=1), np.ptp(planes, axis=1)
    parts = np.where(chroma > 0, chroma, np.float32(1))
    hue = np.where(top == green, 2 + (blue - red) / parts, 4 + (red - green) / parts)
    hue = np.where(top == red, (green - blue) / parts, hue) + 6 * turns  # in sixths of a turn
    turned = np.empty_like(planes)
    for channel, offset in enumerate((5, 3, 1)):
        place = (hue + offset) / 6
        place = 6 * (place - np.floor(place))
        turned[:, channel] = top - chroma * np.clip(np.minimum(place, 4 - place), 0, 1)
    return turned
