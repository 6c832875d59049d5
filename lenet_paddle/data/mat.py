"""Load SVHN's cropped digits from MATLAB files, of MATLAB's format 5.

SciPy's reader ends the process on some damaged files; this one reads the arrays of numbers that
SVHN has, and checks every size. The format is described in "MAT-File Format" of MathWorks: 128
bytes of header, then elements of a kind, a size and a content, which may be packed by zlib.
"""

from __future__ import annotations

import itertools
import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from lenet_paddle.data.datasets import DIGITS
from lenet_paddle.data.idx import check_unpacked
from lenet_paddle.data.imageset import ImageSet, check_counts
from lenet_paddle.data.sources import check_links
from lenet_paddle.errors import InputError
from lenet_paddle.files import describe_content, open_file

_MATRIX, _PACKED = 14, 15  # kinds of elements
_NUMBERS = {
    1: "i1",
    2: "u1",
    3: "i2",
    4: "u2",
    5: "i4",
    6: "u4",
    7: "f4",
    9: "f8",
    12: "i8",
    13: "u8",
}
_ARRAYS = range(6, 16)  # classes of arrays of numbers; others are texts, cells, objects
_COMPLEX = 0x0800


def load_mat(part: str, data_dir: Path | None) -> ImageSet:
    """Load SVHN (Netzer et al. 2011): uint8 (73257 or 26032, 32, 32, 3).

    `data_dir` is the folder of train_32x32.mat and test_32x32.mat, or one of both. A file holds X,
    uint8 (32, 32, 3, N), and y, (N, 1), in which 10 is the digit 0. Raises `InputError`.
    """
    assert data_dir is not None  # checked by load_splits
    folder = data_dir.parent if data_dir.is_file() else data_dir
    path = folder / f"{part}_32x32.mat"
    if not path.is_file():
        raise InputError(f"{path}: missing; expected SVHN's train_32x32.mat and test_32x32.mat")
    check_links([path], folder)
    arrays = _read_arrays(path)
    x, y = arrays.get("X"), arrays.get("y")
    if x is None or y is None or x.dtype != np.uint8 or x.ndim != 4 or x.shape[2] != 3:
        came = ", ".join(f"{name} {array.dtype} {array.shape}" for name, array in arrays.items())
        raise InputError(
            f"{path}: holds {came or 'no arrays of numbers'}; expected SVHN's X, uint8 "
            "(32, 32, 3, N), and y, (N, 1)"
        )
    labels = y.ravel()
    check_counts(path, x.shape[3], path, len(labels))
    if not np.isin(labels, range(1, 11)).all():
        raise InputError(
            f"{path}: y runs from {labels.min()} to {labels.max()}; expected 1 to 10, the digit 0"
        )
    images = np.ascontiguousarray(np.moveaxis(x, -1, 0))
    return ImageSet(images, labels.astype(np.int64) % 10, DIGITS)


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of real numbers in a file by name. Raises `InputError`."""
    with open_file(path) as file:
        header = file.read(128)
        order = {b"\x00\x01IM": "<", b"\x01\x00MI": ">"}.get(header[124:])  # version 1, byte order
        if order is None:
            mend = describe_content(header)
            if header.startswith((b"MATLAB 7.3", b"\x89HDF")):
                mend = "; it is HDF5: save(..., '-v7') writes the format that is read"
            raise InputError(f"{path}: not a readable .mat file{mend or '; expected format 5'}")
        try:
            return dict(_parse_matrix(body, order) for body in _read_matrices(path, file, order))
        except (ValueError, struct.error, zlib.error) as error:
            raise InputError(
                f"{path}: truncated or damaged ({error}); copy or download it again"
            ) from None


def _read_matrices(path: Path, file: BinaryIO, order: str) -> Iterator[bytes]:
    """Yield the content of each matrix in the file, unpacked."""
    left = path.stat().st_size - file.tell()
    while tag := file.read(8):
        kind, size = struct.unpack(f"{order}2I", tag)
        left -= 8 + size
        if left < 0:
            raise ValueError(f"an element announces {size:,} bytes, {left + size:,} follow")
        body = file.read(size)
        if kind == _PACKED:
            unpack = zlib.decompressobj()
            kind, size = struct.unpack(f"{order}2I", unpack.decompress(body, 8))
            check_unpacked(path, size, len(body))
            body = unpack.decompress(unpack.unconsumed_tail, max(1, size))
        if kind == _MATRIX:
            yield body


def _parse_matrix(body: bytes, order: str) -> tuple[str, np.ndarray]:
    """Return the name and the array of a matrix, an empty one for what is no array of numbers."""
    parts = itertools.islice(_elements(memoryview(body), order), 4)
    flags, sizes, name, *content = parts
    properties = struct.unpack_from(f"{order}I", flags[1])[0]
    shape = tuple(np.frombuffer(sizes[1], f"{order}i4").tolist())
    text = bytes(name[1]).decode("latin1")
    if properties & 0xFF not in _ARRAYS or properties & _COMPLEX or not content:
        return text, np.empty(0)
    kind, data = content[0]
    if kind not in _NUMBERS or not 2 <= len(shape) <= 32 or min(shape) < 0:
        raise ValueError(f"{text!r:.40} has numbers of kind {kind} in shape {shape}")
    number_type = np.dtype(order + _NUMBERS[kind])
    if len(data) != math.prod(shape) * number_type.itemsize:
        raise ValueError(f"{text!r:.40} has {len(data):,} bytes in shape {shape}")
    return text, np.frombuffer(data, number_type).reshape(shape, order="F")


def _elements(body: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """Yield kind and content of the elements of a matrix; small ones are in their own tag."""
    at = 0
    while at + 8 <= len(body):
        kind, size = struct.unpack_from(f"{order}2I", body, at)
        start = at + 8
        if kind >> 16:
            kind, size, start = kind & 0xFFFF, kind >> 16, at + 4
        if start + size > len(body) or (start == at + 4 and size > 4):
            raise ValueError(f"an element announces {size:,} bytes, {len(body) - start:,} follow")
        yield kind, body[start : start + size]
        at = start + size + (-size % 8 if start == at + 8 else 4 - size)
