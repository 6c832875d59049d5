"""Read IDX files, the format of MNIST, strictly.

The format (http://yann.lecun.com/exdb/mnist/): a big-endian magic number 0x0000TTDD (type 0x08
is unsigned byte, 0x0C a signed number of 4 bytes, as in QMNIST's labels; DD the number of
dimensions), DD sizes of 4 bytes each, then the data in C order. `paddle.vision.datasets.MNIST`
checks nothing and fails with struct.error unless the count is a multiple of 100; this reader
checks everything, and its errors say what it found.
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from lenet_paddle.errors import InputError
from lenet_paddle.files import describe_content, open_file

_IMAGES, _LABELS, _EXTENDED = 0x00000803, 0x00000801, 0x00000C02
_KINDS = {
    _IMAGES: "an IDX file of images",
    _LABELS: "an IDX file of labels",
    _EXTENDED: "an IDX file of QMNIST's labels",
}
_TYPES: dict[int, np.dtype] = {0x08: np.dtype("u1"), 0x0C: np.dtype(">i4")}
_MAX_BYTES = 1 << 40
_PIECE = 1 << 26  # bytes read at once
_MAX_UNPACKED = 1 << 30  # bytes, for a file that is packed over a hundredfold


def read_images(path: Path) -> np.ndarray:
    """Read an image file as uint8 (N, H, W). Raises `InputError`.

    A file that is not gzipped is memory-mapped and may be larger than the memory.
    """
    return _read(path, _IMAGES)


def read_labels(path: Path, num_classes: int = 10, first: int = 0) -> np.ndarray:
    """Read a label file, gzipped or not, as int64 (N,) in [0, num_classes).

    `first` is the label of the first class in the file. Raises `InputError`.
    """
    return _number(path, _read(path, _LABELS), num_classes, first)


def read_extended_labels(path: Path, num_classes: int = 10) -> np.ndarray:
    """Read a file of QMNIST's labels, int32 (N, 8) with the class in front, as `read_labels`."""
    table = _read(path, _EXTENDED)
    if table.shape[1] == 0:
        raise InputError(f"{path}: has no columns; expected the class in the first")
    return _number(path, table[:, 0], num_classes, 0)


def _number(path: Path, raw: np.ndarray, num_classes: int, first: int) -> np.ndarray:
    labels = raw.astype(np.int64) - first
    is_wrong = (labels < 0) | (labels >= num_classes)
    if is_wrong.any():
        at = int(np.argmax(is_wrong))
        raise InputError(
            f"{path}: label {raw[at]} at position {at}; expected {first} to "
            f"{first + num_classes - 1}"
        )
    return labels


def _read(path: Path, magic: int) -> np.ndarray:
    """Read at most one byte more than the header announces, to be safe from gzip bombs."""
    num_dims, number_type = magic & 0xFF, _TYPES[magic >> 8]
    try:
        with open_file(path) as raw, _unpacked(raw) as file:
            header = file.read(4 + 4 * num_dims)
            shape = _parse_header(path, header, magic)
            expected = math.prod(shape) * number_type.itemsize
            if file is raw and path.stat().st_size == len(header) + expected:
                return np.memmap(raw, number_type, "r", len(header), shape)
            if file is not raw:
                check_unpacked(path, expected, path.stat().st_size)
            data = _read_exactly(file, expected)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(
            f"{path}: truncated or damaged gzip ({error}); copy or download the file again"
        ) from None
    if len(data) != expected:
        short = len(data) < expected
        found = f"only {len(data):,} follow" if short else "more follow"
        raise InputError(
            f"{path}: the header announces {' x '.join(map(str, shape))} = {expected:,} bytes, "
            f"{found}; the file is {'truncated' if short else 'too long'}"
        )
    return np.frombuffer(memoryview(data).toreadonly(), number_type).reshape(shape)


def check_unpacked(path: Path, unpacked: int, packed: int) -> None:
    """Raise `InputError` for a file that would unpack to over a gigabyte and over a hundredfold.

    Images are packed to about a tenth of their size, zeros to a thousandth.
    """
    if unpacked > max(_MAX_UNPACKED, 100 * packed):
        raise InputError(
            f"{path}: {packed:,} bytes that announce {unpacked:,}; over a gigabyte and over a "
            "hundredfold is refused, keep such data unpacked"
        )


def _unpacked(raw: BinaryIO) -> Any:
    """Open a gzip stream where the content is gzip (it starts with 1f 8b), whatever the name."""
    is_gzip = raw.read(2) == b"\x1f\x8b"
    raw.seek(0)
    return gzip.GzipFile(fileobj=raw) if is_gzip else raw


def _read_exactly(file: BinaryIO, size: int) -> bytearray:
    """Read up to `size + 1` bytes in pieces, so that a false size allocates nothing."""
    data = bytearray()
    while piece := file.read(min(size + 1 - len(data), _PIECE)):
        data += piece
    return data


def _parse_header(path: Path, header: bytes, magic: int) -> tuple[int, ...]:
    found = int.from_bytes(header[:4], "big")
    if len(header) < 4 or found != magic:
        what = _KINDS.get(found, f"a file with magic number {found:#010x}")
        with open_file(path) as file:
            hint = describe_content(file.read(200))
        if found in _KINDS:
            hint = "; are images and labels swapped?"
        came = f"an empty or tiny file of {len(header)} bytes" if len(header) < 4 else what
        raise InputError(f"{path}: {came}; expected {_KINDS[magic]} ({magic:#010x}){hint}")
    num_dims = magic & 0xFF
    if len(header) < 4 + 4 * num_dims:
        raise InputError(f"{path}: ends inside its header; expected {num_dims} sizes")
    shape = tuple(int.from_bytes(header[4 + 4 * i : 8 + 4 * i], "big") for i in range(num_dims))
    if math.prod(max(1, size) for size in shape) > _MAX_BYTES:
        raise InputError(f"{path}: the header announces {shape}; that is more than a terabyte")
    return shape
