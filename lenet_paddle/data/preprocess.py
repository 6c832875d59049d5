"""Prepare pictures (any picture -> uint8 SxS) and normalise batches (uint8 -> float32).

Training, evaluation, prediction, the export's check and the server all use these functions.
"""

from __future__ import annotations

import contextlib
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from lenet_paddle.data.datasets import Preprocess
from lenet_paddle.data.depth import Depth, is_deep, stated_white, to_eight_bits
from lenet_paddle.data.form import SIZE
from lenet_paddle.data.headers import count_scans, largest_tile
from lenet_paddle.data.heic import allow_heic, name_format
from lenet_paddle.errors import InputError
from lenet_paddle.files import describe_content, open_file

if TYPE_CHECKING:
    from PIL import Image

MAX_PIXELS = 50_000_000  # larger pictures are refused before they are decoded
MAX_SIDE = 65_535  # JPEG's limit; scaling down a longer side takes memory beyond the pixels
MAX_SCANS = 100  # of a JPEG file, each a pass over all pixels; 10 are usual
MAX_PARTS = 8  # a phone's HEIC has tiles, depth and light of up to seven times its picture
SEVERAL = 32  # greys between the lightest and the darkest of a sheet with ink
NORMALISATION = "(x - 127.5) / 127.5"
_KEPT = 1.9  # times the target: 500 pixels are decoded at 125 for 64
_LEAST = 120  # pixels of the longer side that a reduced picture keeps


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


def load_picture(
    path: Path,
    depth: Depth | None = None,
    channels: int | None = 1,
    target: int | None = None,
) -> np.ndarray:
    """Read a picture of any format that Pillow knows, and HEIC.

    Returns uint8 (H, W) grey, or with 3 `channels` (H, W, 3) RGB; with None, what the picture has.
    It is rotated as its EXIF data say; transparent parts become white, or black under light ink
    and around a dark sheet.
    With a `target`, the side to which `prepare_picture` will scale it, a large JPEG is decoded at
    1/2, 1/4 or 1/8 of its size, in a fraction of the time; its longer side stays at least 1.9
    times the target, and 120.
    White of a picture of more than 8 bits is what the file states, else what `depth` knows of its
    set, else its own largest value rounded up to 8, 10, 12 or 16 bits (floats: to 1). Raises
    `InputError` for a file that is not a picture, is damaged, or has more than 50 million pixels.
    """
    with open_file(path) as file:
        return decode_picture(file, str(path), depth=depth, channels=channels, target=target)


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
    channels: int | None = 1,
    target: int | None = None,
) -> np.ndarray:
    """Read a picture from an open binary file, like `load_picture`; errors call it `name`.

    `formats` are Pillow's names of the formats accepted, by default all; HEIC always is, with the
    extra `heic`. Raises `TooManyPixels` above `max_pixels`, or above 65,535 pixels a side.
    """
    from PIL import ImageOps

    with open_picture(file, name, max_pixels, formats) as picture:
        stated = stated_white(picture)
        if target is not None:
            _reduce(picture, channels, target)
        grey_or_rgb = _to_mode(ImageOps.exif_transpose(picture), channels, stated, depth)
        return np.array(grey_or_rgb)


@contextlib.contextmanager
def open_picture(
    file: IO[bytes],
    name: str,
    max_pixels: int = MAX_PIXELS,
    formats: tuple[str, ...] | None = None,
) -> Iterator[Image.Image]:
    """Yield Pillow's picture of an open file, of which only the header has been read.

    Arguments and errors are those of `decode_picture`, also for what fails while it is decoded.
    """
    import warnings

    from PIL import Image, UnidentifiedImageError

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
            if picture.format in ("JPEG", "MPO") and (scans := count_scans(file)) > MAX_SCANS:
                raise InputError(
                    f"{name}: {scans} scans; expected at most {MAX_SCANS}, save it again"
                )
            if picture.format == "TIFF":
                width, height = largest_tile(file, name)
                if width * height > max_pixels:
                    raise TooManyPixels(
                        f"{name}: tiles of {width} x {height} pixels; expected at most "
                        f"{max_pixels / 1e6:g} million, save it again"
                    )
            yield picture
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


def _reduce(picture: Image.Image, channels: int | None, target: int) -> None:
    """Let a JPEG of at least twice the pixels that are kept be decoded at a smaller size."""
    times = int(max(picture.size) / max(_KEPT * target, _LEAST))
    if picture.format in ("JPEG", "MPO") and times >= 2:
        width, height = (max(1, side // times) for side in picture.size)
        picture.draft("RGB" if channels == 3 else "L", (width, height))


def _to_mode(
    picture: Image.Image,
    channels: int | None,
    stated: float | None = None,
    depth: Depth | None = None,
) -> Image.Image:
    """Return the picture in mode L, or RGB with 3 `channels`, on an opaque ground."""
    from PIL import Image

    if channels is None:
        channels = 1 if Image.getmodebase(picture.mode) == "L" else 3
    mode = "RGB" if channels == 3 else "L"
    if is_deep(picture):  # all of them are grey
        return Image.fromarray(to_eight_bits(picture, stated, depth)).convert(mode)
    if "A" in picture.getbands() or "transparency" in picture.info:
        rgba = picture.convert("RGBA")
        ground = Image.new("RGBA", rgba.size, _contrasting_ground(rgba))
        picture = Image.alpha_composite(ground, rgba)
    return picture.convert(mode)


def _contrasting_ground(picture: Image.Image) -> str:
    """Choose the ground of a transparent picture: what is opaque is ink, whatever its colour.

    If it is most of the picture and has several greys, it is a sheet, which the ground goes on.
    """
    grey, alpha = np.asarray(picture.convert("LA")).transpose(2, 0, 1)
    opaque = grey[alpha > alpha.max() // 2]
    if not opaque.size:
        return "white"
    is_sheet = opaque.size > grey.size / 2 and np.ptp(opaque) > SEVERAL
    return "black" if (np.median(opaque) > 127) != is_sheet else "white"


def channels_read(mode: Preprocess, channels: int) -> int | None:
    """Return the channels in which a picture is read to be prepared for a network of `channels`.

    For mode `digit` they are the picture's own, None: ink may differ from the paper in colour
    alone.
    """
    return None if mode == "digit" else channels


def prepare_picture(picture: np.ndarray, mode: Preprocess, size: int = SIZE) -> np.ndarray:
    """Bring a picture, uint8 (H, W) or (H, W, 3) of any size, to `size` x `size` pixels.

    Mode `digit` turns a picture into a grey digit like those of MNIST, 28x28
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

        return picture.ndim == 2 and has_mnist_form(picture)
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
