"""Every data set has its record, loads by it, and asks for a path where it needs one."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from lenet_paddle.config import TrainConfig
from lenet_paddle.data import sources
from lenet_paddle.data.corrupt import _RECIPES
from lenet_paddle.data.datasets import (
    CORRUPTIONS,
    DATASETS,
    DIGITS,
    IDENTITY,
    DatasetRecord,
    describe_data,
)
from lenet_paddle.data.load import find_loader, load_splits
from lenet_paddle.data.mnist_c import write_mnist_c
from lenet_paddle.errors import InputError
from lenet_paddle.export.card import _licence


@pytest.fixture
def paths(
    tmp_path_factory: pytest.TempPathFactory,
    write_tree: Callable[[int, int], Path],
    write_idx: Callable[[Path, np.ndarray], Path],
) -> dict[str, Path | None]:
    """Make a small example of each data set; None stands for the embedded MNIST."""
    root, labels = tmp_path_factory.mktemp("data"), np.arange(40) % 10
    images = np.zeros((40, 28, 28), np.uint8)
    np.savez(root / "a.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    for part, prefix in (("train", "train"), ("test", "t10k")):
        write_idx(root / "idx" / f"{prefix}-images-idx3-ubyte", images)
        write_idx(root / "idx" / f"{prefix}-labels-idx1-ubyte", labels.astype(np.uint8))
        write_idx(root / "idx" / f"emnist-balanced-{part}-images-idx3-ubyte", images)
        write_idx(root / "idx" / f"emnist-balanced-{part}-labels-idx1-ubyte", labels)
        write_idx(root / "idx" / f"qmnist-{part}-images-idx3-ubyte", images)
        write_idx(root / "idx" / f"qmnist-{part}-labels-idx1-ubyte", labels)
        (root / "csv").mkdir(exist_ok=True)
        table = np.column_stack([labels, images.reshape(40, -1)])
        np.savetxt(root / "csv" / f"{part}.csv", table, "%d", ",")
        (root / "mat").mkdir(exist_ok=True)
        colour = np.zeros((32, 32, 3, 40), np.uint8)
        savemat(root / "mat" / f"{part}_32x32.mat", {"X": colour, "y": (labels % 10 + 1)[:, None]})
        write_mnist_c(root / "mnist_c", [IDENTITY, "stripe"], limit=40, parts=[part])
    (root / "cifar").mkdir()
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        (root / "cifar" / f"{name}.bin").write_bytes(bytes(8 * 3073))
    return {
        "mnist": None,
        "fashion_mnist": root / "idx",
        "cifar10": root / "cifar",
        "emnist": root / "idx",
        "kmnist": root / "idx",
        "qmnist": root / "idx",
        "folder": write_tree(30, 10),
        "npz": root / "a.npz",
        "csv": root / "csv",
        "mat": root / "mat",
        "mnist_c": root / "mnist_c",
    }


@pytest.mark.parametrize("name", DATASETS)
def test_a_data_set_loads_its_three_splits_with_the_classes_of_its_record(
    name: str, paths: dict[str, Path | None]
) -> None:
    record = DATASETS[name]
    train, val, test = load_splits(name, ("train", "val", "test"), paths[name], 4)
    assert len(val) == 4 and len(train) > 4 and len(test)
    assert train.classes == val.classes == test.classes
    assert record.classes in (None, train.classes)


@pytest.mark.parametrize("name", DATASETS)
def test_a_data_set_needs_its_path_exactly_where_its_record_says_of_what(name: str) -> None:
    needed = DATASETS[name].data_dir
    if needed is None:
        assert TrainConfig(dataset=name).dataset == name
        return
    for ask in (lambda: TrainConfig(dataset=name), lambda: load_splits(name, ["train"])):
        with pytest.raises(InputError, match=f"dataset {name} needs data_dir") as caught:
            ask()
        assert needed in str(caught.value)


@pytest.mark.parametrize("record", DATASETS.values(), ids=DATASETS)
def test_a_loader_takes_a_part_a_path_and_the_options_of_the_record(record: DatasetRecord) -> None:
    assert list(inspect.signature(find_loader(record)).parameters) == [
        *("part", "data_dir"),
        *record.options,
    ]


@pytest.mark.parametrize("record", DATASETS.values(), ids=DATASETS)
def test_a_published_data_set_has_title_credit_and_licence(record: DatasetRecord) -> None:
    facts = (record.title, record.credit, record.licence)
    assert all(facts) or facts == (None, None, None)
    assert record.content and (record.title or "own data") in record.terms


def test_the_card_and_the_page_name_the_data_as_the_record_does() -> None:
    assert DATASETS["mnist"].terms == (
        "MNIST by Yann LeCun and Corinna Cortes, CC BY-SA 3.0: grey digits, 28x28"
    )
    assert DATASETS["mnist"].terms in _licence(TrainConfig())
    title, unknown = describe_data("fashion_mnist"), describe_data("shapes")
    assert (title["dataset_title"], title["is_light_on_dark"]) == ("Fashion-MNIST", True)
    assert (unknown["dataset_title"], unknown["is_light_on_dark"]) == (None, False)


def test_own_data_and_a_val_size_that_may_shrink_are_two_facts(
    monkeypatch: pytest.MonkeyPatch, paths: dict[str, Path | None]
) -> None:
    strict = dataclasses.replace(DATASETS["npz"], may_shrink_val=False)
    monkeypatch.setitem(DATASETS, "npz", strict)
    with pytest.raises(InputError, match="val_size 40 leaves no training image of 40"):
        load_splits("npz", ["train"], paths["npz"], 40)


def test_a_record_without_a_loader_cannot_be_made() -> None:
    facts = {name: getattr(DATASETS["mnist"], name) for name in DatasetRecord.__annotations__}
    del facts["loader"]
    with pytest.raises(TypeError, match="loader"):
        DatasetRecord(**facts)


def test_the_corruptions_that_are_made_are_those_that_are_named() -> None:
    assert tuple(_RECIPES) == (*CORRUPTIONS, IDENTITY)
    assert DATASETS["mnist_c"].classes == DIGITS == sources.load_mnist("test", None).classes
