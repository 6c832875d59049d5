"""Load CSV files with a line per image, as Kaggle's digits: label,pixel0,pixel1, ..."""

from __future__ import annotations

import logging
import math
import re
from pathlib import Path

import numpy as np

from lenet_paddle.data.csv_table import read_table
from lenet_paddle.data.imageset import ImageSet
from lenet_paddle.data.npz import Arrays, load_arrays
from lenet_paddle.data.sources import check_links
from lenet_paddle.errors import InputError, Say

_log = logging.getLogger(__name__)
_LABELS = {"label", "labels", "class", "target", "digit", "y"}
_ENDS = (".csv", ".csv.gz")
_WORDS = {"train": "train(ing)?", "val": "val(id|idation)?", "test": "test(ing)?"}


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
    images are then drawn, as they are from a single file. Values, labels and the other arguments
    are as those of `npz.load_npz`. Raises `InputError`, for a text among the numbers with its line
    and column.
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
        files = {"all" if name == "train" else name: file for name, file in files.items()}
    if part != "val" and not {part, "all"} & set(files):
        raise InputError(f"{data_dir}: has no file for {part}; expected train.csv and test.csv")

    def read(name: str) -> np.ndarray:
        file, own = columns[name]
        values = read_table(file).values
        return values[:, own] if name.startswith("labels") else np.delete(values, own, axis=1)

    def find_shape(name: str) -> tuple[int, ...]:
        return read_table(columns[name][0]).values.shape

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
    header, _, values = read_table(path)
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
    header, delimiter, _ = read_table(path)
    separator = "" if delimiter is None else f", delimiter={delimiter!r}"
    return (
        f't = np.loadtxt("{path.name}"{separator}{", skiprows=1" if header else ""}); '
        f"t[:, {column}] = np.searchsorted(np.unique(t[:, {column}]), t[:, {column}]); "
        f'np.savetxt("{path.name}", t, "%g", ","), with the same numbers in every file'
    )
