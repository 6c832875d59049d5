"""Loaders of data sets: IDX files (MNIST is embedded), folders of pictures, .npz files.

Each loads one part, "train" or "test", as an `ImageSet`; `load.load_splits` divides off "val".
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from lenet_paddle.data import idx
from lenet_paddle.data.datasets import DIGITS, FASHION, Preprocess
from lenet_paddle.data.imageset import ImageSet, check_classes, check_counts, stratified_draw
from lenet_paddle.data.preprocess import SIZE, load_picture, prepare_picture
from lenet_paddle.errors import InputError
from lenet_paddle.files import leads_out, open_file
from lenet_paddle.progress import Progress
from lenet_paddle.settings import user_home

EMBEDDED = Path(__file__).parent / "mnist"
# Seed of the draw of test images, the same for every run: a run that starts from the weights of
# another run, with another seed, must not be tested on images that those were trained on.
TEST_DRAW = 0
_MAX_CLASSES = 1000  # a stray label must not make a confusion matrix of gigabytes
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


def load_folder(
    part: str,
    data_dir: Path,
    preprocess: Preprocess = "resize",
    test_size: int | None = None,
) -> ImageSet:
    """Load a folder of pictures: `train/<class>/*` and `test/<class>/*`, or `<class>/*`.

    Classes are the folders' names in sorted order. Pictures of any colour and size become grey
    uint8 (N, 28, 28) by `prepare_picture`. Without train/ and test/, `test_size` images (default
    a tenth) are drawn as test set, stratified, the same ones in every run. Hidden files are
    skipped. Raises `InputError` for any other file that is not a picture, and for a link out of
    `data_dir`.
    """
    if not data_dir.is_dir():
        raise InputError(f"{data_dir}: is not a folder; expected one folder of pictures per class")
    roots = {name: data_dir / name for name in ("train", "test")}
    if all(root.is_dir() for root in roots.values()):
        check_links(roots.values(), data_dir)
        classes, of_test = (_class_names(root, data_dir) for root in roots.values())
        if of_test != classes:
            raise InputError(
                f"{roots['test']}: classes {', '.join(of_test)}; "
                f"expected those of {roots['train']}: {', '.join(classes)}"
            )
        return _read_pictures(*_list_pictures(roots[part], classes, data_dir), classes, preprocess)
    if any(root.is_dir() for root in roots.values()):
        raise InputError(f"{data_dir}: has only one of train/ and test/; expected both or neither")
    classes = _class_names(data_dir, data_dir)
    files, labels = _list_pictures(data_dir, classes, data_dir)
    size = max(1, len(files) // 10) if test_size is None else test_size
    if size >= len(files):
        raise InputError(f"test_size {size} leaves no training image of {len(files)}; lower it")
    kept, drawn = stratified_draw(labels, size, TEST_DRAW)
    chosen = kept if part == "train" else drawn
    return _read_pictures([files[i] for i in chosen], labels[chosen], classes, preprocess)


def check_links(paths: Iterable[Path], data_dir: Path) -> None:
    """Raise `InputError` for a link that leads out of `data_dir`."""
    for path in paths:
        if path.is_symlink() and leads_out(path, data_dir):
            raise InputError(f"{path}: a link out of {data_dir}; copy its target there instead")


def _class_names(root: Path, data_dir: Path) -> tuple[str, ...]:
    folders = [p for p in root.iterdir() if p.is_dir() and not p.name.startswith(".")]
    check_links(folders, data_dir)
    names = sorted(folder.name for folder in folders)
    check_classes(names, root)
    if len(names) < 2:
        raise InputError(
            f"{root}: has {len(names)} class folders; expected two or more, each with pictures"
        )
    return tuple(names)


def _list_pictures(
    root: Path, classes: tuple[str, ...], data_dir: Path
) -> tuple[list[Path], np.ndarray]:
    """Return the files of all classes, and their labels, int64 (N,)."""
    files: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        of_class = sorted(p for p in (root / name).iterdir() if not p.name.startswith("."))
        if not of_class:
            raise InputError(f"{root / name}: has no picture; expected at least one per class")
        files += of_class
        labels += [label] * len(of_class)
    check_links(files, data_dir)
    for file in files:
        if file.is_dir():
            raise InputError(f"{file}: a folder inside a class; expected pictures only")
        if not file.is_file():  # opening a pipe would block
            raise InputError(f"{file}: not a file, or a broken link; expected pictures only")
    return files, np.array(labels, np.int64)


def _read_pictures(
    files: list[Path], labels: np.ndarray, classes: tuple[str, ...], preprocess: Preprocess
) -> ImageSet:
    images = np.empty((len(files), SIZE, SIZE), np.uint8)
    progress = Progress(len(files), "pictures")
    for i, file in enumerate(files):
        images[i] = prepare_picture(load_picture(file), preprocess)
        progress.show(i + 1, f"reading pictures: {i + 1:,}/{len(files):,}")
    progress.clear()
    return ImageSet(images, labels, classes)


def load_npz(part: str, data_dir: Path | None) -> ImageSet:
    """Load x_train, y_train, x_test, y_test from a .npz file, as Keras ships MNIST, or from .npy
    files in a folder, whose images are memory-mapped and may be larger than the memory.

    x: uint8 (N, H, W) or (N, H, W, 1); y: integers (N,) from 0. Class names are the numbers.
    Raises `InputError`, also for pickled objects in the file.
    """
    x_name, y_name = f"x_{part}", f"y_{part}"
    assert data_dir is not None  # checked by load_splits
    images, labels, train_labels = _read_arrays(data_dir, (x_name, y_name, "y_train"))
    if images.ndim == 4 and images.shape[-1] == 1:
        images = images[..., 0]
    for name, array in ((y_name, labels), ("y_train", train_labels)):
        if array.dtype.kind not in "iu" or array.ndim != 1 or len(array) == 0 or array.min() < 0:
            raise InputError(
                f"{data_dir}: {name} is {array.dtype} {array.shape}; "
                "expected whole numbers from 0, of shape (N,)"
            )
    if train_labels.max() >= _MAX_CLASSES:
        raise InputError(
            f"{data_dir}: y_train goes up to {train_labels.max()}; "
            f"expected class numbers below {_MAX_CLASSES:,}"
        )
    classes = tuple(str(i) for i in range(int(train_labels.max()) + 1))
    try:
        return ImageSet(images, labels.astype(np.int64, copy=False), classes)
    except InputError as error:
        raise InputError(f"{data_dir}: {x_name}, {y_name}: {error}") from None


def _read_arrays(path: Path, names: tuple[str, ...]) -> list[np.ndarray]:
    """Read the arrays `names` from a .npz file or a folder of .npy files. Raises `InputError`."""
    if path.is_dir():
        _check_names(path, names, sorted(file.stem for file in path.glob("*.npy")))
        files = [path / f"{name}.npy" for name in names]
        check_links(files, path)
        return [map_npy(file) for file in files]
    with open_file(path) as file:
        if not zipfile.is_zipfile(file):
            raise InputError(f"{path}: not a readable .npz file (not a whole zip archive)")
        file.seek(0)
        try:
            with np.load(file, allow_pickle=False) as arrays:
                _check_names(path, names, arrays.files)
                members = {name: arrays.zip.getinfo(f"{name}.npy") for name in names}
                unpacked = sum(member.file_size for member in members.values())
                idx.check_unpacked(path, unpacked, path.stat().st_size)
                read = {name: arrays[name] for name in members}  # y_train once
                return [read[name] for name in names]
        except InputError:
            raise
        except Exception as error:  # a damaged archive raises nearly anything
            raise InputError(f"{path}: not a readable .npz file ({error})") from None


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


def _check_names(path: Path, names: tuple[str, ...], found: list[str]) -> None:
    if any(name not in found for name in names):
        raise InputError(
            f"{path}: has {', '.join(found) or 'no arrays'}; "
            "expected x_train, y_train, x_test, y_test"
        )
