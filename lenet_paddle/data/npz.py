"""Load arrays from a .npz file, or from .npy files in a folder, which are memory-mapped."""

from __future__ import annotations

import contextlib
import logging
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.lib import format as npy

from lenet_paddle.data import idx
from lenet_paddle.data.arrays import is_colour, number_classes, to_images, to_labels
from lenet_paddle.data.imageset import ImageSet
from lenet_paddle.data.sources import check_links, draw_part
from lenet_paddle.errors import InputError, Say
from lenet_paddle.files import describe_content, open_file

_log = logging.getLogger(__name__)
_MOST_NAMED = 1_000_000  # images whose copies are searched for
_WHOLE = (("images", "target"), ("data", "target"), ("x", "y"), ("images", "labels"))
_EXPECTED = "x_train, y_train, x_test, y_test; or x, y (data, target), to divide"


class Arrays(NamedTuple):
    """Named arrays of one source, read when asked for."""

    path: Path
    read: Callable[[str], np.ndarray]
    find_shape: Callable[[str], tuple[int, ...]]
    parts: Mapping[str, tuple[str, str]]
    """Names of images and labels by part: "train", "val", "test"; or all of them by "all"."""
    mend_gaps: str | None = None
    """How to mend labels that skip numbers (default: a line of NumPy)."""


def load_npz(
    part: str,
    data_dir: Path | None,
    scale: float | None = None,
    test_size: int | None = None,
    *,
    classes: Sequence[str] | None = None,
    whole: bool = False,
    say: Say = _log.warning,
) -> ImageSet | None:
    """Load x_train, y_train, x_test, y_test from a .npz file, as Keras ships MNIST, or from .npy
    files in a folder, whose images are memory-mapped and may be larger than the memory.

    MedMNIST's names, train_images and train_labels, are known too; x_val and val_images are
    optional, and the part "val" is None without them. Of scikit-learn's data and target (or x and
    y, images and labels), which are not divided, `test_size` images are drawn for testing (default
    a tenth), and with `whole` all are for testing. `arrays.to_images` and `arrays.to_labels` say
    which arrays are taken; `scale` is a factor for the values of x. Class names are the numbers,
    from 0 or 1; or from 0 to the largest where these are the `classes` of an older run, though
    some have no image. `say` gets a line on how the arrays are read, and lines for what looks odd.
    Raises `InputError`, also for pickled objects in the file.
    """
    assert data_dir is not None  # checked by load_splits
    read, find_shape, found = _open_arrays(data_dir)
    parts = _find_parts(found)
    if part != "val" and not {part, "all"} & set(parts):
        raise InputError(f"{data_dir}: has {', '.join(found) or 'no arrays'}; expected {_EXPECTED}")
    arrays = Arrays(data_dir, read, find_shape, parts)
    return load_arrays(part, arrays, scale, test_size, whole, say, classes)


def load_arrays(
    part: str,
    arrays: Arrays,
    scale: float | None,
    test_size: int | None,
    whole: bool,
    say: Say,
    known: Sequence[str] | None = None,
) -> ImageSet | None:
    """Return one part of named arrays; the part "val" is None where there is none.

    The arguments are those of `load_npz`, `known` its `classes`. Raises `InputError`.
    """
    path, read, find_shape, parts, mend = arrays
    train = parts.get("train", parts.get("all"))
    own = parts.get(part, parts.get("all") if part != "val" else None)
    if own is None:
        return None
    (x_name, y_name), (x_train, y_train) = own, train or own
    if is_colour(find_shape(x_name)) != is_colour(find_shape(x_train)):
        raise InputError(
            f"{path}: {x_name} is {find_shape(x_name)} and {x_train} {find_shape(x_train)}; "
            "expected all in grey or all in colour: x = np.repeat(x[..., None], 3, -1) makes grey "
            "images (N, H, W) colour"
        )
    raw = read(x_name)
    numbers, width = to_labels(path, y_name, read(y_name))
    train_numbers = (
        (numbers, width) if y_name == y_train else to_labels(path, y_train, read(y_train))
    )
    if train is None:  # for testing only: the names of classes, their numbers, suffice
        classes = range(min(int(numbers.min()), 1), width or int(numbers.max()) + 1)
    elif known and list(known) == [str(i) for i in range(int(train_numbers[0].max()) + 1)]:
        classes = range(len(known))
    else:
        classes = number_classes(path, y_train, *train_numbers, mend, say)
    if numbers.min() < classes[0] or numbers.max() > classes[-1]:
        wrong = numbers[(numbers < classes[0]) | (numbers > classes[-1])][0]
        raise InputError(
            f"{path}: {y_name} has class {wrong}, but {y_train} has {classes[0]} to {classes[-1]}; "
            f"add images of it to {x_train}, or leave it out"
        )
    images, how = to_images(
        path,
        x_name,
        raw,
        len(numbers),
        scale,
        reference=lambda: raw if x_name == x_train else read(x_train),
        say=say,
    )
    if own == train or train is None:
        kind = "one-hot labels" if width else f"labels from {classes[0]}"
        say(f"{path}: read {how}; {y_name} as {kind} of {len(classes)} classes")
    names = None
    if len(images) <= _MOST_NAMED:
        names = np.array([f"{x_name}[{i}]" for i in range(len(images))], object)
    try:
        full = ImageSet(images, numbers - classes[0], tuple(map(str, classes)), names)
    except InputError as error:
        raise InputError(f"{path}: {x_name}, {y_name}: {error}") from None
    if own != parts.get("all") or (whole and part == "test"):
        return full
    return full.take(draw_part(part, full.labels, test_size))


def _find_parts(found: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return the names of images and labels by part, in any case, as `Arrays` has them."""
    by_name = {name.lower(): name for name in found}
    parts = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
    pairs = {
        part: [
            pair
            for name in names
            for pair in ((f"x_{name}", f"y_{name}"), (f"{name}_images", f"{name}_labels"))
        ]
        for part, names in parts.items()
    }

    def choose(pairs: Sequence[tuple[str, str]]) -> tuple[str, str] | None:
        there = (pair for pair in pairs if set(pair) <= set(by_name))
        return next(((by_name[x], by_name[y]) for x, y in there), None)

    chosen = {part: pair for part in parts if (pair := choose(pairs[part]))}
    whole = choose(_WHOLE)
    return chosen if chosen or whole is None else {"all": whole}


def _open_arrays(path: Path) -> tuple[Any, Any, list[str]]:
    """Return functions that read an array and its shape by its name, and the names, of a .npz
    file or a folder of .npy files. Raises `InputError`."""
    if path.is_dir():

        def map_one(name: str) -> np.ndarray:
            check_links([path / f"{name}.npy"], path)
            return map_npy(path / f"{name}.npy")

        found = sorted(file.stem for file in path.glob("*.npy"))
        return map_one, lambda name: map_one(name).shape, found
    sizes: list[int] = []

    def read_one(name: str) -> np.ndarray:
        with _open_npz(path) as arrays:
            sizes.append(arrays.zip.getinfo(f"{name}.npy").file_size)
            idx.check_unpacked(path, sum(sizes), path.stat().st_size)
            array = arrays[name]
            if not isinstance(array, np.ndarray):  # NumPy gives bytes for other content
                raise InputError(f"{path}: {name} is no array; expected one, as np.savez writes it")
            return array

    def read_shape(name: str) -> tuple[int, ...]:
        with _open_npz(path) as arrays, arrays.zip.open(f"{name}.npy") as file:
            return _read_header(file)[0]

    with _open_npz(path) as arrays:
        return read_one, read_shape, list(arrays.files)


@contextlib.contextmanager
def _open_npz(path: Path) -> Iterator[Any]:
    """Open a .npz file; whatever goes wrong with it becomes an `InputError`."""
    with open_file(path) as file:
        if not zipfile.is_zipfile(file):
            raise InputError(f"{path}: not a readable .npz file{_describe_no_archive(file)}")
        file.seek(0)
        try:
            with np.load(file, allow_pickle=False) as arrays:
                yield arrays
        except InputError:
            raise
        except Exception as error:  # a damaged archive raises nearly anything
            raise InputError(f"{path}: not a readable .npz file ({error})") from None


def _describe_no_archive(file: IO[bytes]) -> str:
    file.seek(0)
    head = file.read(200)
    if head.startswith(b"PK"):
        return "; it is cut off or damaged: copy or download it again"
    if head.startswith(b"\x93NUMPY"):
        return "; it is one array, a .npy file: expected x_train, y_train ... in a folder or a .npz"
    return describe_content(head) or "; expected a zip archive, as np.savez writes it"


def map_npy(path: Path) -> np.ndarray:
    """Memory-map the array of a .npy file. Raises `InputError` for a damaged or foreign file,
    OSError for one that cannot be opened."""
    with open_file(path) as file:
        try:
            shape, is_fortran, dtype = _read_header(file)
            with np.errstate(over="raise"):  # from an impossible shape
                order: Any = "F" if is_fortran else "C"
                return np.memmap(file, dtype, "r", file.tell(), shape, order)
        except Exception as error:  # a damaged or foreign file raises nearly anything
            raise InputError(f"{path}: not a readable .npy file ({error})") from None


def _read_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Return shape, whether in Fortran's order, and dtype of a .npy file.

    Raises ValueError unless it holds numbers. NumPy 2.3 ends the process by a division by zero
    when it maps elements of size 0, |V0 or |S0, in the shape (-1,).
    """
    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    shape, is_fortran, dtype = readers[npy.read_magic(file)](file)
    if dtype.kind not in "biuf" or min(shape, default=0) < 0:
        raise ValueError(f"{dtype} of shape {shape}, expected numbers")
    return shape, is_fortran, dtype
