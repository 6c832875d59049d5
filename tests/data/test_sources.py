"""The embedded MNIST is the original; Fashion-MNIST and .npz files are read strictly."""

from __future__ import annotations

import gzip
import hashlib
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from refusal_help import refusal_of

from lenet_paddle.data import npz, sources

Writer = Callable[[Path, np.ndarray], Path]

README = (sources.EMBEDDED / "README.md").read_text(encoding="utf-8")
CANONICAL = re.findall(r"^\| (\S+-ubyte) \| ([\d,]+) \| ([0-9a-f]{32}) \|$", README, re.M)


# --- MNIST ---


@pytest.mark.parametrize(("name", "size", "md5"), CANONICAL, ids=[row[0] for row in CANONICAL])
def test_the_embedded_files_are_the_canonical_ones(name: str, size: str, md5: str) -> None:
    data = gzip.decompress((sources.EMBEDDED / f"{name}.gz").read_bytes())
    assert len(data) == int(size.replace(",", ""))
    assert hashlib.md5(data, usedforsecurity=False).hexdigest() == md5


def test_the_table_of_checksums_covers_all_embedded_files() -> None:
    assert {f"{row[0]}.gz" for row in CANONICAL} == {p.name for p in sources.EMBEDDED.glob("*.gz")}
    assert len(CANONICAL) == 4


# Images of each digit 0..9, as everyone counts them in MNIST.
COUNTS = {
    "train": [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
    "test": [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
}


@pytest.mark.parametrize("part", COUNTS)
def test_mnist_has_its_known_shape_and_number_of_each_digit(part: str) -> None:
    digits = sources.load_mnist(part, None)
    assert digits.images.shape == (sum(COUNTS[part]), 28, 28)
    assert np.bincount(digits.labels).tolist() == COUNTS[part]
    assert digits.classes == tuple("0123456789")
    assert (digits.images[:, 0, 0] == 0).all()  # white on black


# --- IDX files of one's own ---

PARTS = {"train": "train", "test": "t10k"}


def _write_set(
    write_idx: Writer, folder: Path, part: str, images: np.ndarray, labels: np.ndarray, end: str
) -> None:
    write_idx(folder / f"{PARTS[part]}-images{end.replace('#', '3')}", images)
    write_idx(folder / f"{PARTS[part]}-labels{end.replace('#', '1')}", labels)


@pytest.mark.parametrize("end", ["-idx#-ubyte", "-idx#-ubyte.gz", ".idx#-ubyte", ".idx#-ubyte.gz"])
@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("load", [sources.load_mnist, sources.load_fashion_mnist])
def test_idx_files_are_found_under_every_name_in_circulation(
    tmp_path: Path, write_idx: Writer, rng: np.random.Generator, load: Callable, part: str, end: str
) -> None:
    images = rng.integers(0, 256, (3, 28, 28), dtype=np.uint8)
    _write_set(write_idx, tmp_path, part, images, np.array([9, 0, 4]), end)
    read = load(part, tmp_path)
    np.testing.assert_array_equal(read.images, images)
    assert read.labels.tolist() == [9, 0, 4]


@pytest.mark.parametrize("load", [sources.load_mnist, sources.load_fashion_mnist])
def test_a_missing_idx_file_is_named(tmp_path: Path, write_idx: Writer, load: Callable) -> None:
    assert "is not a folder" in refusal_of(
        tmp_path / "nowhere", lambda: load("test", tmp_path / "nowhere")
    )
    assert "t10k-images-idx3-ubyte" in refusal_of(tmp_path, lambda: load("test", tmp_path))
    write_idx(tmp_path / "t10k-images-idx3-ubyte", np.zeros((1, 28, 28)))
    assert "t10k-labels-idx1-ubyte" in refusal_of(tmp_path, lambda: load("test", tmp_path))


@pytest.mark.parametrize(
    ("num_images", "num_labels", "said"),
    [(3, 2, r"holds 3 images but 2 labels"), (0, 0, "holds no image")],
)
def test_idx_files_that_do_not_belong_together_are_refused(
    tmp_path: Path, write_idx: Writer, num_images: int, num_labels: int, said: str
) -> None:
    images, labels = np.zeros((num_images, 28, 28)), np.zeros(num_labels)
    _write_set(write_idx, tmp_path, "train", images, labels, "-idx#-ubyte")
    message = refusal_of(tmp_path, lambda: sources.load_mnist("train", tmp_path))
    assert re.search(said, message)


# --- Fashion-MNIST ---


def test_fashion_mnist_names_its_ten_classes(tmp_path: Path, write_idx: Writer) -> None:
    _write_set(write_idx, tmp_path, "test", np.zeros((1, 28, 28)), np.array([9]), "-idx#-ubyte.gz")
    fashion = sources.load_fashion_mnist("test", tmp_path)
    assert fashion.num_classes == 10
    assert fashion.classes[fashion.labels[0]] == "Ankle boot"


def test_fashion_mnist_is_taken_from_paddles_cache_without_a_download(
    tmp_path: Path, write_idx: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sources, "download", None)  # a call would fail
    cache = tmp_path / ".cache/paddle/dataset/fashion-mnist"
    _write_set(write_idx, cache, "train", np.full((2, 28, 28), 3), np.ones(2), "-idx#-ubyte.gz")
    assert (sources.load_fashion_mnist("train", None).images == 3).all()


def test_fashion_mnist_that_cannot_be_had_names_all_the_ways(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    import paddle

    def no_network(**_: object) -> None:
        print("Cache file not found, downloading ...")
        raise ConnectionError("no route\nto host")

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sources, "_find_one", lambda *_: None)  # Debian's package may be there
    monkeypatch.setattr(paddle.vision.datasets, "FashionMNIST", no_network)
    message = refusal_of(tmp_path, lambda: sources.load_fashion_mnist("train", None))
    ways = [str(tmp_path / ".cache/paddle/dataset/fashion-mnist"), "/usr/share/datasets"]
    ways += ["download failed (ConnectionError)", "--data-dir", "dataset-fashion-mnist", "four IDX"]
    assert [way for way in ways if way not in message] == []


# --- npz ---


@pytest.fixture
def keras(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Return arrays as in Keras's MNIST file."""
    return {
        "x_train": rng.integers(0, 256, (6, 28, 28), dtype=np.uint8),
        "y_train": np.array([0, 1, 2, 0, 1, 2], np.uint8),
        "x_test": rng.integers(0, 256, (2, 28, 28), dtype=np.uint8),
        "y_test": np.array([1, 1], np.uint8),
    }


def _save_folder(folder: Path, **arrays: np.ndarray) -> None:
    """Write each array to a .npy file."""
    folder.mkdir()
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed, _save_folder])
@pytest.mark.parametrize("channel", [False, True])
def test_a_npz_file_in_keras_layout_is_read_as_it_is(
    tmp_path: Path, keras: dict[str, np.ndarray], save: Callable, channel: bool
) -> None:
    stored = {k: v[..., None] if channel and k[0] == "x" else v for k, v in keras.items()}
    save(tmp_path / "a.npz", **stored)
    for part in ("train", "test"):
        read = npz.load_npz(part, tmp_path / "a.npz")
        np.testing.assert_array_equal(read.images, keras[f"x_{part}"])
        np.testing.assert_array_equal(read.labels, keras[f"y_{part}"])
        assert read.labels.dtype == np.int64
        assert read.classes == ("0", "1", "2")
        assert isinstance(read.images, np.memmap) == (save is _save_folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"x_train": None}, "has y_train, x_test, y_test; expected x_train"),
        ({"y_train": None}, "expected x_train, y_train, x_test, y_test"),
        ({"x_train": np.array([{}] * 6)}, "not a readable .npz file"),
        ({"y_train": np.array(["0"] * 6, object)}, "not a readable .npz file"),
        (
            {"x_train": np.full((6, 28, 28), 255.5)},
            "float64 from 255.5 to 255.5; expected 0 to 255",
        ),
        ({"x_train": np.zeros((6, 28, 28, 2), np.uint8)}, "(6, 28, 28, 2); expected uint8"),
        ({"y_train": np.full(6, 0.5)}, "y_train is float64 (6,); expected whole numbers"),
        ({"y_train": np.ones((6, 6), int)}, "y_train is int64 (6, 6); expected whole numbers"),
        ({"y_train": np.array([0, 1, -1, 0, 1, 2])}, "expected whole numbers from 0"),
        ({"y_train": np.zeros(5, int)}, "6 images but labels of shape (5,)"),
        ({"y_train": np.array([0, 1, 2, 0, 1, 2_000_000])}, "y_train"),
        ({"x_train": np.zeros((0, 28, 28), np.uint8), "y_train": np.zeros(0, int)}, "y_train is"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
@pytest.mark.parametrize("save", [np.savez, _save_folder])
def test_arrays_in_another_layout_are_refused(
    tmp_path: Path, keras: dict[str, np.ndarray], change: dict, said: str, save: Callable
) -> None:
    path = tmp_path / "a.npz"
    save(path, **{k: v for k, v in (keras | change).items() if v is not None})
    if save is _save_folder:
        said = said.replace(".npz file", ".npy file")
        said = "x_test, x_train, y_test; expected" if said.startswith("expected x_") else said
        said = said.replace("has y_train, x_test, y_test", "has x_test, y_test, y_train")
    assert said in refusal_of(path, lambda: npz.load_npz("train", path))


def test_an_entry_that_is_no_array_is_refused(tmp_path: Path, keras: dict[str, np.ndarray]) -> None:
    np.savez(tmp_path / "a.npz", **{k: v for k, v in keras.items() if k != "y_train"})
    with zipfile.ZipFile(tmp_path / "a.npz", "a") as archive:
        archive.writestr("y_train.npy", b"[0, 1]")
    message = refusal_of(tmp_path, lambda: npz.load_npz("train", tmp_path / "a.npz"))
    assert "y_train is no array" in message


def test_a_test_label_that_training_never_shows_is_refused(
    tmp_path: Path, keras: dict[str, np.ndarray]
) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, **(keras | {"y_test": np.array([0, 3])}))
    message = refusal_of(path, lambda: npz.load_npz("test", path))
    assert "y_test has class 3, but y_train has 0 to 2; add images of it to x_train" in message


def _not_npz(tmp_path: Path, keras: dict[str, np.ndarray]) -> dict[str, bytes]:
    np.save(tmp_path / "a.npy", keras["x_train"])
    np.savez_compressed(tmp_path / "a.npz", **(keras | {"x_train": keras["x_train"] // 32}))
    whole = (tmp_path / "a.npz").read_bytes()
    middle = 1000  # inside the deflated x_train
    return {
        "text": b"x_train = 3\n",
        "empty": b"",
        "npy": (tmp_path / "a.npy").read_bytes(),
        "cut": whole[:-100],
        "flipped": whole[:middle] + b"\xff" * 64 + whole[middle + 64 :],
    }


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("text", "expected a zip archive"),
        ("empty", "it is empty: copy or download it again"),
        ("npy", "it is one array"),
        ("cut", "it is cut off or damaged: copy or download it again"),
        ("flipped", ""),
    ],
)
def test_a_file_that_is_not_npz_is_refused(
    tmp_path: Path, keras: dict[str, np.ndarray], kind: str, said: str
) -> None:
    path = tmp_path / "b.npz"
    path.write_bytes(_not_npz(tmp_path, keras)[kind])
    message = refusal_of(path, lambda: npz.load_npz("train", path))
    assert "not a readable .npz file" in message and "pickle" not in message
    assert said in message
