"""Loaders of data sets: IDX files (MNIST is embedded) and .npz files; `folder` has one more.

Each loads one part, "train" or "test", as an `ImageSet`; `load.load_splits` divides off "val"
where the data has none of its own.
"""

from __future__ import annotations

import contextlib
import logging
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from lenet_paddle.data import idx
from lenet_paddle.data.arrays import say_gaps, to_images, to_labels
from lenet_paddle.data.datasets import DIGITS, FASHION
from lenet_paddle.data.imageset import ImageSet, check_counts
from lenet_paddle.errors import InputError, Say
from lenet_paddle.files import describe_content, leads_out, open_file
from lenet_paddle.settings import user_home

EMBEDDED = Path(__file__).parent / "mnist"
# Seed of the draw of test images, the same for every run: a run that starts from the weights of
# another run, with another seed, must not be tested on images that those were trained on.
TEST_DRAW = 0
_MAX_CLASSES = 1000  # a stray label must not make a confusion matrix of gigabytes
_log = logging.getLogger(__name__)
_MOST_NAMED = 1_000_000  # images whose copies are searched for
_PREFIX = {"train": "train", "test": "t10k"}


def load_mnist(part: str, data_dir: Path | None) -> ImageSet:
    """Load the embedded MNIST (LeCun, Cortes; CC BY-SA 3.0): uint8 (60000 or 10000, 28, 28).

    Values are 0..255. `data_dir` is a folder with other IDX files of the same names, gzipped or
    not. The checksums of the embedded files are in `data/mnist/README.md`.
    """
    return _load_idx(data_dir or EMBEDDED, part, DIGITS, is_given=data_dir is not None)


def load_fashion_mnist(part: str, data_dir: Path | None) -> ImageSet:
    """Load Fashion-MNIST (Xiao et al. 2017, arXiv 1708.07747; MIT): uint8, shapes as MNIST's.

    The files come from `data_dir`, or from Paddle's cache or Debian's package, or from Paddle's
    download. Raises `InputError` with all these ways when none works.
    """
    if data_dir is not None:
        return _load_idx(data_dir, part, FASHION, is_given=True)
    debian = Path("/usr/share/datasets/fashion-mnist")
    own, cache = (
        Path(home or "/", ".cache/paddle/dataset/fashion-mnist")
        for home in (user_home(), os.environ.get("HOME") or user_home())  # runtime may set HOME
    )
    for folder in (own, cache, debian):
        if _find_idx(folder, part, "images", 3) and _find_idx(folder, part, "labels", 1):
            return _load_idx(folder, part, FASHION)
    _download_fashion_mnist(part, own, debian)
    return _load_idx(cache, part, FASHION)


def _download_fashion_mnist(part: str, cache: Path, debian: Path) -> None:
    import contextlib
    import io

    import paddle

    try:
        with contextlib.redirect_stderr(io.StringIO()):
            paddle.vision.datasets.FashionMNIST(mode=part, download=True)
    except Exception as error:  # Paddle raises RuntimeError, requests' own errors and others
        raise InputError(
            f"Fashion-MNIST was not found in {cache} or {debian} and Paddle's download failed "
            f"({type(error).__name__}); put its four IDX files into a folder and give it as "
            "--data-dir, or install Debian's package dataset-fashion-mnist"
        ) from None


def _load_idx(
    folder: Path, part: str, classes: tuple[str, ...], is_given: bool = False
) -> ImageSet:
    """Load a part from IDX files; `is_given` refuses links out of a folder that the user named."""
    paths = []
    for kind, dims in (("images", 3), ("labels", 1)):
        path = _find_idx(folder, part, kind, dims)
        if path is None:
            came = "is not a folder" if not folder.is_dir() else f"has no {part} {kind}"
            name = f"{_PREFIX[part]}-{kind}-idx{dims}-ubyte"
            raise InputError(f"{folder}: {came}; expected the IDX file {name} or {name}.gz in it")
        paths.append(path)
    if is_given:
        check_links(paths, folder)
    images, labels = idx.read_images(paths[0]), idx.read_labels(paths[1], len(classes))
    check_counts(paths[0], len(images), paths[1], len(labels))
    return ImageSet(images, labels, classes)


def _find_idx(folder: Path, part: str, kind: str, dims: int) -> Path | None:
    stem = f"{_PREFIX[part]}-{kind}"
    names = [f"{stem}-idx{dims}-ubyte", f"{stem}.idx{dims}-ubyte"]  # both are in circulation
    candidates = (folder / (name + end) for name in names for end in ("", ".gz"))
    return next((path for path in candidates if path.is_file()), None)


def check_links(paths: Iterable[Path], data_dir: Path) -> None:
    """Raise `InputError` for a link that leads out of `data_dir`."""
    for path in paths:
        if path.is_symlink() and leads_out(path, data_dir):
            raise InputError(f"{path}: a link out of {data_dir}; copy its target there instead")


def load_npz(
    part: str,
    data_dir: Path | None,
    scale: float | None = None,
    *,
    say: Say = _log.warning,
) -> ImageSet | None:
    """Load x_train, y_train, x_test, y_test from a .npz file, as Keras ships MNIST, or from .npy
    files in a folder, whose images are memory-mapped and may be larger than the memory.

    MedMNIST's names, train_images and train_labels, are known too; x_val and val_images are
    optional, and the part "val" is None without them. `arrays.to_images` and `arrays.to_labels`
    say which arrays are taken; `scale` is a factor for the values of x. Class names are the
    numbers. `say` gets a line for what looks odd. Raises `InputError`, also for pickled objects
    in the file.
    """
    assert data_dir is not None  # checked by load_splits
    read, found = _open_arrays(data_dir)
    own, train = _find_names(found, part), _find_names(found, "train")
    if own is None and part == "val":
        return None
    if own is None or (part == "train" and train is None):
        raise InputError(
            f"{data_dir}: has {', '.join(found) or 'no arrays'}; "
            "expected x_train, y_train, x_test, y_test"
        )
    x_name, y_name = own
    x_train_name, y_train_name = train or own
    images, raw_labels = read(x_name), read(y_name)
    labels, _ = to_labels(data_dir, y_name, raw_labels)
    train_labels, num_classes = to_labels(
        data_dir, y_train_name, raw_labels if y_train_name == y_name else read(y_train_name)
    )
    if num_classes > _MAX_CLASSES:
        raise InputError(
            f"{data_dir}: {y_train_name} goes up to {num_classes - 1}; "
            f"expected class numbers below {_MAX_CLASSES:,}"
        )
    if part == "train":
        say_gaps(data_dir, y_name, train_labels, num_classes, say)
    images = to_images(
        data_dir,
        x_name,
        images,
        scale,
        reference=lambda: images if x_train_name == x_name else read(x_train_name),
        say=say,
    )
    classes = tuple(str(i) for i in range(num_classes))
    names = None
    if len(images) <= _MOST_NAMED:
        names = np.array([f"{x_name}[{i}]" for i in range(len(images))], object)
    try:
        return ImageSet(images, labels, classes, names)
    except InputError as error:
        raise InputError(f"{data_dir}: {x_name}, {y_name}: {error}") from None


def _find_names(found: Sequence[str], part: str) -> tuple[str, str] | None:
    """Return the names of a part's images and labels among `found`, in any case."""
    by_name = {name.lower(): name for name in found}
    spellings = ("val", "valid", "validation") if part == "val" else (part,)
    for name in spellings:
        for pair in ((f"x_{name}", f"y_{name}"), (f"{name}_images", f"{name}_labels")):
            if all(one in by_name for one in pair):
                return by_name[pair[0]], by_name[pair[1]]
    return None


def _open_arrays(path: Path) -> tuple[Callable[[str], np.ndarray], list[str]]:
    """Return a function that reads an array by its name, and the names, of a .npz file or a folder
    of .npy files. Raises `InputError`."""
    if path.is_dir():

        def map_one(name: str) -> np.ndarray:
            check_links([path / f"{name}.npy"], path)
            return map_npy(path / f"{name}.npy")

        return map_one, sorted(file.stem for file in path.glob("*.npy"))
    sizes: list[int] = []

    def read_one(name: str) -> np.ndarray:
        with _open_npz(path) as arrays:
            sizes.append(arrays.zip.getinfo(f"{name}.npy").file_size)
            idx.check_unpacked(path, sum(sizes), path.stat().st_size)
            array: np.ndarray = arrays[name]
            return array

    with _open_npz(path) as arrays:
        return read_one, list(arrays.files)


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
