"""Pictures of 10, 12, 16 bits and floats: white is what the file states, else a usual depth."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from lenet_paddle.data.preprocess import decode_picture

RAMP = np.linspace(0, 1, 256).reshape(16, 16)
EIGHT = np.arange(256).reshape(16, 16)
BITS_PER_SAMPLE, MAX_VALUE, MAX_VALUE_OF_TYPE = 258, 281, 341


def _read(values: np.ndarray, kind: str = "TIFF", tags: dict | None = None) -> np.ndarray:
    file = io.BytesIO()
    more = {}
    if tags:
        more["tiffinfo"] = TiffImagePlugin.ImageFileDirectory_v2()
        for tag, value in tags.items():
            more["tiffinfo"][tag] = value
    Image.fromarray(values).save(file, kind, **more)
    file.seek(0)
    return decode_picture(file, "a").astype(int)


@pytest.mark.parametrize("kind", ["TIFF", "PNG"])
@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_the_largest_value_tells_the_bits(kind: str, bits: int) -> None:
    read = _read((RAMP * (2**bits - 1)).round().astype(np.uint16), kind)
    assert np.abs(read - EIGHT).max() <= 1 and read.max() == 255


def test_sixteen_bits_stay_as_they_were(rng: np.random.Generator) -> None:
    values = rng.integers(0, 65536, (40, 40)).astype(np.uint16)
    np.testing.assert_array_equal(_read(values), values // 257)
    np.testing.assert_array_equal(_read(values.astype(np.int32)), (values * (255 / 65535)) // 1)
    np.testing.assert_array_equal(_read(values % 256), values % 256)


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
@pytest.mark.parametrize("white", [255, 1023, 4095, 65535])
def test_wide_numbers_are_read_like_those_of_sixteen_bits(dtype: type, white: int) -> None:
    read = _read((RAMP * white).astype(dtype))
    assert np.abs(read - EIGHT).max() <= 1 and read.max() == 255


def test_floats_up_to_one_are_scaled() -> None:
    np.testing.assert_array_equal(_read(RAMP.astype(np.float32)), EIGHT)
    half = (RAMP / 2).astype(np.float32)
    assert _read(half).max() == 128  # not stretched
    assert (_read(np.zeros((4, 4), np.float32)) == 0).all()


def test_nan_and_infinity_do_not_decide() -> None:
    values = RAMP.astype(np.float32)
    values[0, :3] = np.nan, np.inf, -np.inf
    expected = EIGHT.copy()
    expected[0, :3] = 0, 255, 0
    np.testing.assert_array_equal(_read(values), expected)


@pytest.mark.parametrize(
    ("tags", "largest", "expected"),
    [
        ({MAX_VALUE: 4095}, 900, 56),
        ({MAX_VALUE: 3871}, 900, 56),  # the picture's own, as some writers understand it
        ({MAX_VALUE: 65535}, 900, 3),
        ({MAX_VALUE: 255}, 900, 224),  # cannot be
        ({}, 900, 224),
    ],
)
def test_a_stated_white_comes_before_the_largest_value(
    tags: dict, largest: int, expected: int
) -> None:
    assert _read(np.full((9, 9), largest, np.uint16), tags=tags).max() == expected


def test_a_float_picture_may_state_its_white() -> None:
    assert _read(np.full((9, 9), 0.5, np.float32), tags={MAX_VALUE_OF_TYPE: 255.0}).max() == 0
    assert _read(np.full((9, 9), 51, np.float32), tags={MAX_VALUE_OF_TYPE: 1023.0}).max() == 13


def test_twelve_bits_a_sample_are_stated_by_the_file() -> None:
    """Two samples in three bytes, most significant first, as TIFF packs them."""
    values = np.full((8, 8), 900, np.uint16)
    packed = np.array([900 >> 4, (900 & 15) << 4 | 900 >> 8, 900 & 255], np.uint8).tobytes() * 32
    file = io.BytesIO()
    Image.fromarray(values).save(file, "TIFF")
    tags = {256: 8, 257: 8, 258: 12, 259: 1, 262: 1, 273: 0, 277: 1, 278: 8, 279: len(packed)}
    tags[273] = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(
        tag.to_bytes(2, "little") + b"\4\0\1\0\0\0" + value.to_bytes(4, "little")
        for tag, value in tags.items()
    )
    head = b"II*\0\x08\0\0\0" + len(tags).to_bytes(2, "little")
    read = decode_picture(io.BytesIO(head + entries + bytes(4) + packed), "a")
    assert (read == 900 * 255 // 4095).all()


def test_a_pgm_file_is_scaled_by_its_own_maximum() -> None:
    file = io.BytesIO(b"P5 2 1 1023\n" + np.array([100, 200], ">u2").tobytes())
    assert decode_picture(file, "a").tolist() == [[24, 49]]
