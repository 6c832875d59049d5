"""Shared fixtures: writers of small inputs, and a set whose images differ."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lenet_paddle.data.imageset import ImageSet

Writer = Callable[[Path, np.ndarray], Path]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def write_idx() -> Writer:
    """Write a uint8 array as an IDX file, gzipped where the name ends in .gz."""

    def write(path: Path, array: np.ndarray) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        header = struct.pack(f">I{array.ndim}I", 0x800 | array.ndim, *array.shape)
        data = header + array.astype(np.uint8).tobytes()
        path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
        return path

    return write


@pytest.fixture
def write_picture() -> Writer:
    """Write a uint8 array as a picture; create its folder."""

    def write(path: Path, array: np.ndarray) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(array.astype(np.uint8)).save(path)
        return path

    return write


@pytest.fixture
def write_tree(tmp_path: Path, write_picture: Writer) -> Callable[[int, int], Path]:
    """Write a folder of cats and dogs; each picture is filled with its own number."""

    def write(num_cats: int, num_dogs: int) -> Path:
        for value in range(num_cats + num_dogs):
            name = f"{'cat' if value < num_cats else 'dog'}/{value:02d}.png"
            write_picture(tmp_path / name, np.full((28, 28), value))
        return tmp_path

    return write


@pytest.fixture
def numbered_set() -> Callable[..., ImageSet]:
    """Make a set of `count` images in which image i is filled with i and has label i."""

    def make(count: int, height: int = 28, width: int = 28) -> ImageSet:
        values = np.arange(count)
        images = np.broadcast_to(values[:, None, None], (count, height, width)).astype(np.uint8)
        return ImageSet(images, values, tuple(f"number {i}" for i in range(count)))

    return make
