"""Load CSV files with a line per image, as Kaggle's digits: label,pixel0,pixel1, ..."""

from __future__ import annotations

import csv
import functools
import gzip
import io
import itertools
import logging
import math
import os
import re
import warnings
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from lenet_paddle.data.idx import check_unpacked
from lenet_paddle.data.imageset import ImageSet
from lenet_paddle.data.npz import Arrays, load_arrays
from lenet_paddle.data.sources import check_links
from lenet_paddle.errors import InputError, Say
from lenet_paddle.files import describe_content, open_file
from lenet_paddle.progress import Progress

_log = logging.getLogger(__name__)
_BLOCK = 2048  # lines parsed at once
_LONGEST = 1 << 22  # characters of a line; one of 224x224 pixels has a tenth of it
_LABELS = {"label", "labels", "class", "target", "digit", "y"}
_ENDS = (".csv", ".csv.gz")
_WORDS = {"train": "train(ing)?", "val": "val(id|idation)?", "test": "test(ing)?"}


class _Table(NamedTuple):
    """The numbers of a CSV file."""

    header: list[str]
    """The names of the columns; empty where there are none."""
    delimiter: str | None
    """None: white space."""
    values: np.ndarray
    """uint8 (lines, columns), or float32 where a number is not a whole one in 0..255."""


def load_csv(
    part: str,
    data_dir: Path | None,
    scale: float | None = None,
    test_size: int | None = None,
    label_column: str | None = None,
    *,
    whole: bool = False,
    say: Say = _log.warning,
) -> ImageSet | None:
    """Load grey squares from a CSV file, or from those of a folder that are named train, test and
    perhaps val, as train.csv or mnist_test.csv.gz; gzipped or not, with a header or without.

    A line has a label and S*S pixels. The label is the column that the header names label, class,
    target, digit or y; without such a name the first or the last, `label_column`, or the only one
    of both that may hold labels. A test file without labels, as Kaggle's, is not used: the test
    images are then drawn, as they are from a single file, by `test_size` and `whole`
    (`sources.take_part`). Values and labels are those of `npz.load_npz`, and so is what `say` gets.
    Raises `InputError`, for a text among the numbers with its line and column.
    """
    assert data_dir is not None  # checked by load_splits
    files = _find_files(data_dir)
    main = next(files[name] for name in ("train", "all", "test") if name in files)
    of_main = _find_labels(main, label_column)
    if of_main is None:
        raise InputError(f"{main}: has pixels without labels; expected a column of labels")
    columns: dict[str, tuple[Path, int]] = {}
    for name, file in list(files.items()):
        own = of_main if file == main else _find_labels(file, label_column, of_main)
        if own is None:
            say(f"{file}: has no labels and is not used")
            del files[name]
        else:
            columns |= {
                f"pixels of {file.name}": (file, own),
                f"labels of {file.name}": (file, own),
            }
    if "train" in files and "test" not in files:
        say(f"{data_dir}: has no labels for testing; test images are drawn from {main.name}")
        files = {"all": main}
    if part != "val" and not {part, "all"} & set(files):
        raise InputError(f"{data_dir}: has no file for {part}; expected train.csv and test.csv")

    def read(name: str) -> np.ndarray:
        file, own = columns[name]
        values = _read(file).values
        return values[:, own] if name.startswith("labels") else np.delete(values, own, axis=1)

    def find_shape(name: str) -> tuple[int, ...]:
        return _read(columns[name][0]).values.shape

    parts = {name: (f"pixels of {f.name}", f"labels of {f.name}") for name, f in files.items()}
    arrays = Arrays(data_dir, read, find_shape, parts, _mend_gaps(main, of_main))
    return load_arrays(part, arrays, scale, test_size, whole, say)


def _find_files(path: Path) -> dict[str, Path]:
    """Return the files by part, or a single one by "all". Raises `InputError`."""
    if not path.is_dir():
        return {"all": path}
    found = sorted(file for file in path.iterdir() if file.name.lower().endswith(_ENDS))
    check_links(found, path)
    files: dict[str, Path] = {}
    for part, word in _WORDS.items():
        named = [file for file in found if re.search(rf"(?i)(?<![a-z]){word}(?![a-z])", file.name)]
        if len(named) > 1:
            raise InputError(
                f"{path}: {named[0].name} and {named[1].name} are both for {part}; expected one "
                "file per part: give a file, or a folder with the right ones"
            )
        if named:
            files[part] = named[0]
    if not files and len(found) == 1:
        return {"all": found[0]}
    if not files or ("train" not in files and "test" not in files):
        came = ", ".join(file.name for file in found[:5]) or "no .csv file"
        raise InputError(f"{path}: has {came}; expected train.csv and test.csv, or one .csv file")
    return {"all": files["train"]} if list(files) == ["train"] else files


def _find_labels(path: Path, asked: str | None, of_train: int | None = None) -> int | None:
    """Return the column of the labels; None for a file of pixels alone.

    `of_train` is that of the training file, which decides where there is no header. Raises
    `InputError` where it cannot be decided.
    """
    header, _, values = _read(path)
    last = values.shape[1] - 1
    if last > 0 and math.isqrt(last + 1) ** 2 == last + 1:
        return None
    if last < 4 or math.isqrt(last) ** 2 != last:
        raise InputError(
            f"{path}: has {last + 1:,} columns; expected a label and the pixels of a grey square, "
            "as 785 of 28x28"
        )
    if asked is not None:
        return 0 if asked == "first" else last
    named = [i for i, name in enumerate(header) if name.strip().lower() in _LABELS]
    if len(named) == 1:
        return named[0]
    if of_train is not None:
        return of_train
    possible = [column for column in (0, last) if _may_be_labels(values[:, column])]
    if len(possible) != 1:
        came = "either" if possible else "neither"
        raise InputError(
            f"{path}: no header names the column of labels, and of the first and the last {came} "
            "may hold classes numbered from 0 or 1; expected --label-column first or last"
        )
    return possible[0]


def _may_be_labels(column: np.ndarray) -> bool:
    found = np.unique(column)
    return len(found) > 1 and found[0] in (0, 1) and bool((np.diff(found) == 1).all())


def _mend_gaps(path: Path, column: int) -> str:
    """Return the lines of NumPy that number the labels of a file without gaps."""
    header, delimiter, _ = _read(path)
    separator = "" if delimiter is None else f", delimiter={delimiter!r}"
    return (
        f't = np.loadtxt("{path.name}"{separator}{", skiprows=1" if header else ""}); '
        f"t[:, {column}] = np.searchsorted(np.unique(t[:, {column}]), t[:, {column}]); "
        f'np.savetxt("{path.name}", t, "%g", ","), with the same numbers in every file'
    )


def _read(path: Path) -> _Table:
    """Read a file, or return what was read of it before."""
    facts = os.stat(path) if path.exists() else None  # noqa: PTH116
    return _parse(path, facts and (facts.st_mtime_ns, facts.st_size))


@functools.lru_cache(maxsize=2)  # train and test: each part asks for both
def _parse(path: Path, _: object) -> _Table:
    with open_file(path) as raw:
        _check_start(path, raw.read(200))
        raw.seek(0)
        size = max(1, os.fstat(raw.fileno()).st_size)
        progress = Progress(size, "bytes")
        blocks: list[np.ndarray] = []
        header: list[str] = []
        delimiter, number = None, 0
        for lines in _read_blocks(path, raw):
            if number == 0:
                first, delimiter = lines[0], _find_delimiter(lines[0])
                header = _split(first, delimiter)
                header = [] if all(map(_is_number, header)) else header
            skipped = 1 if header and number == 0 else 0
            width = blocks[0].shape[1] if blocks else None
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
    return _Table(header, delimiter, values)


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
                f"{path}: line {number} has {len(fields):,} columns; expected {width:,}, as before"
            )
    raise InputError(f"{path}: lines {before + 1} to {before + len(lines)} are no numbers")
