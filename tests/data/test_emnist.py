"""EMNIST, KMNIST and QMNIST are read in their published names and forms; EMNIST is turned."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from refusal_help import refusal, refusal_of

from lenet_paddle.data.emnist import CHARACTERS, load_emnist, load_kmnist, load_qmnist
from lenet_paddle.data.load import load_splits

Writer = Callable[[Path, np.ndarray], Path]


@pytest.fixture
def upright(rng: np.random.Generator) -> np.ndarray:
    """Return images of an L: a stroke down on the left, and one to the right at the bottom."""
    images = np.zeros((3, 28, 28), np.uint8)
    images[:, 4:24, 6] = images[:, 23, 6:18] = 255
    images[:, 0, 0] = rng.integers(1, 255, 3)
    return images


def _write_emnist(
    write_idx: Writer, folder: Path, name: str, images: np.ndarray, *labels: int
) -> None:
    for part in ("train", "test"):
        stem = folder / f"emnist-{name}-{part}"
        end = "" if part == "train" else ".gz"
        write_idx(Path(f"{stem}-images-idx3-ubyte{end}"), images.transpose(0, 2, 1))
        write_idx(Path(f"{stem}-labels-idx1-ubyte{end}"), np.array(labels))


@pytest.mark.parametrize(
    ("name", "in_file", "names"),
    [
        ("balanced", (10, 36, 46), ["A", "a", "t"]),
        ("byclass", (10, 36, 61), ["A", "a", "z"]),
        ("letters", (1, 2, 26), ["A", "B", "Z"]),
        ("digits", (0, 4, 9), ["0", "4", "9"]),
    ],
)
def test_emnist_is_turned_upright_and_its_classes_are_those_of_the_published_mapping(
    tmp_path: Path,
    write_idx: Writer,
    upright: np.ndarray,
    name: str,
    in_file: tuple[int, ...],
    names: list[str],
) -> None:
    _write_emnist(write_idx, tmp_path, name, upright, *in_file)
    for part in ("train", "test"):
        read = load_emnist(part, tmp_path, name)
        np.testing.assert_array_equal(read.images, upright)
        assert [read.classes[label] for label in read.labels] == names
        assert isinstance(read.images, np.memmap) == (part == "train")


def test_emnist_has_the_published_numbers_of_classes() -> None:
    counts = {name: len(set(characters)) for name, characters in CHARACTERS.items()}
    assert counts == {"balanced": 47, "letters": 26, "digits": 10, "byclass": 62}


def test_balanced_is_what_is_loaded_without_a_choice(
    tmp_path: Path, write_idx: Writer, upright: np.ndarray
) -> None:
    _write_emnist(write_idx, tmp_path, "balanced", upright, 0, 1, 2)
    [test] = load_splits("emnist", ["test"], tmp_path)
    assert test.num_classes == 47
    message = refusal_of(tmp_path, lambda: load_emnist("test", tmp_path, "letters"))
    assert "emnist-letters-test-images-idx3-ubyte" in message
    refused = refusal(lambda: load_splits("kmnist", ["test"], emnist_split="letters"))
    assert refused == "emnist_split letters is for dataset emnist; dataset is kmnist"


@pytest.mark.parametrize("label", [0, 27])
def test_a_letter_outside_1_to_26_is_refused(
    tmp_path: Path, write_idx: Writer, upright: np.ndarray, label: int
) -> None:
    _write_emnist(write_idx, tmp_path, "letters", upright, 1, label, 2)
    message = refusal_of(tmp_path, lambda: load_emnist("train", tmp_path, "letters"))
    assert f"label {label} at position 1; expected 1 to 26" in message


def test_kmnist_names_its_ten_hiragana(tmp_path: Path, write_idx: Writer) -> None:
    for part in ("train", "t10k"):
        write_idx(tmp_path / f"{part}-images-idx3-ubyte.gz", np.zeros((10, 28, 28)))
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte.gz", np.arange(10))
    read = load_kmnist("test", tmp_path)
    assert "".join(read.classes[label] for label in read.labels) == "おきすつなはまやれを"


def _write_qmnist(write_idx: Writer, folder: Path, table: np.ndarray, end: str) -> None:
    for part in ("train", "test"):
        write_idx(folder / f"qmnist-{part}-images-idx3-ubyte{end}", np.full((3, 28, 28), 7))
        data = struct.pack(">3I", 0xC02, *table.shape) + table.astype(">i4").tobytes()
        packed = gzip.compress(data) if end else data
        (folder / f"qmnist-{part}-labels-idx2-int{end}").write_bytes(packed)


@pytest.mark.parametrize("end", ["", ".gz"])
def test_qmnists_class_is_the_first_of_its_extended_labels(
    tmp_path: Path, write_idx: Writer, rng: np.random.Generator, end: str
) -> None:
    table = rng.integers(-1, 60_000, (3, 8))
    table[:, 0] = 5, 0, 9
    _write_qmnist(write_idx, tmp_path, table, end)
    read = load_qmnist("test", tmp_path)
    assert read.labels.tolist() == [5, 0, 9] and read.labels.dtype == np.int64
    table[1, 0] = -3
    _write_qmnist(write_idx, tmp_path, table, end)
    message = refusal_of(tmp_path, lambda: load_qmnist("train", tmp_path))
    assert "label -3 at position 1; expected 0 to 9" in message


def test_a_missing_file_of_qmnist_is_named_as_published(tmp_path: Path, write_idx: Writer) -> None:
    write_idx(tmp_path / "qmnist-train-images-idx3-ubyte", np.zeros((1, 28, 28)))
    message = refusal_of(tmp_path, lambda: load_qmnist("train", tmp_path))
    assert "qmnist-train-labels-idx2-int or qmnist-train-labels-idx2-int.gz" in message


@pytest.mark.parametrize("place", ["raw", "EMNIST/raw", "gzip"])
def test_emnist_is_found_in_torchvisions_folders_and_in_the_published_archives(
    tmp_path: Path,
    write_idx: Writer,
    upright: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
) -> None:
    _write_emnist(write_idx, tmp_path / "data" / place, "digits", upright, 0, 1, 2)
    assert len(load_emnist("train", tmp_path / "data", "digits")) == 3
    (tmp_path / "linked").mkdir()
    first = place.partition("/")[0]
    (tmp_path / "linked" / first).symlink_to(tmp_path / "data" / first)
    linked = tmp_path / "linked"
    assert "a link out of" in refusal_of(linked, lambda: load_emnist("train", linked, "digits"))
    monkeypatch.chdir(tmp_path)
    if place == "EMNIST/raw":
        assert len(load_emnist("train", None, "digits")) == 3
    else:
        message = refusal(lambda: load_emnist("train", None, "digits"))
        assert "was not found in data/EMNIST/raw, where torchvision keeps it" in message
        assert "emnist-digits-train-images-idx3-ubyte.gz" in message and "--data-dir" in message
