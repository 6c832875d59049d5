"""Room 1: files -> uint8 images with labels -> batches."""

from __future__ import annotations

import functools
import logging
import typing
from pathlib import Path

import numpy as np

from lenet_paddle.config import DatasetName, InputError, Preprocess
from lenet_paddle.data import sources
from lenet_paddle.data.imageset import ImageSet, stratified_draw

DATASETS: tuple[str, ...] = typing.get_args(DatasetName)
_log = logging.getLogger(__name__)


def load_dataset(
    name: str,
    split: str,
    data_dir: str | Path | None = None,
    val_size: int = 5000,
    seed: int = 0,
    *,
    test_size: int | None = None,
    preprocess: Preprocess = "resize",
) -> ImageSet:
    """Load one split, "train", "val" or "test", of a data set as uint8 images with labels.

    `val` is cut from the training images: the last `val_size` of MNIST and Fashion-MNIST, a
    stratified draw by `seed` for `folder` and `npz`. A `val_size` of more than half of a folder
    or npz becomes a tenth of it, and says so. `test_size` and `preprocess` matter for `folder`
    only (see `sources.load_folder`). Raises `InputError` for unknown names and bad files.
    """
    if name not in DATASETS:
        raise InputError(f"dataset {name!r} is unknown; expected one of {', '.join(DATASETS)}")
    if split not in ("train", "val", "test"):
        raise InputError(f"split {split!r} is unknown; expected one of train, val, test")
    if name in ("folder", "npz") and data_dir is None:
        raise InputError(f"dataset {name} needs data_dir")
    path = None if data_dir is None else Path(data_dir)
    if split == "test":
        return _load_part(name, "test", path, test_size, seed, preprocess)
    full = _load_part(name, "train", path, test_size, seed, preprocess)
    train, val = _divide(full, name, val_size, seed)
    return full.take(train if split == "train" else val)


@functools.lru_cache(maxsize=2)  # `train` and `val` come from one reading of the files
def _load_part(
    name: str,
    part: str,
    data_dir: Path | None,
    test_size: int | None,
    seed: int,
    preprocess: Preprocess,
) -> ImageSet:
    if name == "mnist":
        image_set = sources.load_mnist(part, data_dir)
    elif name == "fashion_mnist":
        image_set = sources.load_fashion_mnist(part, data_dir)
    elif name == "npz":
        image_set = sources.load_npz(part, data_dir or Path())
    else:
        image_set = sources.load_folder(part, data_dir or Path(), preprocess, test_size, seed)
    image_set.images.setflags(write=False)  # shared by all who ask
    image_set.labels.setflags(write=False)
    return image_set


def _divide(
    full: ImageSet, name: str, val_size: int, seed: int
) -> tuple[slice | np.ndarray, slice | np.ndarray]:
    """Indices of the training and the validation images."""
    if name in ("mnist", "fashion_mnist") or val_size == 0:
        if val_size >= len(full):
            raise InputError(
                f"val_size {val_size:,} leaves no training image of {len(full):,}; lower it"
            )
        cut = len(full) - val_size
        return slice(0, cut), slice(cut, None)
    if val_size > len(full) // 2:
        tenth = max(1, len(full) // 10)
        _log.info("val_size %d is over half of %d images: %d are taken", val_size, len(full), tenth)
        val_size = tenth
    # Another seed than the test draw's: else the same positions would be drawn twice.
    return stratified_draw(full.labels, val_size, seed + 1)
