"""Load the splits of a data set: train, val and test."""

from __future__ import annotations

import dataclasses
import importlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lenet_paddle.data.checks import check_splits
from lenet_paddle.data.datasets import (
    CLEAN,
    SPECIAL,
    DataConfig,
    DatasetRecord,
    Preprocess,
    check_request,
    find_dataset,
)
from lenet_paddle.data.form import Channels, Side, bring_to_form, choose_form
from lenet_paddle.data.imageset import ImageSet, join_sets, normal_name, stratified_draw
from lenet_paddle.data.sources import TEST_DRAW
from lenet_paddle.errors import InputError, Say, one_line

VAL_DRAW = TEST_DRAW + 1  # another seed, else the same positions would be drawn twice
REPLAY = 0x7265706C  # separates its draws from others
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
    scale: float | None = None,
    label_column: str | None = None,
    emnist_split: str | None = None,
    skip_unreadable: bool = False,
    channels: Channels = "auto",
    image_size: Side = "auto",
) -> ImageSet:
    """Load one split, "train", "val" or "test", of a data set as uint8 images with labels.

    `val` is cut from the training images unless the data has its own: the last `val_size` of them,
    or, where the record says `is_sorted`, a stratified draw, the same in every run. mnist_c with a
    `corruption` holds out its last `val_size` images; without one, all 15 corruptions (those that
    are there) are mixed evenly and `val` is the end of the mixture. Where the record says
    `may_shrink_val`, a `val_size` of over half of the images becomes a tenth of them, with a
    message. Each loader takes those of the other arguments that are in its record's `options` and
    says what they mean, as `folder.load_folder`. `channels` and `image_size` are the form of the
    images, by default that of the data (see `form.choose_form`). Raises `InputError` for unknown
    names and bad files.
    """
    [image_set] = load_splits(
        name,
        (split,),
        data_dir,
        val_size,
        test_size=test_size,
        preprocess=preprocess,
        corruption=corruption,
        scale=scale,
        label_column=label_column,
        emnist_split=emnist_split,
        skip_unreadable=skip_unreadable,
        channels=channels,
        image_size=image_size,
    )
    return image_set


def load_splits(
    name: str,
    splits: Sequence[str],
    data_dir: str | Path | None = None,
    val_size: int = 5000,
    say: Say = _log.warning,
    *,
    channels: Channels = "auto",
    image_size: Side = "auto",
    **given: Any,
) -> list[ImageSet]:
    """Load several splits of one data set (see `load_dataset`), reading each file once.

    `given` are options of loaders; each data set's gets those that it takes. What is odd about
    the data goes to `say` once all is loaded: what is skipped or not used, copies of training
    images, classes with few images.
    """
    for split in splits:
        if split not in ("train", "val", "test"):
            raise InputError(f"split {split!r} is unknown; expected one of train, val, test")
    special = {key: given.get(key) for key in SPECIAL}
    check_request(name, data_dir, **special)
    record = find_dataset(name)
    path = None if data_dir is None else Path(data_dir)
    said: dict[str, None] = {}  # each once: the parts of a data set share their oddities
    given |= {"say": said.setdefault, "channels": channels, "image_size": image_size}
    options = {key: value for key, value in given.items() if key in record.options}
    load = find_loader(record)
    loaded: dict[str, ImageSet] = {}
    if set(splits) != {"test"}:
        loaded = _load_training(load, record, path, val_size, options, needs_val="val" in splits)
    if "test" in splits:
        loaded["test"] = load("test", path, **options)
    if "channels" not in record.options:  # others are loaded in the form that is wanted
        leading = loaded.get("train") or loaded["test"]
        form = choose_form(leading.images, channels, image_size)
        for split, image_set in loaded.items():
            images = bring_to_form(image_set.images, form, path or name, said.setdefault)
            loaded[split] = dataclasses.replace(image_set, images=images)
    if record.title is None and len(splits) > 1:
        weighted = given.get("class_weights") == "balanced"
        check_splits(path, {split: loaded[split] for split in splits}, said.setdefault, weighted)
    for text in said:
        say(one_line(text))  # it has names from files
    return [loaded[split] for split in splits]


def _load_training(
    load: Callable[..., Any],
    record: DatasetRecord,
    path: Path | None,
    val_size: int,
    options: dict[str, Any],
    needs_val: bool,
) -> dict[str, ImageSet]:
    """Return the training and the validation images."""
    full = load("train", path, **options)
    own_val = load("val", path, **options) if record.may_have_val else None
    if own_val is None or val_size == 0:
        train, val = _divide(full, record, val_size)
        if own_val is not None and not needs_val:
            options["say"](f"{path}: {len(own_val):,} validation images are not used: val_size 0")
    else:
        train, val = slice(0, len(full)), None
    if record.is_sorted:  # shuffle, so that the first N hold all classes
        train = np.arange(len(full))[train]
        train = train[np.random.default_rng(0).permutation(len(train))]
    return {"train": full.take(train), "val": own_val if val is None else full.take(val)}


def find_loader(record: DatasetRecord) -> Callable[..., Any]:
    """Import and return the function that loads one part of a data set."""
    module, function = record.loader.split(":")
    loader: Any = getattr(importlib.import_module(f"lenet_paddle.data.{module}"), function)
    return loader


def _divide(
    full: ImageSet, record: DatasetRecord, val_size: int
) -> tuple[slice | np.ndarray, slice | np.ndarray]:
    """Return the indices of the training and of the validation images."""
    if val_size < 0:
        raise InputError(f"val_size is {val_size}; expected a whole number of 0 or more")
    if not record.may_shrink_val and val_size >= len(full):
        raise InputError(
            f"val_size {val_size:,} leaves no training image of {len(full):,}; lower it"
        )
    if val_size > 0 and len(full) < 2:
        raise InputError(f"val_size {val_size} leaves no training image of {len(full)}; add images")
    if record.may_shrink_val and val_size > len(full) // 2:
        tenth = max(1, len(full) // 10)
        _log.info("val_size %d is over half of %d images: %d are taken", val_size, len(full), tenth)
        val_size = tenth
    if record.is_sorted and val_size > 0:
        return stratified_draw(full.labels, val_size, VAL_DRAW)
    cut = len(full) - val_size
    return slice(0, cut), slice(cut, None)


def load_data(
    config: DataConfig,
    *splits: str,
    classes: Sequence[str] | None = None,
    whole: bool = False,
    say: Say = _log.warning,
) -> list[ImageSet]:
    """Load splits of a run's data set; of `train` the first `limit` images.

    Without a corruption, mnist_c is an even mixture of all corruptions. Replayed images come
    after the training images. `classes` and `whole` are those of `folder.load_folder`, `say` that
    of `load_splits`.
    """
    loaded = load_splits(
        config.dataset,
        splits,
        config.data_dir,
        config.val_size,
        say,
        test_size=config.test_size,
        preprocess=config.picture_mode,
        **{name: getattr(config, name) for name in SPECIAL},
        classes=classes,
        whole=whole,
        channels=config.channels,
        image_size=config.image_size,
        class_weights=getattr(config, "class_weights", "none"),
    )
    return [
        _add_replay(config, image_set.take(slice(0, config.limit)))
        if split == "train"
        else image_set
        for split, image_set in zip(splits, loaded, strict=True)
    ]


def _add_replay(config: DataConfig, train: ImageSet) -> ImageSet:
    """Append `replay_share` times as many images, drawn evenly from the training images of the
    corruptions in `config.replay`; seed and names decide which."""
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


def load_test_set(config: DataConfig, classes: tuple[str, ...], whole: bool = False) -> ImageSet:
    """Load the test images, with the labels of `classes`, those of a run.

    With `whole`, a folder that is not divided is the test set. The images may be of a part of
    the classes, which is logged. Raises `InputError` for other classes.
    """
    [test_set] = load_data(config, "test", classes=classes, whole=whole)
    if test_set.classes == classes:
        return test_set
    numbers = {normal_name(name): number for number, name in enumerate(classes)}
    own = [normal_name(name) for name in test_set.classes]
    if not set(own) <= set(numbers):
        raise InputError(
            f"{config.dataset} has the classes {', '.join(test_set.classes)}; "
            f"the run was trained on {', '.join(classes)}"
        )
    missing = [name for name in classes if normal_name(name) not in own]
    if missing:
        _log.warning(
            "%s has %d of the run's %d classes; no image of %s",
            *(config.data_dir, len(test_set.classes), len(classes), ", ".join(missing)),
        )
    labels = np.array([numbers[name] for name in own], np.int64)[test_set.labels]
    return dataclasses.replace(test_set, labels=labels, classes=classes)
