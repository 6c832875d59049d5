"""IDX files are read back as written, and damaged ones are refused with the reason."""

from __future__ import annotations

import gzip
import re
import struct
import tracemalloc
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lenet_paddle.data import idx
from lenet_paddle.data.idx import read_images, read_labels
from lenet_paddle.errors import InputError

Writer = Callable[[Path, np.ndarray], Path]
ENDINGS = pytest.mark.parametrize("end", ["", ".gz"])


def _header(magic: int, *sizes: int) -> bytes:
    return struct.pack(f">I{len(sizes)}I", magic, *sizes)


@pytest.fixture
def images(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (7, 5, 3), dtype=np.uint8)  # no multiple of 100, no square


@ENDINGS
def test_images_are_read_as_they_were_written(
    tmp_path: Path, write_idx: Writer, images: np.ndarray, end: str
) -> None:
    read = read_images(write_idx(tmp_path / f"images{end}", images))
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, images)


@ENDINGS
def test_labels_are_read_as_they_were_written(tmp_path: Path, write_idx: Writer, end: str) -> None:
    read = read_labels(write_idx(tmp_path / f"labels{end}", np.arange(10)))
    assert read.dtype == np.int64
    assert read.tolist() == list(range(10))


def test_gzip_is_known_by_content_not_by_name(
    tmp_path: Path, write_idx: Writer, images: np.ndarray
) -> None:
    packed = write_idx(tmp_path / "a.gz", images).rename(tmp_path / "packed")
    plain = write_idx(tmp_path / "b", images).rename(tmp_path / "plain.gz")
    np.testing.assert_array_equal(read_images(packed), read_images(plain))


@pytest.mark.parametrize("read", [read_images, read_labels])
def test_a_pointer_of_git_lfs_in_a_files_place_is_named(
    tmp_path: Path, read: Callable[[Path], object]
) -> None:
    path = tmp_path / "images.gz"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 9\n")
    with pytest.raises(InputError, match=r"expected an IDX file .*; it is a pointer of Git LFS"):
        read(path)


def test_a_file_without_images_is_read_as_empty(tmp_path: Path, write_idx: Writer) -> None:
    path = write_idx(tmp_path / "none", np.zeros((0, 28, 28)))
    assert read_images(path).shape == (0, 28, 28)


@ENDINGS
def test_a_read_file_is_closed(
    tmp_path: Path, write_idx: Writer, images: np.ndarray, end: str
) -> None:
    path = write_idx(tmp_path / f"images{end}", images)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        read_images(path)
    assert [str(warning.message) for warning in caught] == []


def test_labels_in_place_of_images_are_called_swapped(tmp_path: Path, write_idx: Writer) -> None:
    path = write_idx(tmp_path / "labels", np.arange(10))
    with pytest.raises(
        InputError,
        match=r"file of labels; expected .* file of images .*\); are images and labels swapped\?$",
    ):
        read_images(path)


def test_images_in_place_of_labels_are_called_swapped(
    tmp_path: Path, write_idx: Writer, images: np.ndarray
) -> None:
    path = write_idx(tmp_path / "images", images)
    with pytest.raises(
        InputError,
        match=r"file of images; expected .* file of labels .*\); are images and labels swapped\?$",
    ):
        read_labels(path)


def test_a_label_out_of_range_is_named_with_its_position(tmp_path: Path, write_idx: Writer) -> None:
    path = write_idx(tmp_path / "labels", np.array([0, 9, 10, 200]))
    with pytest.raises(InputError, match="label 10 at position 2; expected 0 to 9"):
        read_labels(path)
    assert read_labels(path, num_classes=201).tolist() == [0, 9, 10, 200]
    with pytest.raises(InputError, match="label 200 at position 3; expected 0 to 199"):
        read_labels(path, num_classes=200)


WHOLE = _header(0x803, 2, 2, 2) + bytes(range(8))
DAMAGED = {
    "empty": (b"", "of 0 bytes; expected an IDX file of images"),
    "three bytes": (b"\0\0\x08", "of 3 bytes; expected an IDX file of images"),
    "other magic": (b"\x89PNG" + WHOLE, r"magic number 0x89504e47; expected .*\(0x00000803\)$"),
    "four other bytes": (b"\x89PNG", "magic number 0x89504e47; expected"),
    "floats": (_header(0x0D03, 2, 2, 2) + bytes(32), "magic number 0x00000d03; expected"),
    "nothing but magic": (WHOLE[:4], "ends inside its header; expected 3 sizes"),
    "header cut": (WHOLE[:14], "ends inside its header; expected 3 sizes"),
    "truncated": (WHOLE[:-1], "2 x 2 x 2 = 8 bytes, only 7 follow; the file is truncated"),
    "nothing but header": (WHOLE[:16], "only 0 follow; the file is truncated"),
    "trailing": (WHOLE + b"\0", "8 bytes, more follow; the file is too long"),
    "truncated gzip": (gzip.compress(WHOLE)[:-9], "truncated or damaged gzip"),
    "cut to gzip's header": (gzip.compress(WHOLE)[:5], "truncated or damaged gzip"),
    "gzip, wrong sum": (gzip.compress(WHOLE)[:-8] + bytes(8), "truncated or damaged gzip"),
    "gzip, broken stream": (gzip.compress(WHOLE)[:10] + b"\xff" * 20, "truncated or damaged gzip"),
    "gzip of truncated": (gzip.compress(WHOLE[:-1]), "only 7 follow; the file is truncated"),
    "gzip of trailing": (gzip.compress(WHOLE + b"\0"), "more follow; the file is too long"),
    "trailing after gzip": (gzip.compress(WHOLE) + b"junk", "truncated or damaged gzip"),
    "over a terabyte": (_header(0x803, *[2**32 - 1] * 3), "more than a terabyte"),
    "vast but empty": (_header(0x803, 2**32 - 1, 2**32 - 1, 0), "header announces"),
}


@pytest.mark.parametrize(("data", "said"), DAMAGED.values(), ids=DAMAGED)
def test_damage_is_refused_with_the_path_and_what_was_found(
    tmp_path: Path, data: bytes, said: str
) -> None:
    path = tmp_path / "images"
    path.write_bytes(data)
    with pytest.raises(InputError, match=f"^{re.escape(str(path))}: .*{said}"):
        read_images(path)


@pytest.mark.parametrize(
    ("pack", "said"),
    [
        (bytes, "= {} bytes, only 4 follow; the file is truncated"),
        (gzip.compress, r"\d+ bytes that announce {}; over a gigabyte and over a hundredfold"),
    ],
    ids=["plain", "gzip"],
)
@pytest.mark.parametrize(
    ("sizes", "total"),
    [
        ((2**19, 2**10, 2**10), "549,755,813,888"),
        ((2**24, 1, 2**16), "1,099,511,627,776"),  # a terabyte, the most that is believed
    ],
)
def test_a_giant_announced_size_takes_no_memory(
    tmp_path: Path, pack: Callable[[bytes], bytes], said: str, sizes: tuple[int, ...], total: str
) -> None:
    path = tmp_path / "images"
    path.write_bytes(pack(_header(0x803, *sizes) + b"tiny"))
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=f"^{path}: .*{said.format(total)}"):
            read_images(path)
        assert tracemalloc.get_traced_memory()[1] < 2**28
    finally:
        tracemalloc.stop()


def test_no_more_is_unpacked_than_the_header_announces(tmp_path: Path) -> None:
    path = tmp_path / "bomb"
    path.write_bytes(gzip.compress(WHOLE + bytes(2**25), compresslevel=1))
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="8 bytes, more follow; the file is too long"):
            read_images(path)
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("piece", [1, 5, 8, 9])
def test_what_is_read_in_pieces_is_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    monkeypatch.setattr(idx, "_PIECE", piece)
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(WHOLE))
    assert read_images(path).tobytes() == bytes(range(8))


def test_an_uncompressed_file_of_images_is_mapped_and_a_gzipped_one_is_read(
    tmp_path, rng, write_idx
):
    images = rng.integers(0, 256, (5, 4, 3)).astype(np.uint8)
    mapped = read_images(write_idx(tmp_path / "images", images))
    read = read_images(write_idx(tmp_path / "images.gz", images))
    assert isinstance(mapped, np.memmap) and not mapped.flags.writeable
    assert not isinstance(read, np.memmap)
    np.testing.assert_array_equal(mapped, images)
    np.testing.assert_array_equal(read, images)
