"""Whatever people have in a folder of pictures: what is read, said or refused, a row each."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image
from refusal_help import refusal
from tools_help import ROOT

from lenet_paddle.data.imageset import ImageSet
from lenet_paddle.data.load import load_splits


def _write(folder: Path, *names: str) -> None:
    """Write pictures, each filled with its own number."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        value = int("".join(filter(str.isdigit, path.stem)) or 0)
        Image.fromarray(np.full((28, 28), value, np.uint8)).save(path)


def _text(folder: Path, name: str, *lines: str) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _class(part: str, name: str, first: int, count: int = 12) -> list[str]:
    return [f"{part}{name}/{i}.png" for i in range(first, first + count)]


def _divided(folder: Path) -> None:
    for part, first, count in (("train/", 0, 12), ("val/", 40, 10), ("test/", 60, 10)):
        for name, more in (("a", 0), ("b", 100)):
            _write(folder, *_class(part, name, first + more, count))


def _natural(folder: Path) -> None:
    for i, name in enumerate(("10", "2", "1")):
        _write(folder, *_class("", name, 20 * i, 12))


def _litter(folder: Path) -> None:
    _divided(folder)
    for name in ("train/a/Thumbs.db", "train/b/.DS_Store", "__MACOSX/train/a/._1.png", "test/.x"):
        _text(folder, name, "no picture")


def _nested(folder: Path) -> None:
    _divided(folder)
    _write(folder, "train/a/more/200.png", "train/a/more/still/201.png")


def _copies(folder: Path) -> None:
    _divided(folder)
    _write(folder, "test/a/0.png", "test/b/100.png")


def _tiny(folder: Path) -> None:
    _divided(folder)
    _write(folder, *(f"{part}/c/{i}.png" for i, part in ((200, "train"), (201, "test"))))


def _empty(folder: Path) -> None:
    _divided(folder)
    (folder / "train/c").mkdir()


def _unreadable(folder: Path) -> None:
    _divided(folder)
    for name in ("train/a/x1.png", "train/a/x2.jpg", "train/b/x3.png"):
        _text(folder, name, "no picture")


def _class_in_test_alone(folder: Path) -> None:
    _divided(folder)
    _write(folder, "test/c/250.png")


def _lists(folder: Path, *more: str, names: tuple[str, ...] = ("0 cat", "1 dog")) -> None:
    """Write lists as PaddleClas has them, with `more` lines of train_list.txt."""
    first = {"train": 0, "val": 50, "test": 70}
    for part, start in first.items():
        files = [f"images/{i}.png" for i in range(start, start + 20)]
        _write(folder, *files)
        lines = [f"{file} {i % 2}" for i, file in enumerate(files)]
        _text(folder, f"{part}_list.txt", *lines, *(more if part == "train" else ()))
    if names:
        _text(folder, "label_list.txt", *names)


def _list_with(*more: str, **options: tuple[str, ...]) -> Callable[[Path], None]:
    return lambda folder: _lists(folder, *more, **options)


def _list_and_folders(folder: Path) -> None:
    _divided(folder)
    _text(folder, "train_list.txt", *(f"train/{n}/{i}.png 0" for n, i in (("a", 0), ("a", 1))))
    _text(folder, "train_list.txt", "train/a/0.png 1", "train/b/100.png 0", "train/a/1.png\t1")
    _text(folder, "test_list.txt", "test/a/60.png 1")
    _text(folder, "labels.txt", "b", "a")


def _list_with_spaces(folder: Path) -> None:
    _write(folder, "my pictures/a 1.png", "my pictures/b 2.png", "my pictures/c 3.png")
    lines = ["my pictures/a 1.png 0", "", "my pictures/b 2.png 1"]
    (folder / "train_list.txt").write_bytes("\ufeff".encode() + "\r\n".join(lines).encode())
    _text(folder, "test_list.txt", "my pictures/c 3.png 1")


def _list_outside(folder: Path) -> None:
    _write(folder.with_name("outside"), "1.png")
    _lists(folder, "../outside/1.png 0")


def _list_link_outside(folder: Path) -> None:
    _write(folder.with_name("outside"), "1.png")
    _lists(folder, "images/link.png 0")
    (folder / "images/link.png").symlink_to(folder.with_name("outside") / "1.png")


def _list_test_class(folder: Path) -> None:
    _lists(folder, names=("cat", "dog", "bird"))
    _write(folder, "images/90.png")
    with (folder / "test_list.txt").open("a") as file:
        file.write("images/90.png 2\n")


class Row(NamedTuple):
    """What a folder holds, what is expected of it, and what is said."""

    build: Callable[[Path], None]
    classes: tuple[str, ...] = ("a", "b")
    sizes: tuple[int, int, int] = (24, 20, 20)
    said: str | None = None
    refused: tuple[str, ...] = ()
    skip_unreadable: bool = False


ROWS = {
    "val beside train and test": Row(_divided),
    "numbers in natural order": Row(
        _natural, ("1", "2", "10"), (29, 4, 3), said="val has few images of some classes"
    ),
    "litter": Row(_litter, said="skipped 4 files and folders: "),
    "folders inside of classes": Row(
        _nested,
        sizes=(26, 20, 20),
        said="2 pictures lie in folders inside of class folders, as train/a/more/200.png; they "
        "count as pictures of that class",
    ),
    "copies of training pictures in test": Row(
        _copies,
        sizes=(24, 20, 22),
        said="2 of 22 test images are also in train, as test/a/0.png = train/a/0.png; remove them",
    ),
    "a tiny class": Row(
        _tiny, ("a", "b", "c"), (25, 20, 21), said="train has few images of some classes: c (1)"
    ),
    "an empty class": Row(_empty, refused=("train/c: has no picture; expected at least one",)),
    "unreadable pictures": Row(
        _unreadable,
        refused=("3 of 27 pictures cannot be read", "x1.png", "x2.jpg", "x3.png", "--skip-unread"),
    ),
    "unreadable pictures skipped": Row(
        _unreadable, said="3 of 27 pictures cannot be read", skip_unreadable=True
    ),
    "a class in test alone": Row(
        _class_in_test_alone, refused=("test: has the classes c; expected those of ",)
    ),
    "lists": Row(
        _lists,
        ("cat", "dog"),
        (20, 20, 20),
        said="the pictures are those of its lists: train_list.txt (20), val_list.txt (20), "
        "test_list.txt (20); class names: label_list.txt",
    ),
    "lists without names": Row(_list_with(names=()), ("0", "1"), (20, 20, 20)),
    "lists with names in their order": Row(
        _list_with(names=("7 cats", "3 dogs")), ("7 cats", "3 dogs"), (20, 20, 20)
    ),
    "lists beside folders": Row(
        _list_and_folders, ("b", "a"), (2, 1, 1), said="train_list.txt (3), test_list.txt (1)"
    ),
    "lists with spaces and empty lines": Row(_list_with_spaces, ("0", "1"), (1, 1, 1)),
    "a class of the names without a picture": Row(
        _list_with(names=("cat", "dog", "bird")),
        ("cat", "dog", "bird"),
        (20, 20, 20),
        said="train_list.txt: has no picture of class bird",
    ),
    "a list with missing pictures": Row(
        _list_with("images/x.png 0", "images/y.png 1"),
        refused=(
            "train_list.txt: 2 of 22 pictures are missing (line 21: images/x.png; line 22: "
            "images/y.png); expected paths relative to ",
        ),
    ),
    "a list that leads out": Row(
        _list_outside, refused=("train_list.txt, line 21: ../outside/1.png is outside of ",)
    ),
    "a list with a link that leads out": Row(
        _list_link_outside, refused=("images/link.png: a link out of ",)
    ),
    "a list without labels": Row(
        _list_with("images/1.png"),
        refused=("train_list.txt, line 21: 'images/1.png'; expected a path, a space and a class",),
    ),
    "a list with names for labels": Row(
        _list_with("images/1.png cat"), refused=("line 21: 'images/1.png cat'; expected a path",)
    ),
    "a list with a stray label": Row(
        _list_with("images/1.png 70000"), refused=("line 21", "class number from 0 to 999")
    ),
    "a list with a label without name": Row(
        _list_with("images/1.png 2"),
        refused=("has the class number 2, but label_list.txt names 2 classes, 0 to 1",),
    ),
    "a class in the test list alone": Row(
        _list_test_class,
        refused=("test_list.txt: has pictures of class bird, of which train_list.txt has none",),
    ),
}


def _load(row: Row, folder: Path, said: list[str]) -> list[ImageSet]:
    options = {"preprocess": "resize", "skip_unreadable": row.skip_unreadable}
    return load_splits("folder", ("train", "val", "test"), folder, 4, said.append, **options)


@pytest.mark.parametrize("name", ROWS)
def test_each_row_is_read_or_refused_as_expected(tmp_path: Path, name: str) -> None:
    row, folder, said = ROWS[name], tmp_path / "data", []
    row.build(folder)
    if row.refused:
        message = refusal(lambda: _load(row, folder, said))
        assert not [text for text in row.refused if text not in message], message
        assert str(folder) in message
        return
    parts = _load(row, folder, said)
    assert [part.classes for part in parts] == 3 * [row.classes]
    assert tuple(map(len, parts)) == row.sizes
    assert len(set(said)) == len(said)
    if row.said is None:
        said = [line for line in said if "few images" not in line and "of its lists" not in line]
        assert said == []
    else:
        assert len([line for line in said if row.said in line]) == 1, said


def test_labels_of_lists_belong_to_their_pictures(tmp_path: Path) -> None:
    _lists(tmp_path)
    for part in _load(ROWS["lists"], tmp_path, []):
        np.testing.assert_array_equal(part.labels, part.images[:, 0, 0] % 2)


def test_the_classes_of_lists_can_be_in_the_order_of_a_run(tmp_path: Path) -> None:
    _lists(tmp_path)
    [test] = load_splits("folder", ("test",), tmp_path, preprocess="resize", classes=("dog", "cat"))
    assert test.classes == ("dog", "cat")
    np.testing.assert_array_equal(test.labels, 1 - test.images[:, 0, 0] % 2)


@pytest.mark.parametrize("name", ["a list with missing pictures", "a class in test alone"])
def test_the_training_tool_refuses_in_one_line_and_leaves_no_run(tmp_path: Path, name: str) -> None:
    ROWS[name].build(tmp_path / "data")
    words = ["--dataset", "folder", "--data-dir", tmp_path / "data", "--output-dir", tmp_path / "o"]
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "train.py", *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and not list(tmp_path.glob("o/*"))
    assert len(done.stderr.splitlines()) == 1 and ROWS[name].refused[0] in done.stderr
