"""Read the numbers of a CSV file quickly; name the line and column of what is no number."""

from __future__ import annotations

import csv
import functools
import gzip
import io
import itertools
import math
import os
import warnings
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from lenet_paddle.data.idx import check_unpacked
from lenet_paddle.errors import InputError
from lenet_paddle.files import describe_content, open_file
from lenet_paddle.progress import Progress

_BLOCK = 2048  # lines parsed at once
_LONGEST = 1 << 22  # characters of a line; one of 224x224 pixels has a tenth of it


class Table(NamedTuple):
    """The numbers of a CSV file."""

    header: list[str]
    """The names of the columns; empty where there are none."""
    delimiter: str | None
    """None: white space."""
    values: np.ndarray
    """uint8 (lines, columns), or float32 where a number is not a whole one in 0..255."""


def read_table(path: Path) -> Table:
    """Read a file, or return what was read of it before. Raises `InputError`."""
    facts = path.stat() if path.exists() else None
    return _parse(path, facts and (facts.st_mtime_ns, facts.st_size))


@functools.lru_cache(maxsize=2)  # train and test: each part asks for both
def _parse(path: Path, _: object) -> Table:
    with open_file(path) as raw:
        _check_start(path, raw.read(200))
        raw.seek(0)
        size = max(1, os.fstat(raw.fileno()).st_size)
        progress = Progress(size, "bytes")
        blocks: list[np.ndarray] = []
        header: list[str] = []
        delimiter, number = None, 0
        for lines in _read_blocks(path, raw):
            skipped = 0
            if number == 0:
                start = next((i for i, line in enumerate(lines) if line.strip()), 0)
                delimiter = _find_delimiter(lines[start])
                first = _split(lines[start], delimiter)
                numbered = [list(map(str, range(i, i + len(first)))) for i in (0, 1)]
                if first in numbered or not all(map(_is_number, first)):  # 0, 1, 2 ... of pandas
                    header, skipped = first, start + 1
            width = blocks[0].shape[1] if blocks else len(header) or None
            block = _parse_block(path, lines[skipped:], delimiter, number + skipped, width, header)
            if block.size:
                blocks.append(block)
            number += len(lines)
            progress.show(raw.tell(), f"reading {path.name}: {number:,} lines")
        progress.clear()
    if not blocks:
        raise InputError(f"{path}: has no line of numbers; expected one per image")
    common = np.result_type(*{block.dtype for block in blocks})
    values = np.concatenate([block.astype(common, copy=False) for block in blocks])
    values.flags.writeable = False  # kept for the next call
    return Table(header, delimiter, values)


def _check_start(path: Path, head: bytes) -> None:
    """Raise `InputError` for a file that begins as no CSV file does."""
    mend = describe_content(head)
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        mend = "; it is UTF-16: save it as CSV in UTF-8"
    elif head.startswith(b"PK"):
        mend = "; it is a zip archive or a spreadsheet: unpack it, or save it as CSV"
    elif b"\0" in head and not head.startswith(b"\x1f\x8b"):
        mend = "; it is no text"
    if mend:
        raise InputError(f"{path}: not a CSV file{mend}")


def _read_blocks(path: Path, raw: IO[bytes]) -> Iterator[list[str]]:
    """Yield lists of lines of a file, gzipped or not. Raises `InputError`."""
    is_gzip = raw.read(2) == b"\x1f\x8b"
    raw.seek(0)
    stream: Any = gzip.GzipFile(fileobj=raw) if is_gzip else raw
    packed, unpacked = os.fstat(raw.fileno()).st_size, 0
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="replace")
    try:
        while lines := list(itertools.islice(iter(lambda: text.readline(_LONGEST), ""), _BLOCK)):
            if any(len(line) == _LONGEST for line in lines):
                raise InputError(f"{path}: has a line of over {_LONGEST:,} characters")
            unpacked += sum(map(len, lines))
            check_unpacked(path, unpacked, packed)
            yield lines
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(
            f"{path}: truncated or damaged gzip ({error}); copy or download the file again"
        ) from None
    finally:
        text.detach()


def _find_delimiter(line: str) -> str | None:
    best = max(",;\t", key=line.count)
    return best if best in line else None


def _split(line: str, delimiter: str | None) -> list[str]:
    if delimiter is None:
        return line.split()
    return [field.strip() for field in next(csv.reader([line], delimiter=delimiter), [])]


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text)) and "_" not in text
    except ValueError:
        return False


def _parse_block(
    path: Path,
    lines: Sequence[str],
    delimiter: str | None,
    before: int,
    width: int | None,
    header: Sequence[str],
) -> np.ndarray:
    """Return the numbers of lines, of which `before` come earlier, as (lines, columns)."""
    for number_type in (np.uint8, np.float32):
        with warnings.catch_warnings(), np.errstate(over="ignore"):
            warnings.simplefilter("ignore")  # of a block of empty lines
            try:
                block = np.loadtxt(
                    lines, number_type, comments=None, delimiter=delimiter, ndmin=2, quotechar='"'
                )
            except ValueError:
                continue
        if not block.size or (width in (None, block.shape[1]) and np.isfinite(block).all()):
            return block
    for number, line in enumerate(lines, before + 1):
        fields = _split(line, delimiter)
        width = width or len(fields)
        for column, field in enumerate(fields, 1):
            if not _is_number(field):
                name = f" ({header[column - 1]})" if column <= len(header) else ""
                raise InputError(
                    f"{path}: line {number}, column {column}{name} is {field!r:.40}; "
                    "expected a number"
                )
        if len(fields) not in (0, width):
            raise InputError(
                f"{path}: line {number} has {len(fields):,} columns; "
                f"expected {width:,}, as the first"
            )
    raise InputError(f"{path}: lines {before + 1} to {before + len(lines)} are no numbers")
