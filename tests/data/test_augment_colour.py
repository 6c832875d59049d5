"""Augmentation of colour pictures of any size: grey in three channels, HSV, settings refused."""

from __future__ import annotations

import colorsys
from typing import Any

import numpy as np
import pytest
from refusal_help import refusal
from skimage.color import hsv2rgb, rgb2hsv
from test_augment import LIGHT, RANGES, STRONG, Fixed, make

from lenet_paddle.config import TrainConfig
from lenet_paddle.data.colours import turn_hues
from lenet_paddle.data.form import to_grey
from lenet_paddle.data.transforms import Augmentation, choose_augmentation

# Noise is drawn for each channel, and all draws after it differ then.
ALIKE = {name: value for name, value in RANGES.items() if name != "noise"}
STILL = {"noise": 0, "saturation": 0}


@pytest.fixture
def coloured(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (7, 30, 30, 3), np.uint8)


@pytest.mark.parametrize(
    "augment",
    [
        *(Augmentation(**{name: value}) for name, value in ALIKE.items()),
        LIGHT,
        Augmentation(augment="strong", **STILL),  # type: ignore[arg-type]
        Augmentation(**ALIKE),  # type: ignore[arg-type]
    ],
    ids=[*ALIKE, "light", "strong", "all"],
)
@pytest.mark.parametrize("side", [28, 65])
def test_a_grey_image_in_three_channels_becomes_what_the_grey_image_becomes(
    augment: Augmentation, side: int
) -> None:
    grey = np.random.default_rng(1).integers(0, 256, (9, side, side), np.uint8)
    expected = make(augment, grey)
    variant = make(augment, grey[..., None].repeat(3, axis=3))
    assert variant.dtype == np.uint8
    np.testing.assert_array_equal(variant, expected[..., None].repeat(3, axis=3))


@pytest.mark.parametrize("preset", ["light", "strong"])
def test_each_channel_moves_as_a_grey_image_does(preset: Any, coloured: np.ndarray) -> None:
    zero = dict.fromkeys(("erase", "contrast"), 0)
    augment = Augmentation(augment=preset, **{**STILL, **zero})  # type: ignore[arg-type]
    variant = make(augment, coloured)
    for channel in range(3):
        np.testing.assert_array_equal(
            variant[..., channel], make(augment, coloured[..., channel].copy())
        )


def test_the_channels_have_noise_of_their_own() -> None:
    images = np.full((20, 28, 28, 3), 128, np.uint8)
    noise = make(Augmentation(noise=0.2), images).astype(float).reshape(-1, 3) - 128
    assert abs(np.corrcoef(noise.T) - np.eye(3)).max() < 0.05


def test_erased_rectangles_and_bars_are_grey() -> None:
    images = np.full((60, 28, 28, 3), (200, 30, 90), np.uint8)
    for augment in (Augmentation(erase=1), Augmentation(bars=1)):
        variant = make(augment, images)
        covered = (variant != images).any(axis=3)
        assert covered.any(axis=(1, 2)).mean() > 0.9
        assert (np.ptp(variant[covered], axis=1) == 0).all()


def by_colorsys(image: np.ndarray, turn: float) -> np.ndarray:
    """Turn the hue of each pixel, uint8 (H, W, 3), by Python's own conversion to HSV."""
    result = np.empty(image.shape)
    for place in np.ndindex(image.shape[:2]):
        hue, saturation, value = colorsys.rgb_to_hsv(*(image[place] / 255.0))
        result[place] = colorsys.hsv_to_rgb((hue + turn) % 1, saturation, value)
    return 255 * result


@pytest.mark.parametrize("turn", [0.0, 0.1, 1 / 3, 0.5, -0.25])
def test_hues_turn_as_in_hsv(rng: np.random.Generator, turn: float) -> None:
    image = rng.integers(0, 256, (12, 9, 3), np.uint8)
    image[:3] = (image[:3] // 128) * 255  # pure colours, grey, black and white
    planes = image.astype(np.float32).transpose(2, 0, 1)[None]
    turned = turn_hues(planes, np.full((1, 1, 1), turn, np.float32))[0].transpose(1, 2, 0)
    np.testing.assert_allclose(turned, by_colorsys(image, turn), atol=0.01)
    hsv = rgb2hsv(image)
    hsv[..., 0] = (hsv[..., 0] + turn) % 1
    np.testing.assert_allclose(turned, 255 * hsv2rgb(hsv), atol=0.01)


def test_hue_and_saturation_are_those_of_the_formulas_clipped(coloured: np.ndarray) -> None:
    hue = Augmentation(hue=0.2)(coloured, Fixed())  # type: ignore[arg-type]
    np.testing.assert_allclose(hue[0], by_colorsys(coloured[0], 0.2), atol=0.51)
    saturation = Augmentation(saturation=0.5)(coloured, Fixed())  # type: ignore[arg-type]
    grey = (coloured @ np.array([0.299, 0.587, 0.114]))[..., None]
    expected = np.clip(grey + 1.5 * (coloured - grey), 0, 255)
    np.testing.assert_allclose(saturation, expected, atol=0.51)


def test_grayscale_takes_all_colour_from_its_share_of_the_images(coloured: np.ndarray) -> None:
    grey = make(Augmentation(grayscale=1), coloured)
    assert (np.ptp(grey, axis=3) == 0).all()
    np.testing.assert_allclose(grey[..., 0].astype(int), to_grey(coloured), atol=1)
    many = np.tile(coloured[:1], (2000, 1, 1, 1))
    lost = (make(Augmentation(grayscale=0.3), many) != many).any(axis=(1, 2, 3))
    assert lost.mean() == pytest.approx(0.3, abs=0.04)


def test_grey_images_draw_nothing_for_colour() -> None:
    grey = np.random.default_rng(2).integers(0, 256, (5, 28, 28), np.uint8)
    without = Augmentation(augment="strong", saturation=0)
    np.testing.assert_array_equal(make(STRONG, grey), make(without, grey))


@pytest.mark.parametrize(
    "ranges", [{"blur": 4.0}, {"elastic": 2.0, "elastic_sigma": 3.0}, {"bars": 1.0}]
)
def test_lengths_in_pixels_grow_with_the_side(ranges: dict[str, float]) -> None:
    """The same setting changes a picture as much when it is twice as large."""
    small = np.zeros((40, 28, 28), np.uint8)
    small[:, 8:20, 8:20] = 255
    large = small.repeat(2, axis=1).repeat(2, axis=2)
    augment = Augmentation(**ranges)  # type: ignore[arg-type]
    changed = np.abs(make(augment, small).astype(float) - small).mean()
    as_large = np.abs(make(augment, large).astype(float) - large).mean()
    assert as_large == pytest.approx(changed, rel=0.15)


@pytest.mark.parametrize("name", ["hue", "saturation", "grayscale"])
def test_changes_of_colour_are_refused_for_grey_pictures(name: str) -> None:
    settings: dict[str, Any] = {name: 0.3}
    message = refusal(lambda: choose_augmentation(TrainConfig(**settings), 1))
    assert f"{name} is 0.3" in message and "grey" in message and f"--{name}" in message
    assert choose_augmentation(TrainConfig(**settings), 3) == Augmentation(**settings)
    off: dict[str, Any] = {name: 0}
    assert choose_augmentation(TrainConfig(augment="strong", **off), 1) is not None
