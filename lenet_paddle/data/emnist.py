"""Loaders of the data sets in MNIST's format with other names: EMNIST, KMNIST and QMNIST.

They are looked for where torchvision keeps them, in data/<its name>/raw, the folder that its
tutorials use; Keras has none of them.
"""

from __future__ import annotations

import dataclasses
import string
from pathlib import Path

from lenet_paddle.data.datasets import DIGITS, HIRAGANA
from lenet_paddle.data.imageset import ImageSet
from lenet_paddle.data.sources import check_links, find_idx, mnist_stem, read_idx
from lenet_paddle.errors import InputError

_BALANCED = string.digits + string.ascii_uppercase + "abdefghnqrt"  # the others look as capitals
CHARACTERS = {  # the classes of each division, in the order of its published mapping
    "balanced": _BALANCED,
    "letters": string.ascii_uppercase,  # both cases of a letter are one class
    "digits": string.digits,
    "byclass": string.digits + string.ascii_uppercase + string.ascii_lowercase,
}


def load_emnist(part: str, data_dir: Path | None, emnist_split: str | None = None) -> ImageSet:
    """Load EMNIST (Cohen et al. 2017, arXiv 1702.05373): uint8 (N, 28, 28), upright.

    `emnist_split` is one of its divisions: balanced (the default: 47 classes, 112,800 and 18,800
    images), letters (26), digits (10) or byclass (62). Its files hold each image transposed.
    Raises `InputError`.
    """
    name = emnist_split or "balanced"
    first = 1 if name == "letters" else 0  # as published
    loaded = _load("EMNIST", data_dir, f"emnist-{name}-{part}", tuple(CHARACTERS[name]), first)
    return dataclasses.replace(loaded, images=loaded.images.transpose(0, 2, 1))


def load_kmnist(part: str, data_dir: Path | None) -> ImageSet:
    """Load Kuzushiji-MNIST (Clanuwat et al. 2018, arXiv 1812.01718): uint8, shapes as MNIST's.

    Raises `InputError`.
    """
    return _load("KMNIST", data_dir, mnist_stem(part), HIRAGANA)


def load_qmnist(part: str, data_dir: Path | None) -> ImageSet:
    """Load QMNIST (Yadav and Bottou 2019, arXiv 1905.10498): MNIST with 60,000 test images, of
    which the first 10,000 are MNIST's. Raises `InputError`.
    """
    return _load("QMNIST", data_dir, f"qmnist-{part}", DIGITS)


def _load(
    name: str, data_dir: Path | None, stem: str, classes: tuple[str, ...], first: int = 0
) -> ImageSet:
    below = Path(name, "raw")  # as torchvision lays it out
    folders = [Path("data") / below]
    if data_dir is not None:
        folders = [data_dir, data_dir / "raw", data_dir / below, data_dir / "gzip"]
    for folder in folders:
        if any(folder.glob(f"{stem}-*")):
            if data_dir is not None and folder != data_dir:
                check_links([folder.parent, folder], data_dir)
            return read_idx(*find_idx(folder, stem, is_given=data_dir is not None), classes, first)
    if data_dir is not None:
        find_idx(data_dir, stem)  # says what is missing
    raise InputError(
        f"{name} was not found in {folders[0]}, where torchvision keeps it; put its files "
        f"({stem}-images-idx3-ubyte.gz ...) into a folder and give it as --data-dir"
    )
