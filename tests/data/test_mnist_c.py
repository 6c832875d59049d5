"""MNIST-C's published layout is found, mapped, mixed evenly and read strictly."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from lenet_paddle.config import TrainConfig
from lenet_paddle.data.datasets import CORRUPTIONS
from lenet_paddle.data.imageset import MappedImages
from lenet_paddle.data.load import load_data, load_dataset
from lenet_paddle.data.mnist_c import list_corruptions, load_mnist_c
from lenet_paddle.errors import InputError


def _write(root: Path, names: tuple[str, ...] | list[str], count: int = 40) -> Path:
    """Write `count` images per part and name; image i of the j-th name is filled with 50 j + i."""
    for j, name in enumerate(names):
        folder = root / name
        folder.mkdir(parents=True)
        for part in ("train", "test"):
            values = (50 * j + np.arange(count)).astype(np.uint8)
            images = np.broadcast_to(values[:, None, None, None], (count, 28, 28, 1))
            np.save(folder / f"{part}_images.npy", images)
            np.save(folder / f"{part}_labels.npy", np.arange(count) % 10)
    return root


def _values(images: np.ndarray) -> list[int]:
    return np.asarray(images)[:, 0, 0].tolist()


# --- what is there ---


def test_corruptions_are_listed_in_their_order_with_identity_last(tmp_path: Path) -> None:
    _write(tmp_path, ["zigzag", "identity", "shot_noise", "fog"])
    assert list_corruptions(tmp_path) == ["shot_noise", "fog", "zigzag", "identity"]


def test_the_folder_and_the_one_that_holds_it_are_both_taken(tmp_path: Path) -> None:
    _write(tmp_path / "mnist_c", ["fog"])
    assert list_corruptions(tmp_path) == list_corruptions(tmp_path / "mnist_c") == ["fog"]


def test_folders_that_are_no_corruption_are_skipped_with_a_message(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _write(tmp_path, ["fog", "frost", ".git"])
    (tmp_path / "zigzag").touch()  # a file
    with caplog.at_level(logging.INFO, "lenet_paddle"):
        assert list_corruptions(tmp_path) == ["fog"]
    assert "skipped, not corruptions: frost" in caplog.text
    assert ".git" not in caplog.text


def test_a_folder_without_corruptions_is_refused_with_the_way_to_make_some(tmp_path: Path) -> None:
    _write(tmp_path, ["frost"])
    for folder, came in (
        (tmp_path, "has no folder of a corruption"),
        (tmp_path / "x", "is not a folder"),
    ):
        with pytest.raises(InputError, match=rf"{came}.*shot_noise.*tools/corrupt\.py") as caught:
            list_corruptions(folder)
        assert str(folder) in str(caught.value)


# --- one corruption ---


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.int32, ">i2"])
def test_a_corruption_is_mapped_and_its_labels_become_int64(tmp_path: Path, dtype: str) -> None:
    folder = _write(tmp_path, ["fog"]) / "fog"
    np.save(folder / "test_labels.npy", (np.arange(40) % 10).astype(dtype))
    test = load_dataset("mnist_c", "test", tmp_path, corruption="fog")
    assert isinstance(test.images, np.memmap)
    assert test.images.shape == (40, 28, 28)
    assert (test.labels.dtype, test.labels.tolist()) == (np.int64, [*range(10)] * 4)
    assert test.classes == tuple("0123456789")


def test_images_without_a_channel_axis_are_the_same(tmp_path: Path) -> None:
    folder = _write(tmp_path, ["fog"]) / "fog"
    with_axis = np.array(load_mnist_c("test", tmp_path, "fog").images)
    np.save(folder / "test_images.npy", with_axis)
    np.testing.assert_array_equal(load_mnist_c("test", tmp_path, "fog").images, with_axis)


def test_the_last_training_images_of_a_corruption_are_for_validation(tmp_path: Path) -> None:
    _write(tmp_path, ["shear", "fog"])
    train, val = (
        load_dataset("mnist_c", split, tmp_path, 8, corruption="fog") for split in ("train", "val")
    )
    assert _values(train.images) + _values(val.images) == [*range(50, 90)]
    assert len(val) == 8


def test_a_val_size_of_over_half_becomes_a_tenth(tmp_path: Path) -> None:
    _write(tmp_path, ["fog"])
    assert len(load_dataset("mnist_c", "val", tmp_path, 21, corruption="fog")) == 4
    assert len(load_dataset("mnist_c", "val", tmp_path, 20, corruption="fog")) == 20


def test_an_unknown_or_missing_corruption_lists_what_there_is(tmp_path: Path) -> None:
    _write(tmp_path, ["fog", "identity"])
    with pytest.raises(InputError, match="'frost' is unknown; expected one of shot_noise"):
        load_dataset("mnist_c", "test", tmp_path, corruption="frost")
    with pytest.raises(InputError, match="has no zigzag; it has fog, identity"):
        load_dataset("mnist_c", "test", tmp_path, corruption="zigzag")
    with pytest.raises(InputError, match="corruption fog is for dataset mnist_c"):
        load_dataset("mnist", "test", corruption="fog")


# --- all of them ---


def test_joined_corruptions_are_mapped_and_evenly_mixed(tmp_path: Path) -> None:
    _write(tmp_path, ["fog", "shear", "identity", "zigzag"])  # 0.., 50.., 100.., 150..
    config = TrainConfig(dataset="mnist_c", data_dir=str(tmp_path), limit=6, val_size=9)
    train, val, test = load_data(config, "train", "val", "test")
    assert _values(train.images) == [50, 0, 150, 51, 1, 151]  # shear, fog, zigzag; no identity
    assert train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert sorted(_values(val.images)) == [37, 38, 39, 87, 88, 89, 187, 188, 189]
    assert len(test) == 120
    for image_set in (train, val, test):
        assert isinstance(image_set.images, MappedImages)
        parts = image_set.images.images.parts  # type: ignore[union-attr]
        assert all(isinstance(part, np.memmap) for part in parts)


def test_joined_sets_of_different_length_hold_every_image_once(tmp_path: Path) -> None:
    _write(tmp_path, ["shear"], 3)
    _write(tmp_path / "other", ["shot_noise", "fog"], 5)
    (tmp_path / "other" / "fog").rename(tmp_path / "fog")
    joined = load_mnist_c("train", tmp_path)
    assert _values(joined.images) == [0, 50, 1, 51, 2, 52, 53, 54]
    assert joined.labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 4]


def test_joined_images_are_indexed_like_one_array(tmp_path: Path, rng: np.random.Generator) -> None:
    _write(tmp_path, CORRUPTIONS[:3])
    images = load_mnist_c("test", tmp_path).images
    whole = np.asarray(images)
    for chosen in (7, -1, slice(3, 50, 7), rng.permutation(120), np.array([[5, 5], [0, 119]])):
        np.testing.assert_array_equal(images[chosen], whole[chosen])


def test_identity_alone_cannot_be_joined(tmp_path: Path) -> None:
    _write(tmp_path, ["identity"])
    with pytest.raises(InputError, match="has identity only"):
        load_dataset("mnist_c", "test", tmp_path)
    assert len(load_dataset("mnist_c", "test", tmp_path, corruption="identity")) == 40


# --- files that are refused ---

IMAGES = np.zeros((40, 28, 28, 1), np.uint8)
REFUSED = {
    "float images": ("images", IMAGES.astype(np.float32), r"float32 .*; expected uint8"),
    "colour": ("images", np.zeros((40, 28, 28, 3), np.uint8), r"\(40, 28, 28, 3\); expected uint8"),
    "larger": ("images", np.zeros((40, 32, 32), np.uint8), r"\(40, 32, 32\); expected uint8"),
    "one flat": ("images", np.zeros(40, np.uint8), r"\(40,\); expected uint8"),
    "a number": ("images", np.uint8(3), r"uint8 \(\); expected uint8"),
    "an image short": ("images", IMAGES[1:], "39 images but 40 labels"),
    "float labels": ("labels", np.zeros(40), "float64 .*; expected whole numbers"),
    "one-hot labels": ("labels", np.eye(10, dtype=int), r"\(10, 10\); expected whole numbers"),
    "a label of 10": ("labels", np.arange(40) % 11, "labels run from 0 to 10; expected 0 to 9"),
    "a label of -1": ("labels", np.arange(40) % 10 - 1, "labels run from -1 to 8"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_damaged_mnist_c_is_refused_in_a_line_that_names_the_file(
    tmp_path: Path, case: str
) -> None:
    kind, array, said = REFUSED[case]
    path = _write(tmp_path, ["fog"]) / "fog" / f"test_{kind}.npy"
    np.save(path, array)
    with pytest.raises(InputError, match=said) as caught:
        load_mnist_c("test", tmp_path, "fog")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=said):
        load_mnist_c("test", tmp_path)


def test_an_empty_set_is_refused(tmp_path: Path) -> None:
    _write(tmp_path, ["fog"], 0)
    with pytest.raises(InputError, match="holds no image"):
        load_mnist_c("test", tmp_path, "fog")


def test_pickled_objects_are_refused_unopened(tmp_path: Path) -> None:
    path = _write(tmp_path, ["fog"]) / "fog" / "test_labels.npy"

    class Hostile:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "opened",))

    np.save(path, np.array([Hostile()] * 40, object), allow_pickle=True)
    with pytest.raises(InputError, match=r"test_labels\.npy: not a readable \.npy file"):
        load_mnist_c("test", tmp_path, "fog")
    path.write_bytes(b"no array at all")
    with pytest.raises(InputError, match=r"test_labels\.npy: not a readable \.npy file"):
        load_mnist_c("test", tmp_path, "fog")
    assert not (tmp_path / "opened").exists()


@pytest.mark.parametrize("kept", [0, 5, 100, 20_000])
def test_a_truncated_file_is_refused(tmp_path: Path, kept: int) -> None:
    path = _write(tmp_path, ["fog"]) / "fog" / "train_images.npy"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InputError, match=r"train_images\.npy: not a readable \.npy file"):
        load_mnist_c("train", tmp_path, "fog")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    path = _write(tmp_path, ["fog"]) / "fog" / "train_labels.npy"
    path.unlink()
    with pytest.raises(InputError, match=r"train_labels\.npy: is missing"):
        load_mnist_c("train", tmp_path)
    assert len(load_mnist_c("test", tmp_path)) == 40
