"""What the heads of JPEG and TIFF files say of the work and the memory that decoding takes."""

from __future__ import annotations

import re
import struct
from typing import IO

from lenet_paddle.errors import InputError

# The head of a scan: marker, length and number of components. In the data of a scan FF is followed
# by 00, but data after the picture, such as a film, may hold FF DA.
_SCAN = re.compile(rb"\xff\xda\x00(?:\x06\x00|\x08\x01|\x0a\x02|\x0c\x03|\x0e\x04)")


def count_scans(file: IO[bytes]) -> int:
    """Return the number of scans of a JPEG file, each a pass over all pixels: 10 MB can hold
    200,000, which take hours."""
    position = file.tell()
    file.seek(0)
    scans = len(_SCAN.findall(file.read()))
    file.seek(position)
    return scans


def largest_tile(file: IO[bytes], name: str) -> tuple[int, int]:
    """Return the largest width and height, in pixels, of the tiles of a TIFF file, 0 without tiles.

    Tiles are decoded whole, and may be larger than the picture. The tags of the first picture are
    read here (TIFF 6.0, section 2, and BigTIFF), because Pillow skips tags of unknown types which
    libtiff, the decoder, reads. Raises `InputError`, with `name`, for invalid tags.
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
    return sides[322], sides[323]
