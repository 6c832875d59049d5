"""Images with labels and class names, and how a set is divided."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lenet_paddle.data.form import Form
from lenet_paddle.errors import InputError


class MappedImages:
    """Images of memory-mapped files, selected by `index` and read on access."""

    def __init__(self, images: np.ndarray | JoinedImages, index: np.ndarray) -> None:
        self.images, self.index = images, index
        self.shape = (len(index), *images.shape[1:])
        self.ndim, self.dtype = images.ndim, images.dtype

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, chosen: Any) -> np.ndarray:
        return self.images[self.index[chosen]]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)


class JoinedImages:
    """Several arrays of images, mostly memory-mapped, indexed as one.

    Images are read on access by their numbers (an integer array, or one integer).
    """

    def __init__(self, parts: Sequence[np.ndarray]) -> None:
        self.parts = parts
        self.starts = np.cumsum([0, *(len(part) for part in parts)])
        self.shape = (int(self.starts[-1]), *parts[0].shape[1:])
        self.ndim, self.dtype = parts[0].ndim, parts[0].dtype

    def __getitem__(self, chosen: np.ndarray | int) -> np.ndarray:
        numbers = np.asarray(chosen)
        result = np.empty((*numbers.shape, *self.shape[1:]), self.dtype)
        owner = np.searchsorted(self.starts, numbers, side="right") - 1
        for i in np.unique(owner):
            mine = owner == i
            result[mine] = self.parts[i][numbers[mine] - self.starts[i]]
        return result


@dataclass(frozen=True)
class ImageSet:
    """Grey or colour images with labels.

    images: uint8 (N, H, W) grey or (N, H, W, 3) RGB, 0..255, 0 is the background of MNIST-like
        data; an array, or `MappedImages`, which acts as one.
    labels: int64 (N,), in [0, len(classes)).
    classes: the class names; `classes[label]` is the class of an image.
    names: where each image comes from, str (N,), for messages; None where that is not known.

    Raises `InputError` for other shapes, types and labels.
    """

    images: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    names: np.ndarray | None = None

    def __post_init__(self) -> None:
        is_image = self.images.ndim == 3 or (self.images.ndim == 4 and self.images.shape[3] == 3)
        if not is_image or self.images.dtype != np.uint8 or 0 in self.images.shape[1:]:
            raise InputError(
                f"images are {self.images.dtype} {self.images.shape}; "
                "expected uint8 (N, H, W) or (N, H, W, 3)"
            )
        if self.labels.shape != self.images.shape[:1]:
            raise InputError(
                f"{len(self.images)} images but labels of shape {self.labels.shape}; "
                "expected one label per image"
            )
        if len(self.labels) and not 0 <= self.labels.min() <= self.labels.max() < self.num_classes:
            raise InputError(
                f"labels run from {self.labels.min()} to {self.labels.max()}; "
                f"expected 0 to {self.num_classes - 1}"
            )

    def __len__(self) -> int:
        return len(self.images)

    @property
    def form(self) -> Form:
        """The channels and the longer side of the images."""
        return Form(3 if self.images.ndim == 4 else 1, max(self.images.shape[1:3]))

    @property
    def num_classes(self) -> int:
        """Return the number of classes, with or without images."""
        return len(self.classes)

    def take(self, indices: Any) -> ImageSet:
        """Return the images at `indices`: an index array, or a slice (a view without a copy).

        Of a memory-mapped file only the indices are kept.
        """
        images: Any = self.images
        if isinstance(images, MappedImages):
            images = MappedImages(images.images, images.index[indices])
        elif isinstance(images, np.memmap) and isinstance(indices, np.ndarray):
            images = MappedImages(images, indices)
        else:
            images = images[indices]
        names = None if self.names is None else self.names[indices]
        return ImageSet(images, self.labels[indices], self.classes, names)

    def as_paddle_dataset(self, input_size: int | None = None) -> Any:
        """Return a `paddle.io.Dataset` of (float32 (C, S, S) in [-1, 1], int64 (1,)).

        S is `input_size`, by default the images' own side.

        It is for `paddle.Model.fit` and `paddle.io.DataLoader` as tutorials use them;
        `BatchLoader` normalises whole batches at once and is faster.
        """
        import paddle

        from lenet_paddle.data.preprocess import normalise

        image_set, side = self, input_size or self.form.size

        class _Dataset(paddle.io.Dataset):
            def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
                image = normalise(image_set.images[index : index + 1], side)[0]
                return image, image_set.labels[index : index + 1]

            def __len__(self) -> int:
                return len(image_set)

        return _Dataset()


def join_sets(sets: Sequence[ImageSet]) -> ImageSet:
    """Concatenate sets of the same classes without reading or copying an image."""
    joined = JoinedImages([one.images for one in sets])
    images = MappedImages(joined, np.arange(joined.shape[0]))
    labels = np.concatenate([one.labels for one in sets])
    return ImageSet(images, labels, sets[0].classes)  # type: ignore[arg-type]  # acts as an array


def normal_name(name: str) -> str:
    """Return a class name in the form by which names are compared, Unicode's NFC: in names of
    files macOS writes an accent as a character of its own."""
    return unicodedata.normalize("NFC", name)


def check_classes(names: Sequence[str], source: Path) -> None:
    """Raise `InputError` for class names that cannot be shown: not printable, of over 100 bytes,
    or duplicates. `source` is the file or folder that they come from."""
    for name in names:
        if not name.isprintable() or len(name.encode(errors="replace")) > 100:
            raise InputError(
                f"{source}: the class name {name!r:.120} is too long or cannot be printed"
            )
    if len(set(names)) < len(names):
        raise InputError(f"{source}: has a class name twice; expected different ones")


def check_counts(images: Path, num_images: int, labels: Path, num_labels: int) -> None:
    """Raise `InputError` unless two files hold as many images as labels, and at least one."""
    if num_images != num_labels:
        raise InputError(
            f"{images} holds {num_images:,} images but {num_labels:,} labels are in {labels}; "
            "expected as many: do the files belong together?"
        )
    if num_images == 0:
        raise InputError(f"{images}: holds no image; expected at least one")


def stratified_draw(labels: np.ndarray, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Divide indices 0..N-1 into (kept, drawn), both sorted, `drawn` of length `size`.

    Each class gives its share of `size`, rounded by largest remainder; `seed` decides which
    images of a class are drawn.
    """
    rng = np.random.default_rng(seed)
    classes, counts = np.unique(labels, return_counts=True)
    shares = counts * (size / len(labels))
    quotas = np.floor(shares).astype(np.int64)
    largest = np.argsort(-(shares - quotas), kind="stable")[: size - quotas.sum()]
    quotas[largest] += 1
    drawn = np.concatenate(
        [
            rng.permutation(np.flatnonzero(labels == cls))[:quota]
            for cls, quota in zip(classes, quotas, strict=True)
        ]
    )
    drawn.sort()
    kept = np.setdiff1d(np.arange(len(labels)), drawn, assume_unique=True)
    return kept, drawn
