"""The corruptions equal MNIST-C's up to random draws, which depend on the seed only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compare_mnist_c import DRAWS, WITHOUT_CHANCE, Model, compare, largest_difference, load_sample
from scipy import ndimage
from tools_help import assert_refused, tool

from lenet_paddle.data import corrupt as module
from lenet_paddle.data.corrupt import BLOCK, corrupt
from lenet_paddle.data.datasets import ALL_CORRUPTIONS, CORRUPTIONS
from lenet_paddle.data.imageset import ImageSet
from lenet_paddle.data.load import load_dataset
from lenet_paddle.data.mnist_c import PARTS, load_mnist_c, write_mnist_c
from lenet_paddle.data.sources import load_mnist
from lenet_paddle.errors import InputError

BY_CHANCE = [name for name in CORRUPTIONS if name not in WITHOUT_CHANCE]
WITH_SEVERITY = (*CORRUPTIONS[:9], "fog", "spatter")


@pytest.fixture(scope="module")
def sample() -> dict[str, np.ndarray]:
    return load_sample()[1]


@pytest.fixture(scope="module")
def digits() -> ImageSet:
    return load_sample()[0]


# --- beside the authors' own ---


@pytest.mark.parametrize("name", WITHOUT_CHANCE)
def test_where_no_chance_is_in_it_every_pixel_is_mnist_cs(
    name: str, sample: dict[str, np.ndarray], digits: ImageSet
) -> None:
    np.testing.assert_array_equal(corrupt(digits.images, name), sample[name])


@pytest.mark.parametrize("name", DRAWS)
def test_every_true_image_is_one_of_those_that_ours_can_become(
    name: str, sample: dict[str, np.ndarray], digits: ImageSet
) -> None:
    few = slice(0, 400 if len(DRAWS[name]) < 10 else 10)
    nearest = largest_difference(sample[name][few], digits.images[few], name)
    assert nearest is not None
    assert nearest.max() <= (1 if name == "motion_blur" else 0)


@pytest.mark.parametrize("name", BY_CHANCE)
def test_mean_variance_and_spectrum_are_mnist_cs_within_their_standard_errors(
    name: str, sample: dict[str, np.ndarray], digits: ImageSet
) -> None:
    figures = compare(sample[name][:200], digits.take(slice(0, 200)), name, 8)  # a rough error
    assert {"mean", "variance"} < set(figures)
    assert {key: one for key, one in figures.items() if abs(one.errors) > 3.5} == {}


@pytest.mark.slow
def test_a_models_accuracy_is_the_same_on_both_sides(
    tmp_path: Path, sample: dict[str, np.ndarray], digits: ImageSet
) -> None:
    done = tool(
        "train", "--epochs", "1", "--limit", "20000", "--output-dir", tmp_path, "--name", "one"
    )
    assert done.returncode == 0, done.stderr
    model = Model(str(tmp_path / "one"))
    for name in CORRUPTIONS:
        accuracy = compare(sample[name], digits, name, 10, [model])["accuracy one"]
        assert abs(accuracy.errors) < 3, (name, accuracy)


# --- chance ---


@pytest.mark.parametrize("name", ALL_CORRUPTIONS)
def test_the_first_images_come_out_the_same_whatever_follows_them(name: str) -> None:
    count = BLOCK + 30
    images = load_mnist("test", None).images[:count]
    whole = corrupt(images, name, seed=5)
    for shorter in (1, 13, BLOCK, BLOCK + 1):
        np.testing.assert_array_equal(corrupt(images[:shorter], name, seed=5), whole[:shorter])


@pytest.mark.parametrize("name", BY_CHANCE)
def test_the_seed_and_the_place_decide_the_draw(name: str, digits: ImageSet) -> None:
    image = digits.images[1]
    images = np.stack([image] * 40)
    first, again, other = (corrupt(images, name, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert len(np.unique(first.reshape(40, -1), axis=0)) > 1  # not one draw for all


def test_blocks_do_not_repeat_each_others_draws(digits: ImageSet) -> None:
    images = np.stack([digits.images[0]] * 2 * BLOCK)
    noisy = corrupt(images, "impulse_noise")
    assert (noisy[:BLOCK] != noisy[BLOCK:]).any(axis=(1, 2)).all()


# --- each corruption by itself ---


def test_input_is_left_alone_and_the_output_is_new(digits: ImageSet) -> None:
    before = digits.images[:5].copy()
    images = before.copy()
    for name in ALL_CORRUPTIONS:
        result = corrupt(images, name)
        assert (result.dtype, result.shape) == (np.uint8, (5, 28, 28))
        assert not np.shares_memory(result, images)
        np.testing.assert_array_equal(images, before)


@pytest.mark.parametrize("name", WITH_SEVERITY)
def test_a_higher_severity_changes_more_and_the_default_is_mnist_cs(
    name: str, digits: ImageSet
) -> None:
    images = digits.images[:60]
    changed = [corrupt(images, name, severity=s) for s in range(1, 6)]
    distances = [np.abs(one.astype(float) - images).mean() for one in changed]
    default = module._RECIPES[name][1]
    np.testing.assert_array_equal(corrupt(images, name), changed[default - 1])
    assert distances[4] > distances[0]
    if name not in ("glass_blur", "motion_blur", "spatter"):  # these weigh settings or saturate
        assert distances == sorted(distances)


def test_one_strength_only_ignores_the_severity(digits: ImageSet) -> None:
    images = digits.images[:10]
    for name in set(ALL_CORRUPTIONS) - set(WITH_SEVERITY):
        np.testing.assert_array_equal(corrupt(images, name, 1), corrupt(images, name, 5))


def test_translate_moves_by_whole_pixels_and_lets_nothing_in(digits: ImageSet) -> None:
    images = digits.images[:100]
    moves = [(y, x) for y in (-3, 3) for x in (-3, 3)]
    ways = np.stack([ndimage.shift(images, (0, *move), order=0) for move in moves])
    found = (ways == corrupt(images, "translate")).all(axis=(2, 3))
    assert found.any(axis=0).all()
    assert found.any(axis=1).all()  # to all four corners


def test_impulse_noise_is_half_salt_half_pepper() -> None:
    grey = np.full((500, 28, 28), 100, np.uint8)
    noisy = corrupt(grey, "impulse_noise")
    shares = [(noisy == value).mean() for value in (0, 255, 100)]
    np.testing.assert_allclose(shares, [0.085, 0.085, 0.83], atol=0.003)


def test_shot_noise_of_white_is_a_clipped_count_of_three_photons() -> None:
    from scipy.stats import poisson

    noisy = corrupt(np.full((200, 28, 28), 255, np.uint8), "shot_noise")
    shares = [(noisy == value).mean() for value in (0, 85, 170, 255)]
    np.testing.assert_allclose(shares, [*poisson.pmf([0, 1, 2], 3), poisson.sf(2, 3)], atol=0.005)


def test_fog_is_a_landscape_on_a_torus_from_0_to_1() -> None:
    maps = module._plasma(40, 64, 1.4, np.random.default_rng(0))
    assert maps.min(axis=(1, 2)).tolist() == [0] * 40
    assert maps.max(axis=(1, 2)).tolist() == [1] * 40
    steps = [np.abs(np.roll(maps, -1, axis) - maps).mean((0, 3 - axis)) for axis in (1, 2)]
    for step in steps:  # no seam where the first row follows the last
        assert step[-1] < 1.3 * step[:-1].max()
    assert maps[0].std() > 3 * np.abs(np.diff(maps[0], axis=0)).mean()  # smooth


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (("frost", None), "'frost' is unknown; expected one of shot_noise"),
        (("fog", 0), "severity is 0; expected a whole number from 1 to 5"),
        (("fog", 6), "severity is 6"),
    ],
)
def test_unknown_corruptions_and_severities_are_refused(
    call: tuple[str, int | None], said: str, digits: ImageSet
) -> None:
    with pytest.raises(InputError, match=said):
        corrupt(digits.images, *call)


@pytest.mark.parametrize("images", [np.zeros((2, 28, 28)), np.zeros((2, 32, 32), np.uint8)])
def test_images_that_are_not_uint8_28x28_are_refused(images: np.ndarray) -> None:
    with pytest.raises(InputError, match="expected uint8"):
        corrupt(images, "fog")


def test_without_scikit_image_the_extra_is_named(
    digits: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "skimage.feature", None)
    with pytest.raises(InputError, match=r"pip install '\.\[vision\]'"):
        corrupt(digits.images, "canny_edges")


# --- written as MNIST-C is ---


def test_what_is_written_is_read_back_as_the_corrupted_digits(tmp_path: Path) -> None:
    names = ("fog", "zigzag")
    files = write_mnist_c(tmp_path, names, seed=3, limit=25)
    assert sorted(files) == sorted(p for p in tmp_path.rglob("*") if p.is_file())
    assert np.load(files[0]).shape == (25, 28, 28, 1)
    for name in names:
        test = load_dataset("mnist_c", "test", tmp_path, corruption=name)
        clean = load_mnist("test", None).take(slice(0, 25))
        np.testing.assert_array_equal(test.images, corrupt(clean.images, name, seed=3))
        np.testing.assert_array_equal(test.labels, clean.labels)
        train = load_mnist_c("train", tmp_path, name)
        np.testing.assert_array_equal(train.labels, load_mnist("train", None).labels[:25])


def test_training_images_do_not_get_the_test_images_draws(tmp_path: Path) -> None:
    write_mnist_c(tmp_path, ["impulse_noise"], limit=1)
    noise = [
        (np.asarray(load_mnist_c(part, tmp_path, "impulse_noise").images) == 255) for part in PARTS
    ]
    assert (noise[0] != noise[1])[0, :, 0].any()  # in the first column no digit has ink


def test_files_that_are_there_are_not_replaced(tmp_path: Path) -> None:
    [first, _] = write_mnist_c(tmp_path, ["shear"], limit=2, parts=["test"])
    before = first.read_bytes()
    with pytest.raises(InputError, match="exists; remove it, or choose another --out") as caught:
        write_mnist_c(tmp_path, ["fog", "shear"], limit=3)
    assert str(first) in str(caught.value)
    assert first.read_bytes() == before
    assert not (tmp_path / "fog").exists()


def test_the_tool_prints_the_folders_and_refuses_in_a_line(tmp_path: Path) -> None:
    out = tmp_path / "out"
    few = ("--corruptions", "fog,shear", "--limit", "3", "--splits", "test")
    done = tool("corrupt", "--out", out, *few)
    assert (done.returncode, done.stdout) == (0, f"{out}/fog\n{out}/shear\n")
    assert_refused(tool("corrupt", "--out", out, *few), "fog/test_images.npy exists")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"corruptions": ["fog", "frost"]}, "'frost' is unknown; expected one of shot_noise"),
        ({"severity": 6}, "severity is 6"),
        ({"limit": 0}, "limit is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"parts": ["val"]}, "'val' is unknown; expected one of test, train"),
    ],
)
def test_a_bad_setting_is_refused_before_anything_is_written(
    settings: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=said):
        write_mnist_c(tmp_path / "out", **{"limit": 2, **settings})
    assert not (tmp_path / "out").exists()
