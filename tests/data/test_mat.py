"""SVHN's MATLAB files: the order of the axes, 10 for the digit 0, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from refusal_help import refusal_of

from lenet_paddle.data.mat import load_mat

matlab = pytest.importorskip("scipy.io")


def _write(folder: Path, images: np.ndarray, labels: np.ndarray, **options: bool) -> None:
    for part in ("train", "test"):
        arrays = {"X": np.moveaxis(images, 0, -1), "y": labels}
        matlab.savemat(folder / f"{part}_32x32.mat", arrays, **options)


@pytest.mark.parametrize("do_compression", [False, True])
def test_images_come_first_and_10_is_the_digit_0(
    tmp_path: Path, rng: np.random.Generator, do_compression: bool
) -> None:
    images = rng.integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    labels = np.array([[1], [10], [9], [2]], np.uint8)
    _write(tmp_path, images, labels, do_compression=do_compression)
    for part, given in (("train", tmp_path), ("test", tmp_path / "train_32x32.mat")):
        read = load_mat(part, given)
        np.testing.assert_array_equal(read.images, images)
        assert [read.classes[label] for label in read.labels] == ["1", "0", "9", "2"]


def test_numbers_of_every_kind_and_other_content_are_passed(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    images = rng.integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    others = {"note": "a text", "cells": np.array([[1], "b"], object), "z": np.array([[1 + 2j]])}
    for number_type in ("f8", "f4", "i2", "u4", "i8"):
        arrays = {"X": np.moveaxis(images, 0, -1), "y": np.array([[1, 10, 3]], number_type)}
        matlab.savemat(tmp_path / "test_32x32.mat", others | arrays)
        read = load_mat("test", tmp_path)
        np.testing.assert_array_equal(read.images, images)
        assert read.labels.tolist() == [1, 0, 3]


X = np.zeros((32, 32, 3, 2), np.uint8)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"X": X, "y": [[0], [1]]}, "y runs from 0 to 1; expected 1 to 10"),
        ({"X": X, "y": [[1.5], [1]]}, "y runs from 1.0 to 1.5; expected 1 to 10"),
        ({"X": X, "y": [[1]]}, "holds 2 images but 1 labels"),
        ({"X": X * 1.0, "y": [[1], [2]]}, "holds X float64 (32, 32, 3, 2), y int64 (2, 1); exp"),
        ({"dataset": np.zeros(3)}, "holds dataset float64 (1, 3); expected SVHN's X"),
        ({"X": "text", "y": "text"}, "expected SVHN's X"),
        ({}, "holds no arrays of numbers"),
    ],
)
def test_a_file_of_other_arrays_is_refused(tmp_path: Path, arrays: dict, said: str) -> None:
    path = tmp_path / "train_32x32.mat"
    matlab.savemat(path, arrays)
    assert said in refusal_of(path, lambda: load_mat("train", tmp_path))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "it is empty"),
        (b"<html>", "it is a web page"),
        (b"MATLAB 5.0 MAT-file" + bytes(300), "expected format 5"),
        (b"MATLAB 7.3 MAT-file" + bytes(300), "it is HDF5: save(..., '-v7')"),
    ],
)
def test_a_file_that_is_no_mat_file_is_refused(tmp_path: Path, data: bytes, said: str) -> None:
    (tmp_path / "test_32x32.mat").write_bytes(data)
    assert said in refusal_of(tmp_path, lambda: load_mat("test", tmp_path))


@pytest.mark.parametrize("do_compression", [False, True])
@pytest.mark.parametrize("cut", [130, 140, 1000, 5000])
def test_a_file_that_is_cut_off_is_refused(
    tmp_path: Path, rng: np.random.Generator, do_compression: bool, cut: int
) -> None:
    images = rng.integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    _write(tmp_path, images, np.ones((4, 1)), do_compression=do_compression)
    path = tmp_path / "test_32x32.mat"
    path.write_bytes(path.read_bytes()[:cut])
    message = refusal_of(path, lambda: load_mat("test", tmp_path))
    assert "truncated or damaged" in message and "copy or download it again" in message


def test_a_packed_file_that_would_fill_the_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lenet_paddle.data import idx

    monkeypatch.setattr(idx, "_MAX_UNPACKED", 1_000_000)
    images = np.zeros((2000, 32, 32, 3), np.uint8)
    _write(tmp_path, images, np.ones((2000, 1)), do_compression=True)
    message = refusal_of(tmp_path, lambda: load_mat("test", tmp_path))
    assert "over a hundredfold is refused" in message


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    _write(tmp_path, np.zeros((2, 32, 32, 3), np.uint8), np.ones((2, 1)))
    (tmp_path / "a" / "test_32x32.mat").symlink_to(tmp_path / "test_32x32.mat")
    assert "a link out of" in refusal_of(tmp_path, lambda: load_mat("test", tmp_path / "a"))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    message = refusal_of(tmp_path, lambda: load_mat("test", tmp_path))
    assert "test_32x32.mat: missing; expected SVHN's train_32x32.mat" in message
