"""Read lists of pictures as PaddleClas writes them: train_list.txt with lines `path label`.

Sources: PaddleClas, docs/en/tutorials/data_en.md; PaddleX, docs/data/format/classification.md.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lenet_paddle.data.imageset import check_classes, normal_name
from lenet_paddle.data.sources import check_links
from lenet_paddle.data.tree import Tree
from lenet_paddle.errors import InputError, Say
from lenet_paddle.files import leads_out, read_text

_NAMES = ("label_list.txt", "labels.txt", "label.txt")
_MAX_CLASSES = 1000  # as for arrays: a stray label must not make a huge confusion matrix
_FEW = 5  # names in one message


def find_lists(data_dir: Path, is_for_test: bool) -> dict[str, Path]:
    """Return the lists of a folder by part; none unless it has that of training pictures, or, to
    test only, that of test pictures."""
    lists = {part: data_dir / f"{part}_list.txt" for part in ("train", "val", "test")}
    lists = {part: path for part, path in lists.items() if path.is_file()}
    return lists if "train" in lists or (is_for_test and "test" in lists) else {}


def read_lists(
    data_dir: Path, lists: dict[str, Path], order: Sequence[str] | None, say: Say
) -> Tree:
    """Read `lists` (see `find_lists`): a path below `data_dir`, a space and a class number a line.

    Class names come from label_list.txt, labels.txt or label.txt, a name or a number and a name a
    line; without it they are the numbers. They are in the order of `order` where they are the
    same. Raises `InputError`, with list and line, for a picture that is missing or outside of
    `data_dir`, for another label, and for a class in other parts that "train" lacks.
    """
    check_links(lists.values(), data_dir)
    read = {part: _read_list(path, data_dir) for part, path in lists.items()}
    classes, source = _find_names(data_dir, max(max(labels) for _, labels in read.values()) + 1)
    lead = next(iter(read))
    known = set(read[lead][1])
    if lead == "train" and len(known) < 2:
        raise InputError(f"{lists[lead]}: has pictures of one class; expected two or more")
    for part, (_, labels) in read.items():
        if strange := sorted(set(labels) - set(range(len(classes)))):
            raise InputError(
                f"{lists[part]}: has the class number {strange[0]}, but {source} names "
                f"{len(classes)} classes, 0 to {len(classes) - 1}"
            )
        if strange := sorted(set(labels) - known):
            raise InputError(
                f"{lists[part]}: has pictures of class {_name(classes, strange)}, of which "
                f"{lists[lead].name} has none; add some there, or remove these"
            )
    if missing := sorted(set(range(len(classes))) - known):
        say(f"{lists[lead]}: has no picture of class {_name(classes, missing)}")
    found = ", ".join(f"{lists[part].name} ({len(of_part[0]):,})" for part, of_part in read.items())
    say(f"{data_dir}: the pictures are those of its lists: {found}; class names: {source}")
    numbers = np.arange(len(classes))
    if order is not None and sorted(map(normal_name, order)) == sorted(classes):
        place = {normal_name(name): i for i, name in enumerate(order)}
        numbers, classes = np.array([place[name] for name in classes]), tuple(order)
    files = {part: (paths, numbers[labels]) for part, (paths, labels) in read.items()}
    return Tree(data_dir, classes, files)


def _name(classes: Sequence[str], numbers: Sequence[int]) -> str:
    return ", ".join(classes[i] for i in numbers[:_FEW]) + " ..." * (len(numbers) > _FEW)


def _lines(path: Path) -> list[tuple[int, str]]:
    """Return the lines that are not empty, with their numbers from 1."""
    try:
        text = read_text(path).removeprefix("\ufeff")
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text in UTF-8; save it again") from None
    lines = enumerate((line.strip() for line in text.splitlines()), 1)
    return [(number, line) for number, line in lines if line]


def _read_list(path: Path, data_dir: Path) -> tuple[list[Path], list[int]]:
    files: list[Path] = []
    labels: list[int] = []
    missing: list[str] = []
    inside: dict[Path, bool] = {}
    for number, line in _lines(path):
        name, _, label = line.replace("\t", " ").rpartition(" ")
        if not name or not label.isdecimal() or int(label) >= _MAX_CLASSES:
            raise InputError(
                f"{path}, line {number}: {line!r:.200}; expected a path, a space and a class "
                f"number from 0 to {_MAX_CLASSES - 1}"
            )
        file = data_dir / name.strip()
        if file.parent not in inside:
            inside[file.parent] = not leads_out(file.parent, data_dir)
        if not inside[file.parent]:
            raise InputError(f"{path}, line {number}: {name.strip()} is outside of {data_dir}")
        check_links([file], data_dir)
        if not file.is_file():
            missing.append(f"line {number}: {name.strip()}")
        files.append(file)
        labels.append(int(label))
    if missing:
        named = "; ".join(missing[:_FEW]) + " ..." * (len(missing) > _FEW)
        raise InputError(
            f"{path}: {len(missing):,} of {len(files):,} pictures are missing ({named}); expected "
            f"paths relative to {data_dir}: add the pictures, or remove the lines"
        )
    if not files:
        raise InputError(f"{path}: names no picture; expected lines such as cat/1.jpg 0")
    return files, labels


def _find_names(data_dir: Path, count: int) -> tuple[tuple[str, ...], str]:
    """Return the class names, and where they come from; numbers if no file names them."""
    path = next((data_dir / name for name in _NAMES if (data_dir / name).is_file()), None)
    if path is None:
        return tuple(map(str, range(count))), "the numbers"
    check_links([path], data_dir)
    lines = [normal_name(line) for _, line in _lines(path)]
    numbered = [re.fullmatch(r"(\d+)\s+(.+)", line) for line in lines]
    by_number = {int(match[1]): match[2] for match in numbered if match}
    if set(by_number) == set(range(len(lines))):
        lines = [by_number[i] for i in range(len(lines))]
    check_classes(lines, path)
    return tuple(lines), path.name
