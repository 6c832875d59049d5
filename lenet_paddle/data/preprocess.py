"""Prepare pictures (any picture -> uint8 SxS) and normalise batches (uint8 -> float32).

Training, evaluation, prediction, the export's check and the server all use these functions.
"""

from __future__ import annotations

import re
import struct
import zlib
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from lenet_paddle.data.datasets import Preprocess
from lenet_paddle.data.depth import Depth, is_deep, stated_white, to_eight_bits
from lenet_paddle.data.form import SIZE
from lenet_paddle.data.heic import allow_heic, name_format
from lenet_paddle.errors import InputError
from lenet_paddle.files import describe_content, open_file

if TYPE_CHECKING:
    from PIL import Image

MAX_PIXELS = 50_000_000  # larger pictures are refused before they are decoded
MAX_SIDE = 65_535  # JPEG's limit; scaling down a longer side takes memory beyond the pixels
MAX_SCANS = 100  # of a JPEG file, each a pass over all pixels; 10 are usual
MAX_PARTS = 8  # a phone's HEIC has tiles, depth and light of up to seven times its picture
NORMALISATION = "(x - 127.5) / 127.5"


class TooManyPixels(InputError):
    """A picture over the size limit, refused before it is decoded."""


def normalise(images: np.ndarray, input_size: int = SIZE) -> np.ndarray:
    """Normalise uint8 images, 0..255, to float32, (x - 127.5) / 127.5 in [-1, 1].

    Grey (B, H, W) becomes (B, 1, S, S), RGB (B, H, W, 3) becomes (B, 3, S, S). Smaller images are
    centred on the background (-1). Raises `InputError` for images larger than S.
    """
    batch, height, width = images.shape[:3]
    if height > input_size or width > input_size:
        raise InputError(
            f"images are {height}x{width}; this network takes at most {input_size}x{input_size}"
        )
    top, left = (input_size - height) // 2, (input_size - width) // 2
    planes = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
    result = np.full((batch, planes.shape[1], input_size, input_size), -1.0, np.float32)
    inside = result[:, :, top : top + height, left : left + width]
    np.subtract(planes, np.float32(127.5), out=inside)
    inside /= np.float32(127.5)
    return result


def load_picture(path: Path, depth: Depth | None = None, channels: int = 1) -> np.ndarray:
    """Read a picture of any format that Pillow knows, and HEIC.

    Returns uint8 (H, W) grey, or with 3 `channels` (H, W, 3) RGB. The picture is rotated as its
    EXIF data say; transparent parts become white, or black under light ink.
    White of a picture of more than 8 bits is what the file states, else what `depth` knows of its
    set, else its own largest value rounded up to 8, 10, 12 or 16 bits (floats: to 1). Raises
    `InputError` for a file that is not a picture, is damaged, or has more than 50 million pixels.
    """
    with open_file(path) as file:
        return decode_picture(file, str(path), depth=depth, channels=channels)


def holds_several(path: Path) -> bool:
    """Return whether a file holds several pictures, the pages of a TIFF or the frames of an
    animation, of which `load_picture` reads the first.

    The preview in a phone's JPEG and the layers of a PSD do not count.
    """
    import warnings

    from PIL import Image

    kinds = ("AVIF", "GIF", "PNG", "TIFF", "WEBP")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with open_file(path) as file, Image.open(file) as picture:
                return picture.format in kinds and bool(getattr(picture, "is_animated", False))
    except Exception:  # as in decode_picture, which reports it
        return False


def decode_picture(
    file: IO[bytes],
    name: str,
    max_pixels: int = MAX_PIXELS,
    formats: tuple[str, ...] | None = None,
    depth: Depth | None = None,
    channels: int = 1,
) -> np.ndarray:
    """Read a picture from an open binary file, like `load_picture`; errors call it `name`.

    `formats` are Pillow's names of the formats accepted, by default all; HEIC always is, with the
    extra `heic`. Raises `TooManyPixels` above `max_pixels`, or above 65,535 pixels a side.
    """
    import warnings

    from PIL import Image, ImageOps, UnidentifiedImageError

    kind = name_format(file.read(64))
    file.seek(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # large pictures, odd EXIF
            if kind == "HEIC":
                pixels, formats = allow_heic(file.read(), name), ("HEIF",)
                if pixels > MAX_PARTS * max_pixels:
                    raise TooManyPixels(
                        f"{name}: its parts have {pixels / 1e6:,.0f} million pixels; expected at "
                        f"most {MAX_PARTS * max_pixels / 1e6:g}, save it again"
                    )
                file.seek(0)
            picture = Image.open(file, formats=formats)  # the header only
            if picture.format == "EPS":  # a program, which Pillow runs in Ghostscript
                raise UnidentifiedImageError
            if picture.width * picture.height > max_pixels or max(picture.size) > MAX_SIDE:
                raise TooManyPixels(
                    f"{name}: {picture.width} x {picture.height} pixels; expected at most "
                    f"{max_pixels / 1e6:g} million, {MAX_SIDE:,} a side; scale it down first"
                )
            if picture.format in ("JPEG", "MPO"):
                _check_scans(file, name)
            if picture.format == "TIFF":
                _check_tiles(file, name, max_pixels)
            stated = stated_white(picture)
            grey_or_rgb = _to_mode(ImageOps.exif_transpose(picture), channels, stated, depth)
            return np.array(grey_or_rgb)
    except InputError:
        raise
    except UnidentifiedImageError:
        if kind:
            expected = ", ".join((*(formats or ()), "HEIC"))
            raise InputError(f"{name}: a file of format {kind}; expected {expected}") from None
        file.seek(0)
        hint = describe_content(file.read(200))
        raise InputError(f"{name}: not a readable picture; expected PNG, JPEG ...{hint}") from None
    except Image.DecompressionBombError:
        raise TooManyPixels(
            f"{name}: far too many pixels; "
            f"expected at most {max_pixels / 1e6:g} million, scale it down first"
        ) from None
    except Exception as error:  # Pillow's decoders raise nearly anything
        raise InputError(f"{name}: damaged picture ({error}); copy or save it again") from None


# The head of a scan: marker, length and number of components. In the data of a scan FF is followed
# by 00, but data after the picture, such as a film, may hold FF DA.
_SCAN = re.compile(rb"\xff\xda\x00(?:\x06\x00|\x08\x01|\x0a\x02|\x0c\x03|\x0e\x04)")


def _check_scans(file: IO[bytes], name: str) -> None:
    """Raise `InputError` for a JPEG file that would take hours: 10 MB can hold 200,000 scans."""
    position = file.tell()
    file.seek(0)
    scans = len(_SCAN.findall(file.read()))
    file.seek(position)
    if scans > MAX_SCANS:
        raise InputError(f"{name}: {scans} scans; expected at most {MAX_SCANS}, save it again")


def _check_tiles(file: IO[bytes], name: str, max_pixels: int) -> None:
    """Raise `InputError` for a TIFF file with tiles larger than a picture may be.

    Tiles are decoded whole, and may be larger than the picture. The tags of the first picture are
    read here (TIFF 6.0, section 2, and BigTIFF), because Pillow skips tags of unknown types which
    libtiff, the decoder, reads.
    """
    position = file.tell()
    file.seek(0)
    order = "<" if file.read(2) == b"II" else ">"

    def read(form: str) -> tuple[int, ...]:
        return struct.unpack(order + form, file.read(struct.calcsize(order + form)))

    is_big = read("H") == (43,)
    if is_big and order == ">":  # Pillow and libtiff read its head differently
        raise InputError(f"{name}: a big-endian BigTIFF file is not supported; save it again")
    file.seek(read("IQ")[1] if is_big else read("I")[0])
    sides = {322: 0, 323: 0}  # TileWidth, TileLength
    for _ in range(min(read("Q" if is_big else "H")[0], 65_535)):  # libtiff takes no more
        tag, kind, count = read("HHQ" if is_big else "HHI")
        value = file.read(8 if is_big else 4)
        if tag in sides:
            if kind not in (3, 4) or count != 1:  # a SHORT or a LONG
                raise InputError(f"{name}: a TIFF file with invalid tags; save it again")
            [side] = struct.unpack_from(order + ("H" if kind == 3 else "I"), value)
            sides[tag] = max(sides[tag], side)
    file.seek(position)
    if sides[322] * sides[323] > max_pixels:
        raise TooManyPixels(
            f"{name}: tiles of {sides[322]} x {sides[323]} pixels; expected at most "
            f"{max_pixels / 1e6:g} million, save it again"
        )


def _to_mode(
    picture: Image.Image, channels: int, stated: float | None = None, depth: Depth | None = None
) -> Image.Image:
    """Return the picture in mode L, or RGB with 3 `channels`, on an opaque ground."""
    from PIL import Image

    mode = "RGB" if channels == 3 else "L"
    if is_deep(picture):  # all of them are grey
        return Image.fromarray(to_eight_bits(picture, stated, depth)).convert(mode)
    if "A" in picture.getbands() or "transparency" in picture.info:
        rgba = picture.convert("RGBA")
        ground = Image.new("RGBA", rgba.size, _contrasting_ground(rgba))
        picture = Image.alpha_composite(ground, rgba)
    return picture.convert(mode)


def _contrasting_ground(picture: Image.Image) -> str:
    """Choose the ground of a transparent picture: what is opaque is ink, whatever its colour."""
    grey, alpha = np.asarray(picture.convert("LA")).transpose(2, 0, 1)
    opaque = grey[alpha > alpha.max() // 2]
    return "black" if opaque.size and np.median(opaque) > 127 else "white"


def prepare_picture(picture: np.ndarray, mode: Preprocess, size: int = SIZE) -> np.ndarray:
    """Bring a picture, uint8 (H, W) or (H, W, 3) of any size, to `size` x `size` pixels.

    Mode `digit` turns a grey picture into a digit like those of MNIST, 28x28
    (`digit.prepare_digit`); these are returned unchanged. Mode `resize` scales it to fit, keeps its
    aspect ratio, and fills the rest with the median of its border; a picture that has the size is
    returned unchanged.
    """
    if mode == "digit":
        from lenet_paddle.data.digit import prepare_digit

        return prepare_digit(picture)
    return picture if picture.shape[:2] == (size, size) else _resize(picture, size)


def is_prepared(picture: np.ndarray, mode: Preprocess, size: int = SIZE) -> bool:
    """Return whether `prepare_picture` would return the picture unchanged, without preparing it."""
    if mode == "digit":
        from lenet_paddle.data.digit import has_mnist_form

        return has_mnist_form(picture)
    return picture.shape[:2] == (size, size)


def is_empty(seen: np.ndarray) -> bool:
    """Return whether nothing is written in a prepared picture, uint8 (S, S): it has one value.

    One of a single colour, uint8 (S, S, 3), is not empty: colour may be its class.
    """
    return seen.ndim == 2 and bool((seen == seen[0, 0]).all())


def encode_png(picture: np.ndarray) -> bytes:
    """Encode a picture, uint8 (H, W) or (H, W, 3), as PNG; for 28x28 in a third of Pillow's time.

    Source: the PNG specification, https://www.w3.org/TR/png-3/, sections 5 and 11.
    """
    height, width = picture.shape[:2]
    values = picture.reshape(height, -1)
    rows = np.zeros((height, 1 + values.shape[1]), np.uint8)  # each begins with its filter, 0: none
    rows[:, 1:] = values
    kind = 0 if picture.ndim == 2 else 2  # grey, RGB
    header = struct.pack(">2I5B", width, height, 8, kind, 0, 0, 0)  # 8 bits
    chunks = (b"IHDR" + header, b"IDAT" + zlib.compress(rows.tobytes(), 1), b"IEND")
    body = [struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def shrink(picture: np.ndarray, side: int) -> np.ndarray:
    """Scale down a picture, uint8 (H, W) or (H, W, 3), so that no side is longer than `side`."""
    longer = max(picture.shape[:2])
    return picture if longer <= side else _scaled(picture, side / longer)


def enlarge(picture: np.ndarray, times: int) -> np.ndarray:
    """Enlarge a picture, uint8 (H, W) or (H, W, 3), `times` in both directions, bicubic."""
    from PIL import Image

    height, width = picture.shape[:2]
    size = (width * times, height * times)
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))


def _resize(picture: np.ndarray, side: int) -> np.ndarray:
    small = _scaled(picture, side / max(picture.shape[:2]))
    border = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    result = np.empty((side, side, *picture.shape[2:]), np.uint8)
    result[:] = np.median(border, axis=0).astype(np.uint8)
    top, left = (side - small.shape[0]) // 2, (side - small.shape[1]) // 2
    result[top : top + small.shape[0], left : left + small.shape[1]] = small
    return result


def _scaled(picture: np.ndarray, scale: float) -> np.ndarray:
    from PIL import Image

    height, width = picture.shape[:2]
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS))
