"""Loaders of the data sets in MNIST's own files (MNIST is embedded), and what loaders share.

Each loads one part, "train" or "test", as an `ImageSet`; `load.load_splits` divides off "val"
where the data has none of its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from lenet_paddle.data import idx
from lenet_paddle.data.datasets import DIGITS, FASHION
from lenet_paddle.data.imageset import ImageSet, check_counts, stratified_draw
from lenet_paddle.errors import InputError
from lenet_paddle.files import leads_out
from lenet_paddle.settings import user_home

EMBEDDED = Path(__file__).parent / "mnist"
# Seed of the draw of test images, the same for every run: a run that starts from the weights of
# another run, with another seed, must not be tested on images that those were trained on.
TEST_DRAW = 0


def load_mnist(part: str, data_dir: Path | None) -> ImageSet:
    """Load the embedded MNIST (LeCun, Cortes; CC BY-SA 3.0): uint8 (60000 or 10000, 28, 28).

    Values are 0..255. `data_dir` is a folder with other IDX files of the same names, gzipped or
    not. The checksums of the embedded files are in `data/mnist/README.md`.
    """
    files = find_idx(data_dir or EMBEDDED, mnist_stem(part), is_given=data_dir is not None)
    return read_idx(*files, DIGITS)


def load_fashion_mnist(part: str, data_dir: Path | None) -> ImageSet:
    """Load Fashion-MNIST (Xiao et al. 2017, arXiv 1708.07747; MIT): uint8, shapes as MNIST's.

    The files come from `data_dir`, or from Paddle's cache or Debian's package, or from Paddle's
    download. Raises `InputError` with all these ways when none works.
    """
    stem = mnist_stem(part)
    if data_dir is not None:
        return read_idx(*find_idx(data_dir, stem, is_given=True), FASHION)
    debian = Path("/usr/share/datasets/fashion-mnist")
    own, cache = paddle_caches("fashion-mnist")
    for folder in (own, cache, debian):
        if all(_find_one(folder, stem, kind) for kind in ("images", "labels")):
            return read_idx(*find_idx(folder, stem), FASHION)
    download(
        lambda vision: vision.datasets.FashionMNIST(mode=part, download=True),
        f"Fashion-MNIST was not found in {own} or {debian}",
        "put its four IDX files into a folder and give it as --data-dir, or install Debian's "
        "package dataset-fashion-mnist",
    )
    return read_idx(*find_idx(cache, stem), FASHION)


def paddle_caches(name: str) -> tuple[Path, Path]:
    """Return where Paddle keeps a data set: in the user's home, and in HOME, which `runtime` may
    set to another folder."""
    homes = user_home(), os.environ.get("HOME") or user_home()
    own, cache = (Path(home or "/", ".cache/paddle/dataset", name) for home in homes)
    return own, cache


def download(fetch: Callable[[Any], object], missing: str, mend: str) -> None:
    """Call `fetch` with `paddle.vision`, which downloads a data set into Paddle's cache.

    Raises `InputError` if that fails, with what is missing and how to mend it.
    """
    import contextlib
    import io

    import paddle

    try:
        with contextlib.redirect_stderr(io.StringIO()):
            fetch(paddle.vision)
    except Exception as error:  # Paddle raises RuntimeError, requests' own errors and others
        raise InputError(
            f"{missing} and Paddle's download failed ({type(error).__name__}); {mend}"
        ) from None


def mnist_stem(part: str) -> str:
    """Return how the names of MNIST's files of a part begin."""
    return {"train": "train", "test": "t10k"}[part]


def read_idx(images: Path, labels: Path, classes: tuple[str, ...], first: int = 0) -> ImageSet:
    """Read images and labels from two IDX files; `first` is the label of the first class.

    Labels in the name of which is "idx2" are QMNIST's. Raises `InputError`.
    """
    pixels = idx.read_images(images)
    if "idx2" in labels.name:
        numbers = idx.read_extended_labels(labels, len(classes))
    else:
        numbers = idx.read_labels(labels, len(classes), first)
    check_counts(images, len(pixels), labels, len(numbers))
    return ImageSet(pixels, numbers, classes)


def find_idx(folder: Path, stem: str, is_given: bool = False) -> tuple[Path, Path]:
    """Return the files of images and of labels whose names begin with `stem`, gzipped or not.

    Raises `InputError` where one is missing; with `is_given` also for links out of a folder that
    the user named.
    """
    found = []
    labels_end = "idx2-int" if stem.startswith("qmnist") else "idx1-ubyte"
    for kind, end in (("images", "idx3-ubyte"), ("labels", labels_end)):
        path = _find_one(folder, stem, kind)
        if path is None:
            came = "is not a folder" if not folder.is_dir() else f"has no {kind}"
            name = f"{stem}-{kind}-{end}"
            raise InputError(f"{folder}: {came}; expected the IDX file {name} or {name}.gz in it")
        found.append(path)
    if is_given:
        check_links(found, folder)
    return found[0], found[1]


def _find_one(folder: Path, stem: str, kind: str) -> Path | None:
    ends = {  # both spellings are in circulation
        "images": ("-idx3-ubyte", ".idx3-ubyte"),
        "labels": ("-idx1-ubyte", ".idx1-ubyte", "-idx2-int"),
    }[kind]
    names = [f"{stem}-{kind}{end}{packed}" for end in ends for packed in ("", ".gz")]
    return next((folder / name for name in names if (folder / name).is_file()), None)


def check_links(paths: Iterable[Path], data_dir: Path) -> None:
    """Raise `InputError` for a link that leads out of `data_dir`."""
    for path in paths:
        if path.is_symlink() and leads_out(path, data_dir):
            raise InputError(f"{path}: a link out of {data_dir}; copy its target there instead")


def draw_part(part: str, labels: np.ndarray, test_size: int | None) -> np.ndarray:
    """Return the positions of "train" or "test" in images that are not divided: by a stratified
    draw, the same in every run, of `test_size` test images (default a tenth)."""
    size = max(1, len(labels) // 10) if test_size is None else test_size
    if size >= len(labels):
        raise InputError(f"test_size {size} leaves no training image of {len(labels)}; lower it")
    kept, drawn = stratified_draw(labels, size, TEST_DRAW)
    return kept if part == "train" else drawn
