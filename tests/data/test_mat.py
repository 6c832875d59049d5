"""SVHN's MATLAB files: the order of the axes, 10 for the digit 0, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from refusal_help import refusal, refusal_of

from lenet_paddle import runtime
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


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        (
            {"X": np.zeros((32, 32, 3, 2), np.uint8), "y": [[0], [1]]},
            "y runs from 0 to 1; expected",
        ),
        ({"X": np.zeros((32, 32, 3, 2), np.uint8), "y": [[1]]}, "holds 2 images but 1 labels"),
        ({"X": np.zeros((32, 32, 3, 2)), "y": [[1], [2]]}, "holds X (32, 32, 3, 2), y (2, 1); exp"),
        ({"dataset": np.zeros(3)}, "holds dataset (1, 3); expected SVHN's X"),
        ({"X": "text", "y": "text"}, "expected SVHN's X"),
    ],
)
def test_a_file_of_other_arrays_is_refused(tmp_path: Path, arrays: dict, said: str) -> None:
    matlab.savemat(tmp_path / "train_32x32.mat", arrays)
    path = tmp_path / "train_32x32.mat"
    assert said in refusal_of(path, lambda: load_mat("train", tmp_path))


@pytest.mark.parametrize("data", [b"", b"<html>", b"MATLAB 5.0 MAT-file" + bytes(300), b"\x89HDF"])
def test_a_file_that_is_no_mat_file_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "test_32x32.mat").write_bytes(data)
    assert "test_32x32.mat" in refusal_of(tmp_path, lambda: load_mat("test", tmp_path))


def test_a_packed_file_that_would_fill_the_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lenet_paddle.data import idx

    monkeypatch.setattr(idx, "_MAX_UNPACKED", 1_000_000)
    images = np.zeros((2000, 32, 32, 3), np.uint8)
    _write(tmp_path, images, np.ones((2000, 1)), do_compression=True)
    message = refusal_of(tmp_path, lambda: load_mat("test", tmp_path))
    assert "over a hundredfold is refused" in message


def test_a_missing_file_or_package_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = refusal_of(tmp_path, lambda: load_mat("test", tmp_path))
    assert "test_32x32.mat: missing; expected SVHN's train_32x32.mat" in message

    def missing(name: str) -> None:
        raise ImportError(name)

    (tmp_path / "test_32x32.mat").write_bytes(b"x")
    monkeypatch.setattr(runtime.importlib, "import_module", missing)
    assert "pip install '.[mat]'" in refusal(lambda: load_mat("test", tmp_path))
