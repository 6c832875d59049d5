"""Look at the splits of own data for what makes their results meaningless."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from lenet_paddle.data.imageset import ImageSet
from lenet_paddle.errors import Say

FEW = 10  # images of a class
UNEVEN = 3  # times as many images of one class as of another
_NAMED = 5
_BLOCK = 4096  # images read at once


def check_splits(
    source: Path | None, splits: Mapping[str, ImageSet], say: Say, weighted: bool = False
) -> None:
    """`say` how many images are copies of training images, and which classes have few images.

    splits: some of "train", "val" and "test". `weighted` classes may be uneven.
    """
    if "train" in splits:
        known = {digest: i for i, digest in _digests(splits["train"])}
        for split in ("val", "test"):
            if split in splits:
                _say_copies(source, splits["train"], known, split, splits[split], say)
    advice = {
        "train": "add some",
        "val": f"with fewer than {FEW} a class the best epoch is chosen nearly by chance",
    }
    for split in ("train", "val"):
        trained = splits.get("train") if split == "val" else None
        if split in splits and len(splits[split]) and (few := _list_few(splits[split], trained)):
            say(f"{source}: {split} has few images of some classes: {few}; {advice[split]}")
    if "train" in splits and not weighted:
        _say_uneven(source, splits["train"], say)


def _say_uneven(source: Path | None, train: ImageSet, say: Say) -> None:
    """`say` that some classes have many more training images than others."""
    counts = np.bincount(train.labels, minlength=train.num_classes)
    present = np.flatnonzero(counts)
    least, most = (present[pick(counts[present])] for pick in (np.argmin, np.argmax))
    if counts[most] >= UNEVEN * counts[least]:
        say(
            f"{source}: train is uneven, from {counts[least]:,} images ({train.classes[least]}) to "
            f"{counts[most]:,} ({train.classes[most]}); if all classes matter alike, use "
            "--class-weights balanced"
        )


def digest_of(image: np.ndarray) -> bytes:
    """Return a checksum of an image's values, by which copies are found."""
    return hashlib.blake2b(image.tobytes(), digest_size=16).digest()


def _digests(image_set: ImageSet) -> Iterator[tuple[int, bytes]]:
    """Yield the position and a checksum of each image; nothing for images without names."""
    if image_set.names is None:
        return
    for start in range(0, len(image_set), _BLOCK):
        block = np.asarray(image_set.images[start : start + _BLOCK])
        for i, image in enumerate(block, start):
            yield i, digest_of(image)


def _say_copies(
    source: Path | None,
    train: ImageSet,
    known: Mapping[bytes, int],
    split: str,
    image_set: ImageSet,
    say: Say,
) -> None:
    copies = [(i, known[digest]) for i, digest in _digests(image_set) if digest in known]
    if copies and train.names is not None and image_set.names is not None:
        here, there = copies[0]
        say(
            f"{source}: {len(copies):,} of {len(image_set):,} {split} images are also in train, as "
            f"{image_set.names[here]} = {train.names[there]}; remove them, or the {split} accuracy "
            "is too high"
        )


def _list_few(image_set: ImageSet, train: ImageSet | None) -> str:
    """Return the classes of fewer than `FEW` images; without those that `train` lacks, which are
    named there."""
    counts = np.bincount(image_set.labels, minlength=image_set.num_classes)
    few = np.flatnonzero(counts < FEW)
    if train is not None:
        few = few[np.isin(few, train.labels)]
    named = [f"{image_set.classes[i]} ({counts[i] or 'none'})" for i in few[:_NAMED]]
    return ", ".join([*named, "..."] if len(few) > _NAMED else named)
