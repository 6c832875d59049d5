"""Augmentation against loops, hand-computed values and statistics of the draws."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

from lenet_paddle.config import TrainConfig
from lenet_paddle.data.augment import COLOUR
from lenet_paddle.data.imageset import ImageSet
from lenet_paddle.data.load import load_dataset
from lenet_paddle.data.loader import BatchLoader
from lenet_paddle.data.transforms import (
    Augmentation,
    choose_augmentation,
    sample_bilinear,
    smooth_fields,
)

LIGHT, STRONG = Augmentation(augment="light"), Augmentation(augment="strong")
# Each range alone.
RANGES: dict[str, float] = {
    "rotation": 30,
    "shift": 0.2,
    "zoom": 0.3,
    "shear": 20,
    "elastic": 1.0,
    "horizontal_flip": 1.0,
    "vertical_flip": 1.0,
    "thin": 2.0,
    "thick": 3.0,
    "outline": 1.0,
    "breaks": 1.0,
    "downscale": 0.6,
    "specks": 1.0,
    "erase": 1.0,
    "bars": 1.0,
    "brightness": 0.3,
    "contrast": 0.5,
    "noise": 0.2,
    "blur": 1.5,
}
PROBABILITIES = {"horizontal_flip", "vertical_flip", "outline", "breaks", "specks", "erase", "bars"}
EACH = [Augmentation(**{name: value}) for name, value in RANGES.items()]
COLOURS: dict[str, float] = {"hue": 0.3, "saturation": 0.7, "grayscale": 1.0}


@pytest.fixture(scope="module")
def digits() -> np.ndarray:
    return np.asarray(load_dataset("mnist", "test").images[:40])


@pytest.fixture
def noisy(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (6, 9, 12), np.uint8)


def make(augment: Augmentation, images: np.ndarray, seed: int = 0) -> np.ndarray:
    return augment(images, np.random.default_rng(seed))


def test_each_range_has_its_case() -> None:
    assert {f.name for f in dataclasses.fields(Augmentation)} - {*RANGES, *COLOURS} == {
        "augment",
        "elastic_sigma",
        "chance",
        "fill",
    }
    assert tuple(COLOURS) == COLOUR


@pytest.mark.parametrize("augment", [*EACH, LIGHT, STRONG], ids=[*RANGES, "light", "strong"])
def test_variants_are_bytes_of_the_same_shape_that_follow_from_the_generator(
    augment: Augmentation, noisy: np.ndarray
) -> None:
    before = noisy.copy()
    first, again, other = make(augment, noisy), make(augment, noisy), make(augment, noisy, 1)
    assert first.dtype == np.uint8 and first.shape == noisy.shape
    np.testing.assert_array_equal(noisy, before)
    np.testing.assert_array_equal(first, again)
    assert (first != noisy).any()
    if augment.horizontal_flip + augment.vertical_flip == 0 and augment.outline != 1:
        assert (first != other).any()


@pytest.mark.parametrize("fill", ["background", "nearest"])
def test_without_ranges_the_images_come_out_bit_for_bit(noisy: np.ndarray, fill: Any) -> None:
    np.testing.assert_array_equal(make(Augmentation(fill=fill), noisy), noisy)
    assert choose_augmentation(TrainConfig(), 1) is None
    tiny = Augmentation(rotation=1e-30, shift=1e-30, zoom=1e-30, shear=1e-30, elastic=1e-30)
    np.testing.assert_array_equal(make(dataclasses.replace(tiny, fill=fill), noisy), noisy)


def bilinear_by_loops(images: np.ndarray, where: np.ndarray, fill: str) -> np.ndarray:
    _, height, width = images.shape
    result = np.zeros(images.shape)
    for i, row, col in np.ndindex(result.shape):
        y, x = (float(places[i, row * width + col]) for places in where)
        for r, c in ((math.floor(y) + dr, math.floor(x) + dc) for dr in (0, 1) for dc in (0, 1)):
            weight = (1 - abs(y - r)) * (1 - abs(x - c))
            if fill == "nearest":
                r, c = min(max(r, 0), height - 1), min(max(c, 0), width - 1)
            if 0 <= r < height and 0 <= c < width:
                result[i, row, col] += weight * images[i, r, c]
    return result


@pytest.mark.parametrize("fill", ["background", "nearest"])
def test_sampling_is_bilinear_also_across_the_border(
    rng: np.random.Generator, noisy: np.ndarray, fill: Any
) -> None:
    where = np.stack([rng.uniform(-3, side + 2, (6, 9 * 12)) for side in (9, 12)])
    planes = np.stack([noisy, 255 - noisy, noisy[::-1]], axis=1)
    sampled = sample_bilinear(planes, where.astype(np.float32), fill)
    for channel in range(3):
        expected = bilinear_by_loops(planes[:, channel], where, fill)
        np.testing.assert_allclose(sampled[:, channel], expected, atol=0.01)


class Fixed:
    """A generator whose uniform draws are all the upper limit."""

    def uniform(self, low: float, high: float, size: Any = None) -> np.ndarray:
        return np.full(size, high, float)


def moved(augment: Augmentation, row: int, col: int) -> np.ndarray:
    """Return the centre (row, column) of one lit pixel of 21x21 after the largest draws."""
    image = np.zeros((1, 21, 21), np.uint8)
    image[0, row, col] = 255
    variant = augment(image, Fixed())[0].astype(float)  # type: ignore[arg-type]
    return (np.indices(variant.shape) * variant).sum(axis=(1, 2)) / variant.sum()


@pytest.mark.parametrize(
    ("ranges", "start", "end"),
    [
        ({"shift": 2 / 21}, (10, 10), (12, 12)),
        ({"rotation": 90}, (10, 16), (4, 10)),  # against the clock
        ({"rotation": 30}, (10, 16), (10 - 6 * 0.5, 10 + 6 * math.sqrt(0.75))),
        ({"zoom": 0.5}, (6, 14), (4, 16)),
        ({"shear": 45}, (14, 10), (14, 14)),
        ({"shift": 1 / 21, "zoom": 0.5}, (6, 14), (5, 17)),  # the shift comes last
        ({"rotation": 90, "zoom": 0.5}, (10, 14), (4, 10)),
        ({"rotation": 90, "shear": 45}, (14, 10), (6, 14)),  # first shear, then turn
    ],
)
def test_the_affine_map_moves_a_pixel_where_geometry_says(
    ranges: dict[str, float], start: tuple[int, int], end: tuple[float, float]
) -> None:
    np.testing.assert_allclose(moved(Augmentation(**ranges), *start), end, atol=0.35)


def test_elastic_displacements_have_the_deviation_and_smoothness_asked_for() -> None:
    rng, sigma = np.random.default_rng(0), 3.0
    fields = smooth_fields(3000, 28, 20, sigma, rng)
    assert fields.shape == (3000, 28, 20) and fields.dtype == np.float32
    np.testing.assert_allclose(fields.std(axis=0), 1, atol=0.06)
    np.testing.assert_allclose(fields.mean(axis=0), 0, atol=0.08)
    for distance in (1, 3, 6, 12):
        expected = math.exp(-(distance**2) / (4 * sigma**2))
        for near, far in (
            (fields[:, :-distance], fields[:, distance:]),
            (fields[:, :, :-distance], fields[:, :, distance:]),
        ):
            assert (near * far).mean() == pytest.approx(expected, abs=0.04)
    assert abs((fields[0::2] * fields[1::2]).mean()) < 0.02  # rows and columns move by themselves


def test_flips_exchange_sides_with_their_probability(noisy: np.ndarray) -> None:
    np.testing.assert_array_equal(make(Augmentation(horizontal_flip=1), noisy), noisy[:, :, ::-1])
    np.testing.assert_array_equal(make(Augmentation(vertical_flip=1), noisy), noisy[:, ::-1])
    many = np.tile(noisy[:1], (2000, 1, 1))
    flipped = (make(Augmentation(horizontal_flip=0.3), many) != many).any(axis=(1, 2))
    assert flipped.mean() == pytest.approx(0.3, abs=0.04)


def test_erasing_covers_one_rectangle_of_2_to_20_percent_with_one_grey() -> None:
    images = np.full((500, 28, 28), 7, np.uint8)
    variants = make(Augmentation(erase=1), images)
    shares = []
    for covered, variant in zip(variants != 7, variants, strict=True):
        rows, cols = np.flatnonzero(covered.any(axis=1)), np.flatnonzero(covered.any(axis=0))
        if len(rows) == 0:
            continue  # its grey happens to be 7
        assert covered[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1].all()
        assert len(np.unique(variant[covered])) == 1
        shares.append(covered.mean())
    assert len(shares) > 490
    assert (
        min(shares) > 0.01
        and max(shares) < 0.24
        and np.mean(shares) == pytest.approx(0.11, abs=0.01)
    )
    some = (make(Augmentation(erase=0.25), images) != 7).any(axis=(1, 2))
    assert some.mean() == pytest.approx(0.25, abs=0.06)


def test_bars_are_straight_bands_of_one_grey() -> None:
    images = np.full((300, 28, 28), 7, np.uint8)
    none_or_more = [len(np.unique(v)) - 1 for v in make(Augmentation(bars=0.3), images)]
    assert max(none_or_more) <= 3  # greys beside the image's
    assert np.mean(np.equal(none_or_more, 0)) == pytest.approx(0.7**3, abs=0.1)
    for variant in make(Augmentation(bars=0.1), images):
        greys = set(np.unique(variant)) - {7}
        if len(greys) != 1:
            continue
        rows, cols = np.nonzero(variant != 7)
        if len(rows) < 5:
            continue
        spread = np.linalg.svd(np.stack([rows - rows.mean(), cols - cols.mean()]))[1]
        across = spread[1] / len(rows) ** 0.5
        assert across < 8 / 12**0.5 + 0.6  # an even band of 8 pixels at most


def test_brightness_and_contrast_are_those_of_the_formula_clipped(noisy: np.ndarray) -> None:
    bright = Augmentation(brightness=0.2)(noisy, Fixed())  # type: ignore[arg-type]
    np.testing.assert_array_equal(bright, np.minimum(noisy + 51.0, 255))
    contrast = Augmentation(contrast=0.5)(noisy, Fixed())  # type: ignore[arg-type]
    mean = noisy.mean(axis=(1, 2), keepdims=True)
    expected = np.clip(mean + 1.5 * (noisy - mean), 0, 255)
    np.testing.assert_allclose(contrast, expected, atol=0.51)


def test_noise_has_at_most_the_deviation_asked_for() -> None:
    images = np.full((400, 28, 28), 128, np.uint8)
    deviations = make(Augmentation(noise=0.1), images).std(axis=(1, 2))
    assert deviations.max() == pytest.approx(25.5, rel=0.1)
    assert deviations.mean() == pytest.approx(25.5 / 2, rel=0.1)


def test_blur_is_a_gaussian_that_keeps_a_flat_image_flat() -> None:
    point = np.zeros((1, 28, 28), np.uint8)
    point[0, 13, 13] = 255
    blurred = Augmentation(blur=1.2)(point, Fixed())[0]  # type: ignore[arg-type]
    weights = np.exp(-(((np.arange(28) - 13) / 1.2) ** 2) / 2)
    weights /= weights.sum()
    np.testing.assert_allclose(blurred, 255 * np.outer(weights, weights), atol=0.51)
    flat = np.full((3, 9, 12), 200, np.uint8)
    np.testing.assert_array_equal(make(Augmentation(blur=3), flat), flat)


def bar(first: int, last: int) -> np.ndarray:
    """Return an upright bar, white on black, from one column to another."""
    image = np.zeros((1, 28, 28), np.uint8)
    image[0, :, first : last + 1] = 255
    return image


@pytest.mark.parametrize(
    ("ranges", "expected"),
    [
        ({"thick": 2}, {12: 255, 13: 255, 14: 255, 15: 255, 16: 255}),
        ({"thick": 3}, {11: 128, 12: 255, 13: 255, 14: 255, 15: 255, 16: 255, 17: 128}),
        ({"thick": 4}, dict.fromkeys(range(11, 18), 255)),
    ],
)
def test_a_stroke_of_3_pixels_becomes_wider_by_the_pixels_asked_for(
    ranges: dict[str, float], expected: dict[int, int]
) -> None:
    wide = Augmentation(**ranges)(bar(13, 15), Fixed())[0]  # type: ignore[arg-type]
    row = [expected.get(column, 0) for column in range(28)]
    np.testing.assert_array_equal(wide, np.tile(row, (28, 1)))


class Lowest(Fixed):
    """A generator whose uniform draws are all the lower limit."""

    def uniform(self, low: float, high: float, size: Any = None) -> np.ndarray:
        return np.full(size, low, float)


def test_a_stroke_of_5_pixels_becomes_narrower_and_vanishes_at_last() -> None:
    for thin, columns in ((2, range(13, 16)), (4, range(14, 15))):
        narrow = Augmentation(thin=thin)(bar(12, 16), Lowest())[0]  # type: ignore[arg-type]
        np.testing.assert_array_equal(np.flatnonzero(narrow.all(axis=0)), columns)
        assert np.count_nonzero(narrow) == 28 * len(columns)
    assert not Augmentation(thin=4)(bar(12, 14), Lowest()).any()  # type: ignore[arg-type]
    half = Augmentation(thin=1)(bar(12, 16), Lowest())[0, 0]  # type: ignore[arg-type]
    assert half[12:17].tolist() == [128, 255, 255, 255, 128]


def test_digits_gain_and_lose_ink_with_their_strokes_width(digits: np.ndarray) -> None:
    ink = digits.mean(axis=(1, 2))
    wide = Augmentation(thick=2)(digits, Fixed()).mean(axis=(1, 2))  # type: ignore[arg-type]
    narrow = Augmentation(thin=1)(digits, Lowest()).mean(axis=(1, 2))  # type: ignore[arg-type]
    assert (wide > 1.2 * ink).all() and (narrow < 0.9 * ink).all()
    both = make(Augmentation(thin=1, thick=3), np.tile(digits[:1], (400, 1, 1)))
    more = (both.mean(axis=(1, 2)) > ink[0]).mean()
    assert more == pytest.approx(3 / 4, abs=0.07)  # one draw from -1 to 3


def test_an_outline_is_hollow_and_drawn_with_its_probability(digits: np.ndarray) -> None:
    square = np.zeros((1, 28, 28), np.uint8)
    square[0, 10:17, 10:17] = 255
    drawn = make(Augmentation(outline=1), square)[0]
    assert not drawn[12:15, 12:15].any() and drawn[10, 10:17].all() and drawn[9, 10:17].all()
    assert np.count_nonzero(drawn) == 28 + 24  # a ring outside, without corners, and one inside
    many = np.tile(digits[:1], (1000, 1, 1))
    changed = (make(Augmentation(outline=0.3), many) != many).any(axis=(1, 2))
    assert changed.mean() == pytest.approx(0.3, abs=0.05)


def test_breaks_take_ink_in_a_small_place_only(digits: np.ndarray) -> None:
    many = np.tile(digits, (10, 1, 1))
    broken = make(Augmentation(breaks=0.5), many)
    cut = broken != many
    assert not broken[cut].any()
    assert cut.any(axis=(1, 2)).mean() == pytest.approx(0.75, abs=0.06)  # two gaps, half each
    assert cut.sum(axis=(1, 2)).max() <= 2 * 4 * 12
    assert (broken.sum(axis=(1, 2)) > 0).all()


def test_downscaled_pictures_keep_their_mean_and_flat_ones_every_pixel(digits: np.ndarray) -> None:
    flat = np.full((3, 9, 12), 200, np.uint8)
    np.testing.assert_array_equal(make(Augmentation(downscale=0.9), flat), flat)
    small = Augmentation(downscale=0.5)(digits, Lowest())  # type: ignore[arg-type]
    np.testing.assert_array_equal(small, digits)  # the lower limit: nothing is lost
    half = Augmentation(downscale=0.5)(digits, Fixed()).astype(float)  # type: ignore[arg-type]
    np.testing.assert_allclose(half.mean(axis=(1, 2)), digits.mean(axis=(1, 2)), atol=0.6)
    pixels = digits.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4))
    # Places between four small pixels, a quarter from the nearest along each axis.
    expected = (
        9 * pixels[:, 5, 6] + 3 * pixels[:, 5, 7] + 3 * pixels[:, 6, 6] + pixels[:, 6, 7]
    ) / 16
    np.testing.assert_allclose(half[:, 11, 13], expected, atol=0.51)


def test_specks_are_small_disks_of_one_grey_each() -> None:
    images = np.full((300, 28, 28), 7, np.uint8)
    covered = make(Augmentation(specks=0.3), images) != 7
    assert covered.any(axis=(1, 2)).mean() == pytest.approx(1 - 0.7**3, abs=0.1)
    assert covered.sum(axis=(1, 2)).max() <= 3 * 21
    for variant in make(Augmentation(specks=0.1), images):
        rows, cols = np.nonzero(variant != 7)
        if len(set(variant[rows, cols])) == 1:  # one disk
            assert max(np.ptp(rows), np.ptp(cols)) <= 4


@pytest.mark.parametrize("name", [*sorted(RANGES.keys() - PROBABILITIES)])
def test_by_chance_an_image_draws_from_a_range_or_stays_as_it_is(
    name: str, digits: np.ndarray
) -> None:
    many = np.tile(digits[:1], (600, 1, 1))
    augment = Augmentation(**{name: RANGES[name]})
    always = (make(augment, many) != many).any(axis=(1, 2)).mean()
    some = (make(dataclasses.replace(augment, chance=0.3), many) != many).any(axis=(1, 2)).mean()
    assert always > 0.8 and some == pytest.approx(0.3 * always, abs=0.06)


def test_background_is_0_and_nearest_repeats_the_border() -> None:
    images = np.full((50, 28, 28), 90, np.uint8)
    far = Augmentation(shift=0.5, rotation=40)
    assert set(np.unique(make(far, images))) >= {0, 90}
    np.testing.assert_array_equal(make(dataclasses.replace(far, fill="nearest"), images), images)


def test_a_flag_overrides_its_range_of_the_preset() -> None:
    assert choose_augmentation(TrainConfig(augment="light"), 1) == LIGHT
    chosen = choose_augmentation(
        TrainConfig(augment="light", rotation=3, elastic=0, fill="nearest"), 1
    )
    assert chosen == dataclasses.replace(LIGHT, rotation=3, elastic=0, fill="nearest")
    alone = choose_augmentation(TrainConfig(horizontal_flip=0.5), 1)
    assert alone == Augmentation(horizontal_flip=0.5)
    none: dict[str, Any] = dict.fromkeys((*RANGES, *COLOURS), 0)
    assert choose_augmentation(TrainConfig(augment="strong", **none), 1) is None
    assert choose_augmentation(TrainConfig(fill="nearest", elastic_sigma=3), 1) is None


def batches(digits: np.ndarray, epoch: int, **settings: Any) -> list[list[np.ndarray]]:
    image_set = ImageSet(digits, np.arange(len(digits)), tuple(map(str, range(len(digits)))))
    loader = BatchLoader(image_set, 12, shuffle=True, seed=5, augment=LIGHT, **settings)
    loader.set_epoch(epoch)
    return list(loader)


def test_an_epochs_batches_follow_from_seed_and_epoch_alone(digits: np.ndarray) -> None:
    first, again, other = batches(digits, 2), batches(digits, 2), batches(digits, 3)
    for (images, labels), (same, same_labels) in zip(first, again, strict=True):
        np.testing.assert_array_equal(images, same)
        np.testing.assert_array_equal(labels, same_labels)
    assert (first[0][0] != other[0][0]).any()
    by_label = [
        {
            int(label): image
            for images, labels in epoch
            for image, label in zip(images, labels, strict=True)
        }
        for epoch in (first, other)
    ]
    assert set(by_label[0]) == set(range(40))
    assert all((by_label[0][i] != by_label[1][i]).any() for i in range(40))


@pytest.mark.parametrize("num_ranks", [2, 3])
def test_ranks_together_get_the_variants_that_one_process_gets(
    digits: np.ndarray, num_ranks: int
) -> None:
    whole = batches(digits, 1)
    ranks = [batches(digits, 1, rank=rank, num_ranks=num_ranks) for rank in range(num_ranks)]
    for step, (images, labels) in enumerate(whole):
        for rank in range(num_ranks):
            own_images, own_labels = ranks[rank][step]
            expected = labels[rank::num_ranks]
            np.testing.assert_array_equal(own_labels[: len(expected)], expected)
            np.testing.assert_array_equal(own_images[: len(expected)], images[rank::num_ranks])
