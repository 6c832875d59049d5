"""Load a folder of pictures, one folder per class, perhaps divided into train/, val/ and test/."""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lenet_paddle.data.datasets import Preprocess
from lenet_paddle.data.depth import Depth
from lenet_paddle.data.form import Channels, Form, Side
from lenet_paddle.data.imageset import ImageSet, check_classes, normal_name, stratified_draw
from lenet_paddle.data.preprocess import holds_several, load_picture, prepare_picture
from lenet_paddle.data.sources import TEST_DRAW, check_links
from lenet_paddle.errors import InputError, Say
from lenet_paddle.progress import Progress

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
_log = logging.getLogger(__name__)


def load_folder(
    part: str,
    data_dir: Path,
    preprocess: Preprocess = "resize",
    test_size: int | None = None,
    *,
    channels: Channels = "auto",
    image_size: Side = "auto",
    classes: Sequence[str] | None = None,
    whole: bool = False,
    skip_unreadable: bool = False,
    say: Say = _log.warning,
) -> ImageSet | None:
    """Load a folder of pictures: `train/<class>/*`, `val/...` and `test/...`, or `<class>/*`.

    The parts may also be named training, valid, validation and testing, in any case. Classes are
    the folders' names in natural order (1, 2, 10), or in the order of `classes` where these are
    the same. Pictures of any colour and size become uint8 (N, S, S) or (N, S, S, 3) by
    `prepare_picture`; `channels` and `image_size` are chosen by the training pictures if `auto`.
    Where there is no test/, `test_size` images (default a tenth) are drawn as test set,
    stratified, the same ones in every run; with `whole` a folder without parts is the test set.
    Returns None for the part "val" where there is none. `say` gets a line for what is skipped.

    Raises `InputError` for files that are not pictures (all of them at once), unless
    `skip_unreadable`, and for a link out of `data_dir`.
    """
    tree = _scan(data_dir, classes, whole, say)
    if part == "val" and part not in tree.files:
        return None
    if part == "val" or "test" in tree.files:
        files, labels = tree.files[part]
        if whole and len(tree.files) > 1:
            others = sum(len(of_part) for of_part, _ in tree.files.values()) - len(files)
            say(f"{data_dir}: has test/, so its other {others:,} pictures are not used")
    elif whole:
        files = [file for of_part, _ in tree.files.values() for file in of_part]
        labels = np.concatenate([of_part for _, of_part in tree.files.values()])
    else:
        files, labels = _draw(part, *tree.files["train"], test_size)
    form = _choose_form(tree, preprocess, channels, image_size)
    return _read_pictures(tree, files, labels, form, preprocess, skip_unreadable, say)


def _choose_form(tree: _Tree, preprocess: Preprocess, channels: Channels, size: Side) -> Form:
    """Return the form in which pictures are prepared."""
    return Form(1 if channels == "auto" else channels, 28 if size == "auto" else size)


def _draw(
    part: str, files: list[Path], labels: np.ndarray, test_size: int | None
) -> tuple[list[Path], np.ndarray]:
    """Return what a draw of the test images leaves to "train", or the images drawn."""
    size = max(1, len(files) // 10) if test_size is None else test_size
    if size >= len(files):
        raise InputError(f"test_size {size} leaves no training image of {len(files)}; lower it")
    kept, drawn = stratified_draw(labels, size, TEST_DRAW)
    chosen = kept if part == "train" else drawn
    return [files[i] for i in chosen], labels[chosen]


@dataclass(frozen=True)
class _Tree:
    """The pictures of a folder: files and labels, int64 (N,), by part.

    All are of "train" where the folder is not divided.
    """

    data_dir: Path
    classes: tuple[str, ...]
    files: dict[str, tuple[list[Path], np.ndarray]]


def _scan(data_dir: Path, order: Sequence[str] | None, is_for_test: bool, say: Say) -> _Tree:
    """List the pictures of all parts; `say` what is skipped."""
    if not data_dir.is_dir():
        raise InputError(f"{data_dir}: is not a folder; expected one folder of pictures per class")
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
    return _Tree(data_dir, classes, files)


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
    for path in root.iterdir():
        if path.is_dir() and not is_litter(path.name, is_folder=True):
            folders.append(path)
        else:
            skipped[path.name] += 1
    return sorted(folders, key=lambda path: natural_key(normal_name(path.name)))


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
    is_text = Path(name).suffix in _TEXTS or name in ("readme", "license", "licence")
    return is_text and not is_folder


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
        of_class = []
        for path in sorted(folder.iterdir()):
            if is_litter(path.name, path.is_dir()):
                skipped[path.name] += 1
            else:
                of_class.append(path)
        if not of_class:
            raise InputError(f"{folder}: has no picture; expected at least one per class")
        files += of_class
        labels += [label] * len(of_class)
    check_links(files, data_dir)
    for file in files:
        if file.is_dir():
            raise InputError(f"{file}: a folder inside a class; expected pictures only")
        if not file.is_file():  # opening a pipe would block
            raise InputError(f"{file}: not a file, or a broken link; expected pictures only")
    return files, np.array(labels, np.int64)


def _read_pictures(
    tree: _Tree,
    files: list[Path],
    labels: np.ndarray,
    form: Form,
    preprocess: Preprocess,
    skip_unreadable: bool,
    say: Say,
) -> ImageSet:
    images = np.empty((len(files), *form.shape), np.uint8)
    depth, deep, several, errors = Depth(), [], [], {}

    def prepare(file: Path) -> np.ndarray:
        return prepare_picture(load_picture(file, depth, form.channels), preprocess, form.size)

    progress = Progress(len(files), "pictures")
    for i, file in enumerate(files):
        count = depth.count
        try:
            images[i] = prepare(file)
            if holds_several(file):
                several.append(file)
        except (InputError, OSError) as error:
            errors[i] = _describe(file, error)
        if depth.count > count and i not in errors:
            deep.append(i)
        progress.show(i + 1, f"reading pictures: {i + 1:,}/{len(files):,}")
    progress.clear()
    if errors:
        _report_unreadable(tree, list(errors.values()), len(files), skip_unreadable, say)
    if several:
        say(
            f"{tree.data_dir}: {len(several):,} of {len(files):,} files hold several pictures, as "
            f"{several[0]}; only the first of each is used"
        )
    if deep:  # again, with white of the whole set
        _measure(tree, set(files), depth)
        say(f"{tree.data_dir}: {depth.count:,} pictures of more than 8 bits: {depth}")
        for i in deep:
            images[i] = prepare(files[i])
    kept = np.array([i for i in range(len(files)) if i not in errors], np.int64)
    names = np.array([str(file.relative_to(tree.data_dir)) for file in files], object)
    image_set = ImageSet(images, labels, tree.classes, names)
    return image_set.take(kept) if errors else image_set


def _describe(file: Path, error: InputError | OSError) -> str:
    return f"{file}: {error.strerror}" if isinstance(error, OSError) else str(error)


def _report_unreadable(
    tree: _Tree, errors: list[str], total: int, skip_unreadable: bool, say: Say
) -> None:
    """Name the first unreadable files; raise `InputError` unless they may be skipped."""
    named = "; ".join(errors[:_FEW]) + (" ..." if len(errors) > _FEW else "")
    came = f"{tree.data_dir}: {len(errors):,} of {total:,} pictures cannot be read"
    if not skip_unreadable:
        raise InputError(f"{came} ({named}); mend or remove them, or --skip-unreadable")
    if len(errors) == total:
        raise InputError(f"{came} ({named}); expected at least one that can")
    say(f"{came} and are left out: {named}")


def _measure(tree: _Tree, done: set[Path], depth: Depth) -> None:
    """Let `depth` see the deep pictures of the other parts too."""
    others: Iterable[Path] = (file for files, _ in tree.files.values() for file in files)
    for file in (file for file in others if file not in done):
        with contextlib.suppress(InputError, OSError):  # reported when its part is read
            load_picture(file, depth)
    depth.settle()
