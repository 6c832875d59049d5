"""HEIC pictures: as Pillow reads others, with the same limits."""

from __future__ import annotations

import io
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lenet_paddle.data.heic import allow_heic, name_format
from lenet_paddle.data.preprocess import TooManyPixels, decode_picture, load_picture
from lenet_paddle.errors import InputError

heif = pytest.importorskip("pillow_heif")
heif.register_heif_opener()


def encode(picture: Image.Image, kind: str = "HEIF", **settings: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **settings)
    return file.getvalue()


@pytest.fixture
def picture() -> Image.Image:
    """Four even squares, which compression hardly changes."""
    return Image.fromarray(np.kron([[0, 80, 240], [160, 255, 30]], np.ones((64, 64)))).convert("L")


@pytest.fixture
def grid(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A picture of 512x256 in two tiles, as phones write them."""
    monkeypatch.setattr(heif.options, "GRID_TILE_SIZE", 256)
    return encode(Image.new("RGB", (512, 256)))


def test_a_picture_is_read_as_from_png(tmp_path: Path, picture: Image.Image) -> None:
    (tmp_path / "a.heic").write_bytes(encode(picture, quality=90))
    read = load_picture(tmp_path / "a.heic").astype(int)
    assert np.abs(read - np.asarray(picture)).mean() < 3


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_it_is_turned_once(picture: Image.Image, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    read = [
        decode_picture(io.BytesIO(encode(picture, kind, exif=exif.tobytes())), "a").astype(int)
        for kind in ("PNG", "HEIF")
    ]
    assert np.abs(read[0] - read[1]).mean() < 5


def test_it_is_refused_before_it_is_decoded_if_it_has_too_many_pixels(grid: bytes) -> None:
    with pytest.raises(TooManyPixels, match=r"a\.heic: 512 x 256 pixels"):
        decode_picture(io.BytesIO(grid), "a.heic", 131_000)
    assert decode_picture(io.BytesIO(grid), "a.heic", 131_072).shape == (256, 512)


def test_large_tiles_of_a_small_picture_are_counted(grid: bytes) -> None:
    """A picture of 28x28 may be cut out of tiles of any size, and each may come again and again."""
    small = grid.replace(struct.pack(">2I", 512, 256), struct.pack(">2I", 28, 28))
    at = small.rindex(struct.pack(">2H", 512, 256))
    small = small[:at] + struct.pack(">2H", 28, 28) + small[at + 4 :]
    assert decode_picture(io.BytesIO(small), "a.heic").shape == (28, 28)
    assert allow_heic(grid, "a") == 512 * 256 + 2 * 256 * 256
    assert allow_heic(small, "a") == 28 * 28 + 2 * 256 * 256
    with pytest.raises(TooManyPixels, match=r"a\.heic: its parts have .* save it again"):
        decode_picture(io.BytesIO(small), "a.heic", 10_000)


def test_an_item_made_of_itself_is_refused(grid: bytes) -> None:
    at = grid.index(b"dimg")  # from (2 bytes), count (2), to (2 each)
    assert grid[at + 4 : at + 8] == b"\0\1\0\2"
    with pytest.raises(InputError, match=r"a: damaged picture"):
        allow_heic(grid[: at + 8] + b"\0\1\0\1" + grid[at + 12 :], "a")


def test_damaged_files_are_one_line(grid: bytes, rng: np.random.Generator) -> None:
    head = grid.index(b"mdat")
    for _ in range(300):
        damaged = bytearray(grid)
        damaged[int(rng.integers(8, head))] = int(rng.integers(256))
        try:
            decode_picture(io.BytesIO(bytes(damaged)), "a", 10**6)
        except InputError as error:
            assert str(error).startswith("a: ") and "\n" not in str(error)
    for end in range(8, len(grid), 50):
        with pytest.raises(InputError, match=r"^a: "):
            decode_picture(io.BytesIO(grid[:end]), "a")


def test_without_the_package_the_message_says_how_to_get_it(
    grid: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(InputError, match=r"a\.heic: .*pip install '\.\[heic\]'.*JPEG"):
        decode_picture(io.BytesIO(grid), "a.heic")


@pytest.mark.parametrize("kind", ["TIFF", "AVIF", "HEIF", "PNG", "JPEG", "WEBP"])
def test_a_format_is_named_by_its_first_bytes(kind: str) -> None:
    expected = {"HEIF": "HEIC", "TIFF": "TIFF", "AVIF": "AVIF"}.get(kind)
    assert name_format(encode(Image.new("L", (64, 64)), kind)[:64]) == expected
