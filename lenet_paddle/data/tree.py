"""Find the pictures of a folder: parts and classes by the names of folders, litter passed over."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lenet_paddle.data.imageset import check_classes, normal_name
from lenet_paddle.data.sources import check_links
from lenet_paddle.errors import InputError, Say

_PARTS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_FEW = 5  # names in one message
# What file managers, archives and synchronisation leave behind.
_LITTER = {
    *("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"),
    *("__macosx", "@eadir", "$recycle.bin", "system volume information", "__pycache__"),
}
_TEXTS = {
    *(".txt", ".md", ".rst", ".csv", ".tsv", ".json", ".xml", ".html", ".yaml", ".yml"),
    *(".log", ".py", ".lnk", ".url"),
}


@dataclass(frozen=True)
class Tree:
    """The pictures of a folder: files and labels, int64 (N,), by part.

    All are of "train" where the folder is not divided.
    """

    data_dir: Path
    classes: tuple[str, ...]
    files: dict[str, tuple[list[Path], np.ndarray]]


def scan_folders(data_dir: Path, order: Sequence[str] | None, is_for_test: bool, say: Say) -> Tree:
    """List the pictures of all parts: `train/<class>/*` ..., or `<class>/*`, folders inside of a
    class included; `say` what is skipped.

    The classes are in the order of `order` where they are the same, else in natural order. Raises
    `InputError` for a folder without them, and for parts with other classes than the training part.
    """
    skipped: Counter[str] = Counter()
    parts = _find_parts(data_dir, is_for_test, skipped, say)
    found = {part: _class_folders(root, data_dir, skipped) for part, root in parts.items()}
    first = "train" if "train" in parts else "test"
    classes = tuple(found[first])
    if len(classes) < (1 if is_for_test else 2):
        raise InputError(
            f"{parts[first]}: has {len(classes)} class folders; expected "
            f"{'one' if is_for_test else 'two'} or more, each with pictures"
        )
    if order is not None and sorted(map(normal_name, order)) == sorted(classes):
        classes = tuple(order)
    files = {}
    for part, root in parts.items():
        folders = [found[part].pop(normal_name(name), None) for name in classes]
        if found[part] or not any(folders):
            came = f"the classes {', '.join(found[part])}" if found[part] else "no class folders"
            raise InputError(
                f"{root}: has {came}; expected those of {parts[first]}: {', '.join(classes)}"
            )
        if missing := [name for name, its in zip(classes, folders, strict=True) if its is None]:
            say(f"{root}: has no folder of class {', '.join(missing)}")
        files[part] = _list_pictures(folders, data_dir, skipped)
    if skipped:
        say(f"{data_dir}: skipped {skipped.total():,} files and folders: {name_few(skipped)}")
    _say_nested(data_dir, [file for of_part, _ in files.values() for file in of_part], parts, say)
    return Tree(data_dir, classes, files)


def name_few(skipped: Counter[str]) -> str:
    """Return the most frequent names with their numbers, as part of a message."""
    names = [name if n == 1 else f"{name} ({n:,})" for name, n in skipped.most_common(_FEW)]
    return ", ".join([*names, "..."] if len(skipped) > _FEW else names)


def _find_parts(
    data_dir: Path, is_for_test: bool, skipped: Counter[str], say: Say
) -> dict[str, Path]:
    """Return the folders of the parts; `data_dir` itself as "train" where it is not divided."""
    beside: Counter[str] = Counter()
    folders = _list_folders(data_dir, beside)
    named = [folder for folder in folders if folder.name.lower() in _PARTS]
    # A class may be called Train, beside Bus and Car: then no folder is in it.
    is_divided = any(_list_folders(folder, Counter()) for folder in named)
    if not is_divided and not {"train", "test"} <= {folder.name for folder in named}:
        return {"train": data_dir}
    skipped.update(beside)
    check_links(named, data_dir)
    parts: dict[str, Path] = {}
    for folder in named:
        part = _PARTS[folder.name.lower()]
        if part in parts:
            raise InputError(
                f"{data_dir}: {parts[part].name}/ and {folder.name}/ are both for {part}; "
                "put their classes into one"
            )
        parts[part] = folder
    if ("train" not in parts or len(parts) == 1) and not (is_for_test and "test" in parts):
        raise InputError(f"{data_dir}: has only one of train/ and test/; expected both or neither")
    for folder in folders:
        if folder not in named:
            say(f"{folder}: {_count_files(folder):,} files are not used: not train, val or test")
    return {part: parts[part] for part in ("train", "val", "test") if part in parts}


def _count_files(folder: Path) -> int:
    return sum(len(names) for _, _, names in os.walk(folder))


def _list_folders(root: Path, skipped: Counter[str]) -> list[Path]:
    """Return the folders in `root` in natural order; note what else is there."""
    folders = []
    for entry, is_folder in _entries(root):
        if is_folder and not is_litter(entry.name, is_folder=True):
            folders.append(root / entry.name)
        else:
            skipped[entry.name] += 1
    return sorted(folders, key=lambda path: natural_key(normal_name(path.name)))


def _entries(folder: Path) -> list[tuple[os.DirEntry[str], bool]]:
    """Return what is in a folder, sorted, and whether it is a folder."""
    with os.scandir(folder) as entries:
        found = sorted(entries, key=lambda entry: os.path.normcase(entry.name))
    # A link may lead to itself, which `DirEntry.is_dir` raises
    return [(e, Path(e).is_dir() if e.is_symlink() else e.is_dir()) for e in found]


def natural_key(name: str) -> tuple[object, ...]:
    """Return a key that sorts names with numbers by their values: 1, 2, 10."""
    parts = re.split(r"(\d+)", name)  # text and digits in turn
    return (*(int(part) if i % 2 else part for i, part in enumerate(parts)), name)


def _class_folders(root: Path, data_dir: Path, skipped: Counter[str]) -> dict[str, Path]:
    folders = _list_folders(root, skipped)
    check_links(folders, data_dir)
    names = [normal_name(folder.name) for folder in folders]
    check_classes(names, root)
    return dict(zip(names, folders, strict=True))


def is_litter(name: str, is_folder: bool) -> bool:
    """Return whether a file or folder of this name among pictures is known not to be one."""
    name = name.lower()
    if name[0] == "." or name in _LITTER:
        return True
    stem, _, ending = name.rpartition(".")
    is_text = (stem and f".{ending}" in _TEXTS) or name in ("readme", "license", "licence")
    return bool(is_text) and not is_folder


def _list_pictures(
    folders: Sequence[Path | None], data_dir: Path, skipped: Counter[str]
) -> tuple[list[Path], np.ndarray]:
    """Return the files of the folder of each class, None for a class without one, and their
    labels, int64 (N,); note what is skipped."""
    files: list[Path] = []
    labels: list[int] = []
    for label, folder in enumerate(folders):
        if folder is None:
            continue
        of_class = _walk(folder, data_dir, skipped)
        if not of_class:
            raise InputError(f"{folder}: has no picture; expected at least one per class")
        files += of_class
        labels += [label] * len(of_class)
    return files, np.array(labels, np.int64)


def _walk(folder: Path, data_dir: Path, skipped: Counter[str]) -> list[Path]:
    """Return the files in `folder` and in the folders inside of it, sorted; note what is skipped.

    What a folder and its links hold is asked of the folder itself, without a call for each file.
    """
    files: list[Path] = []
    for entry, is_folder in _entries(folder):
        path = folder / entry.name
        if is_litter(entry.name, is_folder):
            skipped[entry.name] += 1
            continue
        if entry.is_symlink():
            check_links([path], data_dir)
        if is_folder and entry.is_symlink():  # perhaps to a folder above it
            raise InputError(f"{path}: a link to a folder inside a class; expected pictures")
        if is_folder:
            files += _walk(path, data_dir, skipped)
        elif path.is_file() if entry.is_symlink() else entry.is_file():
            files.append(path)
        else:  # opening a pipe would block
            raise InputError(f"{path}: not a file, or a broken link; expected pictures only")
    return files


def _say_nested(data_dir: Path, files: list[Path], parts: dict[str, Path], say: Say) -> None:
    """`say` that folders inside of classes are read. Raises `InputError` where each class holds a
    folder for training: its test pictures would become training pictures."""
    deep = {len(root.parts) + 2 for root in parts.values()}  # root, class, file
    nested = [file for file in files if len(file.parts) not in deep]
    if not nested:
        return
    root = next(iter(parts.values()))
    inner: dict[str, set[str]] = {}
    for file in nested:
        if file.is_relative_to(root):
            name, folder, *_ = file.relative_to(root).parts
            inner.setdefault(name, set()).add(_PARTS.get(folder.lower(), ""))
    if all("train" in names for names in inner.values()) and len(inner) > 1:
        raise InputError(
            f"{nested[0]}: the folders of the classes are divided into train, val or test; "
            "expected train/<class>, not <class>/train: exchange the two levels"
        )
    say(
        f"{data_dir}: {len(nested):,} pictures lie in folders inside of class folders, as "
        f"{nested[0].relative_to(data_dir)}; they count as pictures of that class"
    )
