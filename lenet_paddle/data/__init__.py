"""Room 1: files -> uint8 images with labels -> batches."""

from __future__ import annotations

import dataclasses
import logging
import typing
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from lenet_paddle.config import CLEAN, OWN_DATA, DatasetName, Preprocess, TrainConfig
from lenet_paddle.data import sources
from lenet_paddle.data.imageset import ImageSet, join_sets, stratified_draw
from lenet_paddle.data.mnist_c import load_mnist_c
from lenet_paddle.data.preprocess import SIZE
from lenet_paddle.errors import InputError

VAL_DRAW = sources.TEST_DRAW + 1  # else the same positions would be drawn twice
REPLAY = 0x7265706C  # sets its draws apart from others
DATASETS: tuple[str, ...] = typing.get_args(DatasetName)
_log = logging.getLogger(__name__)


def load_dataset(
    name: str,
    split: str,
    data_dir: str | Path | None = None,
    val_size: int = 5000,
    *,
    test_size: int | None = None,
    preprocess: Preprocess = "resize",
    corruption: str | None = None,
) -> ImageSet:
    """Load one split, "train", "val" or "test", of a data set as uint8 images with labels.

    `val` is cut from the training images: the last `val_size` of MNIST and Fashion-MNIST, a
    stratified draw for `folder` and `npz`, the same one for every run. Of `mnist_c` with a
    `corruption` it is the last `val_size` of that one; without one, all 15 (those that are there)
    are mixed evenly, and `val` is the last `val_size` of the mixture: the last images of each, as
    many from each. A `val_size` of more than half of a folder, npz or mnist_c becomes a tenth of
    it, and says so. `test_size` and `preprocess` matter for `folder` only (see
    `sources.load_folder`). Raises `InputError` for unknown names and bad files.
    """
    [image_set] = load_splits(
        name,
        (split,),
        data_dir,
        val_size,
        test_size=test_size,
        preprocess=preprocess,
        corruption=corruption,
    )
    return image_set


def load_splits(
    name: str,
    splits: Sequence[str],
    data_dir: str | Path | None = None,
    val_size: int = 5000,
    *,
    test_size: int | None = None,
    preprocess: Preprocess = "resize",
    corruption: str | None = None,
) -> list[ImageSet]:
    """Several splits of one data set (see `load_dataset`), each file read once."""
    if name not in DATASETS:
        raise InputError(f"dataset {name!r} is unknown; expected one of {', '.join(DATASETS)}")
    for split in splits:
        if split not in ("train", "val", "test"):
            raise InputError(f"split {split!r} is unknown; expected one of train, val, test")
    if name in OWN_DATA and data_dir is None:
        raise InputError(f"dataset {name} needs data_dir: the path of {OWN_DATA[name]}")
    if corruption is not None and name != "mnist_c":
        raise InputError(f"corruption {corruption} is for dataset mnist_c; dataset is {name}")
    path = None if data_dir is None else Path(data_dir)
    loaded: dict[str, ImageSet] = {}
    if name == "folder":
        full, loaded["test"] = sources.load_folder(path or Path(), preprocess, test_size)
    else:
        loaders: dict[str, Callable[..., ImageSet]] = {
            "mnist": sources.load_mnist,
            "fashion_mnist": sources.load_fashion_mnist,
            "npz": sources.load_npz,
            "mnist_c": partial(load_mnist_c, corruption=corruption),
        }
        load = loaders[name]
        if set(splits) != {"test"}:
            full = load("train", path)
        if "test" in splits:
            loaded["test"] = load("test", path)
    if set(splits) != {"test"}:
        train, val = _divide(full, name, val_size)
        loaded["train"], loaded["val"] = full.take(train), full.take(val)
        if name in ("folder", "npz"):  # class by class, it may be; the first N should hold all
            order = np.random.default_rng(0).permutation(len(loaded["train"]))
            loaded["train"] = loaded["train"].take(order)
    return [loaded[split] for split in splits]


def _divide(
    full: ImageSet, name: str, val_size: int
) -> tuple[slice | np.ndarray, slice | np.ndarray]:
    """Indices of the training and the validation images."""
    if val_size < 0:
        raise InputError(f"val_size is {val_size}; expected a whole number of 0 or more")
    if name not in OWN_DATA and val_size >= len(full):
        raise InputError(
            f"val_size {val_size:,} leaves no training image of {len(full):,}; lower it"
        )
    if val_size > 0 and len(full) < 2:
        raise InputError(f"val_size {val_size} leaves no training image of {len(full)}; add images")
    if name in OWN_DATA and val_size > len(full) // 2:
        tenth = max(1, len(full) // 10)
        _log.info("val_size %d is over half of %d images: %d are taken", val_size, len(full), tenth)
        val_size = tenth
    if name in ("folder", "npz") and val_size > 0:
        return stratified_draw(full.labels, val_size, VAL_DRAW)
    cut = len(full) - val_size
    return slice(0, cut), slice(cut, None)


def load_data(config: TrainConfig, *splits: str) -> list[ImageSet]:
    """The splits of the run's data set; of `train` the first `limit` images.

    Of mnist_c without a corruption these are a mixture, as many from each corruption. What the
    run replays stands behind the training images.
    """
    loaded = load_splits(
        config.dataset,
        splits,
        config.data_dir,
        config.val_size,
        test_size=config.test_size,
        preprocess=config.picture_mode,
        corruption=config.corruption,
    )
    for split, image_set in zip(splits, loaded, strict=True):
        height, width = image_set.images.shape[1:]
        if (height, width) != (SIZE, SIZE):
            raise InputError(
                f"{config.data_dir}: {split} images are {height}x{width}; expected {SIZE}x{SIZE}, "
                "the size that every picture is brought to: resize them first"
            )
    return [
        _add_replay(config, image_set.take(slice(0, config.limit)))
        if split == "train"
        else image_set
        for split, image_set in zip(splits, loaded, strict=True)
    ]


def _add_replay(config: TrainConfig, train: ImageSet) -> ImageSet:
    """`train`, and behind it `replay_share` times as many images, evenly from the training images
    of what `config.replay` names; the seed and the names decide which."""
    if config.replay is None:
        return train
    names = config.replay.split(",")
    quotas = np.diff(
        round(config.replay_share * len(train)) * np.arange(len(names) + 1) // len(names)
    )
    parts = [train]
    for number, (name, quota) in enumerate(zip(names, quotas, strict=True)):
        clean = {"dataset": "mnist", "data_dir": None, "corruption": None}
        own = clean if name == CLEAN else {"corruption": name}
        [other] = load_data(dataclasses.replace(config, replay=None, **own), "train")
        rng = np.random.default_rng((config.seed, len(names), number, REPLAY))
        drawn = rng.choice(len(other), min(int(quota), len(other)), replace=False)
        parts.append(other.take(np.sort(drawn)))
    return join_sets(parts)


def load_test_set(config: TrainConfig, classes: tuple[str, ...]) -> ImageSet:
    """The test images, of just the classes that the run was trained on (else `InputError`)."""
    [test_set] = load_data(config, "test")
    if test_set.classes != classes:
        raise InputError(
            f"{config.dataset} has the classes {', '.join(test_set.classes)}; "
            f"the run was trained on {', '.join(classes)}"
        )
    return test_set
