"""Let Pillow read HEIC pictures, as iPhones take them, with a bound on what decoding one takes.

Needs the extra `heic` (pillow-heif). Sources: ISO/IEC 14496-12 for the boxes of a file, and
ISO/IEC 23008-12 for the items in them.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterator
from functools import cache

from lenet_paddle.errors import InputError

BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}


def name_format(head: bytes) -> str | None:
    """Return what the first 64 bytes of a file say: `HEIC`, `AVIF`, `TIFF`, or None for others."""
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "TIFF"
    if head[4:8] != b"ftyp":
        return None
    end = min(len(head), int.from_bytes(head[:4], "big"))
    brands = {head[i : i + 4] for i in range(8, end, 4)}
    if brands & {b"avif", b"avis"}:
        return "AVIF"
    return "HEIC" if brands & BRANDS else None


def allow_heic(content: bytes, name: str) -> int:
    """Register HEIC with Pillow, as format `HEIF`; return the pixels that `content` may unpack to.

    A picture of 28x28 can be made of thousands of tiles of 5000x5000. Raises `InputError`, which
    calls the file `name`, if its boxes are damaged or if pillow-heif is missing.
    """
    try:
        import pillow_heif
    except ImportError:
        raise InputError(
            f"{name}: a HEIC picture needs pillow-heif (pip install '.[heic]'); install it, or "
            "save the picture as JPEG"
        ) from None
    try:
        pixels = _count_pixels(memoryview(content))
    except (struct.error, IndexError, ValueError, RecursionError):
        raise InputError(f"{name}: damaged picture (its HEIC boxes); save it again") from None
    pillow_heif.register_heif_opener()
    return pixels


def _count_pixels(file: memoryview) -> int:
    """Return the most pixels that one item of a HEIC file has, with all items it is made of."""
    areas: dict[int, int] = {}
    parts: dict[int, list[int]] = defaultdict(list)
    for meta in _find(file, b"meta"):
        for properties in _find(meta[4:], b"iprp"):
            _add_areas(properties, areas)
        for references in _find(meta[4:], b"iref"):
            _add_parts(references, parts)

    @cache
    def count(item: int) -> int:
        return areas.get(item, 0) + sum(map(count, parts.get(item, ())))

    return max(map(count, {*areas, *parts}), default=0)


def _add_areas(properties: memoryview, areas: dict[int, int]) -> None:
    """Read the size of each item, in pixels, from the boxes `ispe` and `ipma`."""
    sizes = []
    for container in _find(properties, b"ipco"):
        for kind, box in _split(container):
            sides = struct.unpack_from(">4x2I", box) if kind == b"ispe" else (0, 0)
            sizes.append(sides[0] * sides[1])
    for box in _find(properties, b"ipma"):
        item_form = ">I" if box[0] else ">H"
        index_form, mask = (">H", 0x7FFF) if box[3] & 1 else (">B", 0x7F)
        (num_items,), at = struct.unpack_from(">4xI", box), 8
        for _ in range(num_items):
            (item,) = struct.unpack_from(item_form, box, at)
            at += struct.calcsize(item_form) + 1
            for _ in range(box[at - 1]):
                index = struct.unpack_from(index_form, box, at)[0] & mask
                at += struct.calcsize(index_form)
                if index:
                    areas[item] = max(areas.get(item, 0), sizes[index - 1])


def _add_parts(references: memoryview, parts: dict[int, list[int]]) -> None:
    """Read which items are made of which (`dimg`), or have further planes (`auxl`)."""
    form = "I" if references[0] else "H"
    for kind, box in _split(references[4:]):
        start, count = struct.unpack_from(f">{form}H", box)
        ends = struct.unpack_from(f">{count}{form}", box, struct.calcsize(f">{form}H"))
        if kind == b"dimg":
            parts[start] += ends
        elif kind == b"auxl":
            for end in ends:
                parts[end].append(start)


def _find(content: memoryview, wanted: bytes) -> Iterator[memoryview]:
    return (box for kind, box in _split(content) if kind == wanted)


def _split(content: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Yield the kind and the content of each box."""
    while len(content):
        size, kind = struct.unpack_from(">I4s", content)
        start = 8
        if size == 1:
            (size,), start = struct.unpack_from(">8xQ", content), 16
        size = size or len(content)
        if not start <= size <= len(content):
            raise ValueError(f"a box of {size} bytes")
        yield kind, content[start:size]
        content = content[size:]
