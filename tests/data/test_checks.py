"""Copies of training images and classes with few images are named."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lenet_paddle.config import TrainConfig
from lenet_paddle.data.load import load_data

Writer = Callable[[Path, np.ndarray], Path]


def _warnings(caplog: pytest.LogCaptureFixture, data_dir: Path, **settings: object) -> list[str]:
    dataset = "npz" if data_dir.suffix == ".npz" else "folder"
    config = TrainConfig(dataset=dataset, data_dir=str(data_dir), **settings)  # type: ignore[arg-type]
    caplog.clear()
    with caplog.at_level(logging.WARNING, "lenet_paddle"):
        load_data(config, "train", *(["val"] if config.val_size else []), "test")
    return [record.getMessage() for record in caplog.records]


@pytest.fixture
def tree(tmp_path: Path, write_picture: Writer) -> Path:
    """Write train/, val/ and test/ of two classes, 12 pictures each, all different."""
    number = 0
    for part in ("train", "val", "test"):
        for name in "ab":
            for i in range(12):
                picture = np.full((28, 28), number)
                write_picture(tmp_path / "d" / part / name / f"{i}.png", picture)
                number += 1
    return tmp_path / "d"


def test_nothing_is_said_of_a_sound_folder(tree: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert _warnings(caplog, tree) == []


def test_copies_are_counted_by_content_with_two_names(
    tree: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for i in range(3):
        data = (tree / f"train/a/{i}.png").read_bytes()
        (tree / f"test/b/copy{i}.png").write_bytes(data)
    [line] = _warnings(caplog, tree)
    assert "3 of 27 test images are also in train" in line
    assert "test/b/copy0.png = train/a/0.png" in line
    (tree / "val/a/other.png").write_bytes((tree / "train/b/7.png").read_bytes())
    lines = _warnings(caplog, tree)
    assert "1 of 25 val images are also in train, as val/a/other.png = train/b/7.png" in lines[0]


def test_copies_in_a_file_of_arrays_are_named_by_position(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (80, 28, 28), dtype=np.uint8)
    labels = np.arange(80) % 2
    test = np.concatenate([images[:1], images[40:41] + np.uint8(1), images[70:71]])
    np.savez(tmp_path / "a.npz", x_train=images, y_train=labels, x_test=test, y_test=labels[:3])
    _, line = _warnings(caplog, tmp_path / "a.npz", val_size=20)
    assert "2 of 3 test images" in line or "1 of 3 test images" in line  # 20 are in val
    assert "x_test[" in line and "= x_train[" in line


def test_classes_with_few_images_are_named_in_train_and_val(
    tree: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for i in range(12):
        (tree / f"val/b/{i}.png").unlink()
        if i > 3:
            (tree / f"train/a/{i}.png").unlink()
    (tree / "val/b").rmdir()
    lines = _warnings(caplog, tree)
    assert "val: has no folder of class b" in lines[0]
    assert "train has few images of some classes: a (4); add some" in lines[1]
    assert "val has few images of some classes: b (none); with fewer than 10" in lines[2]


def test_a_class_that_keeps_no_image_to_train_on_is_named(
    tree: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its pictures cannot be read."""
    for picture in (tree / "train/a").iterdir():
        picture.write_bytes(b"no picture")
    lines = _warnings(caplog, tree, skip_unreadable=True)
    assert "train has few images of some classes: a (none); add some" in lines[1]


def test_classes_of_very_different_sizes_are_said_with_what_helps(
    tree: Path, caplog: pytest.LogCaptureFixture, write_picture: Writer
) -> None:
    for i in range(12, 40):
        write_picture(tree / f"train/b/{i}.png", np.full((28, 28), 100 + i))
    [line] = _warnings(caplog, tree)
    assert "train is uneven, from 12 images (a) to 40 (b)" in line
    assert "--class-weights balanced" in line


def test_balanced_weights_are_not_advised_where_they_are_used(
    tree: Path, caplog: pytest.LogCaptureFixture, write_picture: Writer
) -> None:
    for i in range(12, 40):
        write_picture(tree / f"train/b/{i}.png", np.full((28, 28), 100 + i))
    assert _warnings(caplog, tree, class_weights="balanced") == []


def test_validation_images_that_are_not_used_are_counted(
    tree: Path, caplog: pytest.LogCaptureFixture
) -> None:
    [line] = _warnings(caplog, tree, val_size=0)
    assert "24 validation images are not used: val_size 0" in line


def test_what_is_skipped_is_said_once_for_all_splits(
    tree: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tree / "train/a/Thumbs.db").write_text("")
    [line] = _warnings(caplog, tree)
    assert "skipped 1 files and folders: Thumbs.db" in line
