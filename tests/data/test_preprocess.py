"""Exact normalisation, pictures of all kinds to grey, and errors for damaged ones."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from lenet_paddle.data.datasets import Preprocess
from lenet_paddle.data.load import load_dataset
from lenet_paddle.data.preprocess import (
    MAX_PIXELS,
    TooManyPixels,
    decode_picture,
    encode_png,
    holds_several,
    is_empty,
    is_prepared,
    load_picture,
    normalise,
    prepare_picture,
)
from lenet_paddle.errors import InputError

Writer = Callable[[Path, np.ndarray], Path]


def _decode(picture: Image.Image, kind: str = "PNG", **settings: object) -> np.ndarray:
    file = io.BytesIO()
    picture.save(file, kind, **settings)
    return decode_picture(io.BytesIO(file.getvalue()), "a picture")


def test_pixels_map_linearly_onto_minus_one_to_one() -> None:
    values = np.arange(256, dtype=np.uint8)
    result = normalise(values.reshape(1, 16, 16), 16)
    assert result.dtype == np.float32
    assert result.shape == (1, 1, 16, 16)
    exact = (values.astype(np.float64) - 127.5) / 127.5
    np.testing.assert_allclose(result.ravel(), exact, rtol=1e-6)


def test_the_ends_and_the_middle_are_exact() -> None:
    result = normalise(np.array([[[0, 127, 128, 255]]], np.uint8), 4)[0, 0, 1]
    # (127 - 127.5) / 127.5 = -1/255 and (128 - 127.5) / 127.5 = 1/255
    assert result.tolist() == [-1.0, np.float32(-1 / 255), np.float32(1 / 255), 1.0]


@pytest.mark.parametrize(
    ("shape", "size", "top", "left"),
    [((28, 28), 28, 0, 0), ((28, 28), 32, 2, 2), ((5, 4), 8, 1, 2), ((1, 1), 28, 13, 13)],
)
def test_smaller_images_stand_in_the_middle_of_background(
    rng: np.random.Generator, shape: tuple[int, int], size: int, top: int, left: int
) -> None:
    images = rng.integers(0, 256, (3, *shape), dtype=np.uint8)
    result = normalise(images, size)
    border = size - shape[0] - top, size - shape[1] - left
    pad = [(0, 0), (0, 0), (top, border[0]), (left, border[1])]
    expected = np.pad((images[:, None] - 127.5) / 127.5, pad, constant_values=-1)
    np.testing.assert_allclose(result, expected, rtol=1e-6)


def test_no_image_is_no_batch() -> None:
    assert normalise(np.zeros((0, 28, 28), np.uint8), 32).shape == (0, 1, 32, 32)


@pytest.mark.parametrize("shape", [(29, 28), (28, 29), (100, 100)])
def test_images_larger_than_the_input_are_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(InputError, match=f"{shape[0]}x{shape[1]}; .* at most 28x28"):
        normalise(np.zeros((1, *shape), np.uint8))


@pytest.mark.parametrize("mode", ["digit", "resize"])
def test_whether_a_picture_is_prepared_is_known_without_preparing_it(
    mode: Preprocess, rng: np.random.Generator
) -> None:
    digits = load_dataset("mnist", "test").images[:3]
    noise = rng.integers(0, 256, (2, 28, 28), dtype=np.uint8)
    pictures = [*digits, *(255 - digits), *noise, digits[0].repeat(10, 0).repeat(10, 1)]
    for picture in pictures:
        is_same = np.array_equal(prepare_picture(picture, mode), picture)
        assert is_prepared(picture, mode) == is_same


@pytest.mark.parametrize("mode", ["digit", "resize"])
def test_in_a_picture_of_one_value_nothing_is_written(mode: Preprocess) -> None:
    for shape in ((28, 28), (400, 400), (30, 500)):
        for value in (0, 100, 255):
            assert is_empty(prepare_picture(np.full(shape, value, np.uint8), mode))
    digit = np.zeros((28, 28), np.uint8)
    digit[9, 9] = 1
    assert not is_empty(digit)


# --- any picture -> grey ---


@pytest.fixture
def grey(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (9, 13), dtype=np.uint8)


def test_a_grey_picture_is_read_as_it_is(
    tmp_path: Path, write_picture: Writer, grey: np.ndarray
) -> None:
    read = load_picture(write_picture(tmp_path / "a.png", grey))
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, grey)


def test_colour_becomes_luma(rng: np.random.Generator) -> None:
    colour = rng.integers(0, 256, (9, 13, 3), dtype=np.uint8)
    luma = colour @ np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
    assert np.abs(_decode(Image.fromarray(colour)) - luma).max() <= 1


def test_a_palette_is_looked_up(grey: np.ndarray) -> None:
    picture = Image.fromarray(grey, "P")
    picture.putpalette([value for i in range(256) for value in [255 - i] * 3])
    np.testing.assert_array_equal(_decode(picture), 255 - grey)


def test_sixteen_bits_are_scaled_to_eight(grey: np.ndarray) -> None:
    np.testing.assert_array_equal(_decode(Image.fromarray(grey.astype(np.uint16) * 257)), grey)


def test_one_bit_becomes_black_and_white(grey: np.ndarray) -> None:
    np.testing.assert_array_equal(_decode(Image.fromarray(grey > 127)), (grey > 127) * 255)


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
@pytest.mark.parametrize(("ink", "ground"), [(10, 255), (120, 255), (200, 0), (255, 0)])
def test_transparent_parts_become_a_ground_that_contrasts(mode: str, ink: int, ground: int) -> None:
    alpha = np.where(np.arange(13) < 6, 0, 255).astype(np.uint8) * np.ones((9, 1), np.uint8)
    layers = [np.full_like(alpha, ink)] * (len(mode) - 1) + [alpha]
    read = _decode(Image.fromarray(np.stack(layers, -1), mode))
    np.testing.assert_array_equal(read, np.where(alpha == 0, ground, ink))


@pytest.mark.parametrize(("paper", "ink"), [(240, 20), (20, 240), (200, 140), (100, 20)])
@pytest.mark.parametrize("alpha", [255, 120])
def test_the_ground_goes_on_an_opaque_sheet(paper: int, ink: int, alpha: int) -> None:
    grey, opaque = np.full((40, 40), paper, np.uint8), np.full((40, 40), alpha, np.uint8)
    grey[10:30, 18:22] = ink
    opaque[:4, :4] = opaque[:4, -4:] = opaque[-4:, :4] = opaque[-4:, -4:] = 0  # cut corners
    read = _decode(Image.fromarray(np.stack([grey, opaque], -1), "LA"))
    assert read[0, 0] == (255 if paper > 127 else 0)


def test_one_colour_is_ink_however_much_of_the_picture_it_fills() -> None:
    alpha = np.full((20, 8), 255, np.uint8)
    alpha[:5, :3] = 0  # an upright 1, cut out closely
    for ink, ground in ((255, 0), (30, 255)):
        assert (
            _decode(Image.fromarray(np.stack([np.full_like(alpha, ink), alpha], -1)))[0, 0]
            == ground
        )


def test_half_transparent_light_ink_is_ink() -> None:
    alpha = np.where(np.arange(13) < 6, 0, 100).astype(np.uint8) * np.ones((9, 1), np.uint8)
    read = _decode(Image.fromarray(np.stack([np.full_like(alpha, 255), alpha], -1), "LA"))
    np.testing.assert_array_equal(read, np.where(alpha == 0, 0, 100))


def test_a_transparent_palette_entry_is_ground() -> None:
    picture = Image.new("P", (4, 4), 1)
    picture.putpalette([0, 0, 0, 10, 20, 30])
    picture.putpixel((0, 0), 0)
    read = _decode(picture, "PNG", transparency=0)
    assert read[0, 0] == 255
    assert read[1, 1] < 30


TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda a: a,
    3: lambda a: np.rot90(a, 2),
    6: lambda a: np.rot90(a, -1),
    8: lambda a: np.rot90(a, 1),
    2: np.fliplr,
    4: np.flipud,
}


@pytest.mark.parametrize("orientation", TURNS)
def test_a_picture_is_turned_as_its_exif_says(grey: np.ndarray, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    read = _decode(Image.fromarray(grey), "PNG", exif=exif)
    np.testing.assert_array_equal(read, TURNS[orientation](grey))


def _write_tiff(order: str, is_big: bool, width: tuple[int, int], length: int) -> io.BytesIO:
    """Return a TIFF of 28x28 in one tile of the given `width`, with a tag of the given type."""
    data = zlib.compress(bytes(width[1] * length if width[1] < 100 else 10))
    tags = {256: (4, 28), 257: (4, 28), 258: (4, 8), 259: (4, 8), 262: (4, 1), 277: (4, 1)}
    tags |= {322: width, 323: (4, length), 325: (4, len(data))}
    entry, offset = ("HHQ", "Q") if is_big else ("HHI", "I")
    size = 16 + 8 + 10 * 20 + 8 if is_big else 8 + 2 + 10 * 12 + 4
    tags[324] = (4, size)
    head = {"<": b"II", ">": b"MM"}[order]
    head += (
        struct.pack(order + "HHHQ", 43, 8, 0, 16) if is_big else struct.pack(order + "HI", 42, 8)
    )
    head += struct.pack(order + ("Q" if is_big else "H"), len(tags))
    for tag, (kind, value) in sorted(tags.items()):
        packed = struct.pack(order + {2: "I", 3: "H", 4: "I"}.get(kind, offset), value)
        head += struct.pack(order + entry, tag, kind, 1) + packed.ljust(8 if is_big else 4, b"\0")
    return io.BytesIO(head + bytes(8 if is_big else 4) + data)


@pytest.mark.parametrize(("order", "is_big"), [("<", False), (">", False), ("<", True)])
def test_a_tiff_of_tiles_larger_than_a_picture_may_be_is_refused(order: str, is_big: bool) -> None:
    """Pillow decodes whole tiles, even for a picture of 28x28."""
    for kind in (3, 4):
        read = decode_picture(_write_tiff(order, is_big, (kind, 64), 64), "a.tif")
        assert read.shape == (28, 28)
        with pytest.raises(TooManyPixels, match=r"a\.tif: tiles of 8000 x 8000 pixels"):
            decode_picture(_write_tiff(order, is_big, (kind, 8000), 8000), "a.tif")
    for kind in (2, 16, 17, 18):
        with pytest.raises(InputError, match=r"a\.tif: a TIFF file with invalid tags"):
            decode_picture(_write_tiff(order, is_big, (kind, 64), 64), "a.tif")


def test_a_picture_that_would_take_hours_or_gigabytes_is_refused() -> None:
    file = io.BytesIO()
    Image.new("L", (32, 32)).save(file, "JPEG", progressive=True)
    data = file.getvalue()
    start = data.rindex(b"\xff\xda")  # its last scan, which comes again and again
    for count, is_read in ((50, True), (101, False), (100_000, False)):
        repeated = io.BytesIO(data[:start] + data[start:-2] * count + b"\xff\xd9")
        if is_read:
            assert decode_picture(repeated, "a.jpg").shape == (32, 32)
        else:
            with pytest.raises(InputError, match=r"a\.jpg: \d+ scans; expected at most 100"):
                decode_picture(repeated, "a.jpg")
    with pytest.raises(TooManyPixels, match="65,535 a side"):
        _decode(Image.new("1", (65_536, 1)))
    assert _decode(Image.new("1", (65_535, 1))).shape == (1, 65_535)


def test_a_vast_picture_is_refused_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "vast.png"
    Image.new("1", (8000, 8000)).save(path, compress_level=1)
    assert 8000 * 8000 > MAX_PIXELS == 50_000_000

    def decode(*_: object) -> None:
        raise AssertionError("it was decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", decode)
    with pytest.raises(InputError, match=r"vast.png: 8000 x 8000 pixels; expected at most 50 mil"):
        load_picture(path)


def test_a_decompression_bomb_is_refused() -> None:
    # a BMP header alone: 60,000 x 60,000 pixels, 24 bits each
    header = b"BM" + bytes(8) + (54).to_bytes(4, "little") + (40).to_bytes(4, "little")
    header += (60_000).to_bytes(4, "little") * 2 + b"\x01\0\x18\0" + bytes(24)
    with pytest.raises(InputError, match=r"bomb\.bmp: .*scale it down first"):
        decode_picture(io.BytesIO(header), "bomb.bmp")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"])
@pytest.mark.parametrize("part", [0.0, 0.05, 0.5, 0.9])
def test_a_truncated_picture_is_refused_by_name(
    rng: np.random.Generator, kind: str, part: float
) -> None:
    file = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (60, 60), dtype=np.uint8)).save(file, kind)
    cut = file.getvalue()[: int(len(file.getvalue()) * part)]
    with pytest.raises(InputError, match=r"^a\.img: (damaged|not a readable) picture") as caught:
        decode_picture(io.BytesIO(cut), "a.img")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"text", b"%PDF-1.4\n", bytes(1000)])
def test_a_file_that_is_not_a_picture_is_refused_by_name(data: bytes) -> None:
    with pytest.raises(InputError, match=r"^b\.txt: not a readable picture; expected PNG"):
        decode_picture(io.BytesIO(data), "b.txt")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "it is empty: copy or download it again"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n", "run git lfs pull"),
        (b"/annex/objects/SHA256E-s31390--f50d7ac4.png\n", "run git annex get"),
        (b"\r\n<!DOCTYPE html><html>404</html>", "a web page, as a failed download leaves"),
        (b"%PDF-1.4\n", "it is a PDF or SVG: save it as PNG"),
        (b'<?xml version="1.0"?>\n<svg xmlns="a"/>', "it is a PDF or SVG: save it as PNG"),
    ],
)
def test_what_is_often_found_in_a_pictures_place_is_named(data: bytes, said: str) -> None:
    with pytest.raises(InputError, match=f"not a readable picture; expected .*{said}") as caught:
        decode_picture(io.BytesIO(data), "b.png")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "several"),
    [("GIF", True), ("PNG", True), ("TIFF", True), ("WEBP", True), ("MPO", False), ("PDF", False)],
)
def test_files_of_several_pictures_are_told_from_those_of_one(
    tmp_path: Path, kind: str, several: bool
) -> None:
    first, second = Image.new("L", (9, 9), 0), Image.new("L", (9, 9), 255)
    first.save(tmp_path / "one", "PNG" if kind == "MPO" else kind)
    first.save(tmp_path / "two", kind, save_all=True, append_images=[second])
    assert not holds_several(tmp_path / "one")
    assert holds_several(tmp_path / "two") == several
    assert not holds_several(tmp_path / "missing")


def test_a_kind_that_pillow_knows_only_in_part_is_refused_by_name() -> None:
    file = io.BytesIO()
    Image.new("RGB", (4, 4)).save(file, "DDS")
    data = bytearray(file.getvalue())
    data[80:84] = (128).to_bytes(4, "little")  # pixel format flags that no one knows
    with pytest.raises(InputError, match=r"^c\.dds: "):
        decode_picture(io.BytesIO(bytes(data)), "c.dds")


def test_a_missing_picture_is_the_systems_own_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_picture(tmp_path / "missing.png")


# --- grey -> 28x28 ---


def test_a_28x28_picture_passes_unchanged(rng: np.random.Generator) -> None:
    picture = rng.integers(0, 256, (28, 28), dtype=np.uint8)
    np.testing.assert_array_equal(prepare_picture(picture, "resize"), picture)


@pytest.mark.parametrize("value", [0, 77, 255])
@pytest.mark.parametrize("shape", [(28, 27), (1, 1), (500, 3), (3, 500), (56, 56)])
def test_an_even_picture_stays_even(shape: tuple[int, int], value: int) -> None:
    result = prepare_picture(np.full(shape, value, np.uint8), "resize")
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result, np.full((28, 28), value))


@pytest.mark.parametrize("turn", [False, True])
def test_resize_keeps_the_aspect_and_fills_with_the_borders_median(turn: bool) -> None:
    # 56 x 28, halved: 28 x 14, with 7 rows of the border's value above and below
    picture = np.full((28, 56), 40, np.uint8)
    picture[6:22, 6:50] = 240
    expected = np.full((28, 28), 40, np.uint8)
    expected[10:18, 3:25] = 240
    if turn:
        picture, expected = picture.T, expected.T
    result = prepare_picture(np.ascontiguousarray(picture), "resize")
    edge = np.abs(result.astype(int) - expected)
    assert (edge > 20).mean() < 0.01  # Lanczos rings a little at the edges
    filled = result[:, :7] if turn else result[:7]
    assert (filled == 40).all()


@pytest.mark.parametrize("shape", [(28, 28), (1, 1), (3, 70)])
def test_an_encoded_png_is_read_back_by_pillow_as_it_was(rng, shape):
    picture = rng.integers(0, 256, shape).astype(np.uint8)
    read = Image.open(io.BytesIO(encode_png(picture)))
    assert (read.format, read.mode) == ("PNG", "L")
    np.testing.assert_array_equal(np.asarray(read), picture)


def test_only_the_formats_and_sizes_asked_for_are_decoded():
    file = io.BytesIO(encode_png(np.zeros((10, 10), np.uint8)))
    assert decode_picture(file, "x", 100, ["PNG"]).shape == (10, 10)
    with pytest.raises(TooManyPixels, match="10 x 10 pixels"):
        decode_picture(file, "x", 99)
    with pytest.raises(InputError, match="not a readable picture"):
        decode_picture(file, "x", 100, ["JPEG"])


# --- JPEGs decoded at reduced size ---


def _smooth(height: int, width: int, rng: np.random.Generator) -> Image.Image:
    small = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("size", "expected"), [(28, 125), (64, 125), (96, 250), (224, 500)])
def test_a_large_jpeg_is_decoded_at_about_twice_its_target_and_looks_the_same(
    tmp_path: Path, rng: np.random.Generator, channels: int, size: int, expected: int
) -> None:
    _smooth(375, 500, rng).save(tmp_path / "1.jpg", quality=90)
    full, reduced = (load_picture(tmp_path / "1.jpg", None, channels, n) for n in (None, size))
    assert full.shape[:2] == (375, 500) and reduced.shape[1] == expected
    if expected == 500:
        np.testing.assert_array_equal(full, reduced)
    seen = [prepare_picture(picture, "resize", size).astype(int) for picture in (full, reduced)]
    rows = slice(size // 6, -(size // 6))  # without the filled rest, a median of the border
    assert np.abs(seen[0] - seen[1])[rows].mean() < 1.5


@pytest.mark.parametrize("side", [113, 120, 239])
def test_smaller_jpegs_are_read_whole(tmp_path: Path, rng: np.random.Generator, side: int) -> None:
    _smooth(side, side, rng).save(tmp_path / "1.jpg")
    full, reduced = (load_picture(tmp_path / "1.jpg", None, 3, n) for n in (None, 28))
    np.testing.assert_array_equal(full, reduced)


@pytest.mark.parametrize("name", ["1.png", "1.bmp", "1.webp", "1.tif", "1.gif"])
def test_other_formats_are_read_whole(tmp_path: Path, rng: np.random.Generator, name: str) -> None:
    _smooth(375, 500, rng).save(tmp_path / name)
    full, reduced = (load_picture(tmp_path / name, None, 3, n) for n in (None, 28))
    np.testing.assert_array_equal(full, reduced)


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_jpegs_of_other_colours_can_be_reduced(
    tmp_path: Path, rng: np.random.Generator, mode: str
) -> None:
    _smooth(400, 800, rng).convert(mode).save(tmp_path / "1.jpg")
    for channels in (1, 3):
        full, reduced = (load_picture(tmp_path / "1.jpg", None, channels, n) for n in (None, 28))
        assert reduced.ndim == full.ndim and reduced.shape[:2] == (100, 200)
        seen = [prepare_picture(picture, "resize").astype(int) for picture in (full, reduced)]
        assert np.abs(seen[0] - seen[1])[8:20].mean() < 2


def test_a_reduced_jpeg_is_rotated_as_its_exif_data_say(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn right
    picture = _smooth(375, 500, rng)
    picture.save(tmp_path / "turned.jpg", exif=exif)
    picture.save(tmp_path / "plain.jpg")
    turned, plain = (load_picture(tmp_path / f"{n}.jpg", None, 3, 64) for n in ("turned", "plain"))
    np.testing.assert_array_equal(turned, np.rot90(plain, -1))
