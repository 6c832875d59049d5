"""`load_dataset`: names, and the division into training, validation and test images."""

from __future__ import annotations

import gzip
import itertools
import logging
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lenet_paddle.config import TrainConfig
from lenet_paddle.data import sources
from lenet_paddle.data.datasets import DATASETS
from lenet_paddle.data.load import load_data, load_dataset
from lenet_paddle.errors import InputError

Writer = Callable[[Path, np.ndarray], Path]


@pytest.fixture
def tree(write_tree: Callable[[int, int], Path]) -> Path:
    return write_tree(30, 10)


def _values(folder: Path, split: str, **settings: int) -> list[int]:
    return load_dataset("folder", split, folder, **settings).images[:, 0, 0].tolist()


def test_an_unknown_name_or_split_lists_the_valid_ones() -> None:
    with pytest.raises(InputError, match="'cifar' is unknown; expected one of") as caught:
        load_dataset("cifar", "train")
    assert [name for name in DATASETS if name not in str(caught.value)] == []
    with pytest.raises(InputError, match="'dev' is unknown; expected one of train, val, test"):
        load_dataset("mnist", "dev")


@pytest.mark.parametrize("name", ["folder", "npz"])
def test_data_of_ones_own_needs_its_path(name: str) -> None:
    with pytest.raises(InputError, match=f"dataset {name} needs data_dir"):
        load_dataset(name, "train")


def test_the_last_five_thousand_training_digits_are_for_validation() -> None:
    full = sources.load_mnist("train", None)
    train, val = load_dataset("mnist", "train"), load_dataset("mnist", "val")
    assert (len(train), len(val)) == (55_000, 5_000)
    assert np.array_equal(train.images, full.images[:55_000])
    assert np.array_equal(val.images, full.images[-5_000:])
    np.testing.assert_array_equal(np.r_[train.labels, val.labels], full.labels)


@pytest.mark.parametrize(("val_size", "expected"), [(0, (60_000, 0)), (59_999, (1, 59_999))])
def test_val_size_decides_how_many_digits_are_held_out(
    val_size: int, expected: tuple[int, int]
) -> None:
    sizes = (len(load_dataset("mnist", split, val_size=val_size)) for split in ("train", "val"))
    assert tuple(sizes) == expected


@pytest.mark.parametrize("val_size", [60_000, 70_000])
def test_a_val_size_that_leaves_no_digit_is_refused(val_size: int) -> None:
    with pytest.raises(InputError, match=f"val_size {val_size:,} leaves no training image"):
        load_dataset("mnist", "train", val_size=val_size)


def test_a_negative_val_size_is_refused() -> None:
    with pytest.raises(InputError, match="val_size"):
        load_dataset("mnist", "train", val_size=-1)


def test_the_test_set_does_not_depend_on_val_size() -> None:
    ours = load_dataset("mnist", "test", val_size=0)
    np.testing.assert_array_equal(ours.images, load_dataset("mnist", "test").images)
    assert len(ours) == 10_000


@pytest.mark.parametrize("val_size", [8, 18, 5000, 0])
def test_train_val_and_test_of_a_folder_are_disjoint_and_complete(
    tree: Path, val_size: int
) -> None:
    splits = [_values(tree, split, val_size=val_size) for split in ("train", "val", "test")]
    assert sorted(itertools.chain(*splits)) == list(range(40))


def test_the_validation_pictures_are_drawn_from_each_class_by_its_share(tree: Path) -> None:
    # test takes 3 + 1 of 30 + 10; of the 27 + 9 left, 8 are 6 + 2
    val = load_dataset("folder", "val", tree, val_size=8)
    assert np.bincount(val.labels).tolist() == [6, 2]
    test = load_dataset("folder", "test", tree)
    assert np.bincount(test.labels).tolist() == [3, 1]


@pytest.mark.parametrize("dataset", ["folder", "npz"])
def test_every_seed_has_the_same_training_validation_and_test_images(
    tree: Path, tmp_path: Path, dataset: str
) -> None:
    """Otherwise a run would be tested on images that its initial weights were trained on."""
    data_dir = tree
    if dataset == "npz":
        train, test = (load_dataset("folder", split, tree, 0) for split in ("train", "test"))
        data_dir = tmp_path / "a.npz"
        arrays = {"x_test": test.images, "y_test": test.labels}
        np.savez(data_dir, x_train=train.images, y_train=train.labels, **arrays)
    divided = []
    for seed in (0, 1):
        config = TrainConfig(dataset=dataset, data_dir=str(data_dir), val_size=8, seed=seed)
        sets = load_data(config, "train", "val", "test")
        divided.append([sorted(one.images[:, 0, 0].tolist()) for one in sets])
    assert divided[0] == divided[1]


def test_a_val_size_of_over_half_becomes_a_tenth_and_says_so(
    tree: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "lenet_paddle"):
        assert len(_values(tree, "val", val_size=19)) == 3  # of the 36 that test leaves
    assert "val_size 19 is over half of 36 images: 3 are taken" in caplog.text
    caplog.clear()
    assert len(_values(tree, "val", val_size=18)) == 18
    assert caplog.text == ""


def test_a_folder_too_small_to_train_on_is_refused(tmp_path: Path, write_picture: Writer) -> None:
    for name in "ab":  # one is drawn for test, the other for validation
        write_picture(tmp_path / name / "1.png", np.zeros((28, 28)))
    with pytest.raises(InputError, match="leaves no training image"):
        load_dataset("folder", "train", tmp_path)


def test_a_npz_file_is_divided_like_a_folder(tmp_path: Path) -> None:
    values = np.arange(40, dtype=np.uint8)
    images = np.broadcast_to(values[:, None, None], (40, 28, 28))
    path = tmp_path / "a.npz"
    np.savez(path, x_train=images, y_train=values % 2, x_test=images[:4], y_test=values[:4] % 2)
    train, val = (load_dataset("npz", split, path, val_size=10) for split in ("train", "val"))
    assert sorted([*train.images[:, 0, 0], *val.images[:, 0, 0]]) == values.tolist()
    assert np.bincount(val.labels).tolist() == [5, 5]
    assert len(load_dataset("npz", "test", path)) == 4


def _pack_zeros(path: Path, count: int) -> None:
    """Write an archive of `count` black images that is a thousandth of their size."""
    arrays = {
        "x_train": (count, 28, 28),
        "y_train": (count,),
        "x_test": (2, 28, 28),
        "y_test": (2,),
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, shape in arrays.items():
            with archive.open(f"{name}.npy", "w") as file:
                header = {"descr": "|u1", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
                for _ in range(shape[0]):
                    file.write(bytes(int(np.prod(shape[1:]))))


def _pack_idx(path: Path, count: int) -> None:
    path.mkdir()
    for part, number in (("train", count), ("t10k", 2)):
        with gzip.open(path / f"{part}-images-idx3-ubyte.gz", "wb") as file:
            file.write(struct.pack(">4I", 0x803, number, 28, 28))
            for _ in range(number):
                file.write(bytes(784))
        with gzip.open(path / f"{part}-labels-idx1-ubyte.gz", "wb") as file:
            file.write(struct.pack(">2I", 0x801, number) + bytes(number))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "pack", "most"), [("npz", _pack_zeros, 2.3), ("mnist", _pack_idx, 1.4)]
)
def test_a_small_archive_of_much_data_takes_a_small_multiple_of_the_data(
    tmp_path: Path, name: str, pack: Callable[[Path, int], None], most: float
) -> None:
    count = 400_000
    pack(tmp_path / "data.npz", count)
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from lenet_paddle.data.load import load_splits\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024\n"
        "import lenet_paddle.data.sources; before = peak()\n"
        "load_splits(sys.argv[1], ('train', 'val', 'test'), Path(sys.argv[2]), 5000)\n"
        "print(peak() - before)"
    )
    command = [sys.executable, "-c", code, name, str(tmp_path / "data.npz")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) < most * count * 784
